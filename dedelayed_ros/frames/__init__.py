"""Frames: where pictures come from, how they are coded as H.264, and how their content moved."""

from __future__ import annotations

from dedelayed_ros.frames.motion_field import MotionField, StridedMotion

__all__ = ['MotionField', 'StridedMotion']
