"""Frames: where pictures come from, how they are coded as H.264, and how their content moved."""

from __future__ import annotations

from dedelayed_ros.frames.device import DeviceSource
from dedelayed_ros.frames.encoded_picture import EncodedPicture
from dedelayed_ros.frames.folder import FolderSource
from dedelayed_ros.frames.h264_decoder import DecodedPicture, H264Decoder
from dedelayed_ros.frames.h264_encoder import LEAST_KBPS, EncoderSettings, H264Encoder, available_encoders
from dedelayed_ros.frames.motion_field import MotionField, StridedMotion
from dedelayed_ros.frames.opening import Opener, open_source
from dedelayed_ros.frames.pixels import resize
from dedelayed_ros.frames.source import Frame, Source, SourceBase
from dedelayed_ros.frames.video import VideoSource

__all__ = [
    'LEAST_KBPS',
    'DecodedPicture',
    'DeviceSource',
    'EncodedPicture',
    'EncoderSettings',
    'FolderSource',
    'Frame',
    'H264Decoder',
    'H264Encoder',
    'MotionField',
    'Opener',
    'Source',
    'SourceBase',
    'StridedMotion',
    'VideoSource',
    'available_encoders',
    'open_source',
    'resize',
]
