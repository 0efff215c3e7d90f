"""Evaluation: what the parts cost and what they are worth, beside what a user would otherwise pick."""
