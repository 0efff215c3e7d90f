"""The link between a robot and the cloud: records, feature bytes, delay and bandwidth estimates, the Zenoh client."""

from __future__ import annotations

from dedelayed_ros.link.client import CloudClient
from dedelayed_ros.link.contact import Timing
from dedelayed_ros.link.estimators import BandwidthEstimator, DelayEstimator, RateMeter
from dedelayed_ros.link.features import pack_features, unpack_features
from dedelayed_ros.link.formats import FeatureFormat, PlainFormat
from dedelayed_ros.link.latents import LatentCoder, code_lengths
from dedelayed_ros.link.records import FeatureRecord, LinkStatus, Quantiles
from dedelayed_ros.link.settings import LinkSettings
from dedelayed_ros.link.wire import (
    MAX_RECORD_BYTES,
    PROTOCOL,
    Code,
    FeaturesDown,
    FrameUp,
    Hello,
    HelloReply,
    Notice,
    Record,
    WireError,
    unpack,
)

__all__ = [
    'MAX_RECORD_BYTES',
    'PROTOCOL',
    'BandwidthEstimator',
    'CloudClient',
    'Code',
    'DelayEstimator',
    'FeatureFormat',
    'FeatureRecord',
    'FeaturesDown',
    'FrameUp',
    'Hello',
    'HelloReply',
    'LatentCoder',
    'LinkSettings',
    'LinkStatus',
    'Notice',
    'PlainFormat',
    'Quantiles',
    'RateMeter',
    'Record',
    'Timing',
    'WireError',
    'code_lengths',
    'pack_features',
    'unpack',
    'unpack_features',
]
