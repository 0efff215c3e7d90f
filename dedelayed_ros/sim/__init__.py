"""Worlds to try things in: a simulated street with exact labels, and networks that behave badly on purpose."""
