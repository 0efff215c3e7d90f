"""The link between a robot and the cloud: records, feature bytes, delay and bandwidth estimates, the Zenoh client."""

from __future__ import annotations

from dedelayed_ros.link.client import CloudClient
from dedelayed_ros.link.contact import Timing
from dedelayed_ros.link.estimators import BandwidthEstimator, DelayEstimator, RateMeter
from dedelayed_ros.link.features import pack_features, unpack_features
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
    'FeatureRecord',
    'FeaturesDown',
    'FrameUp',
    'Hello',
    'HelloReply',
    'LinkSettings',
    'LinkStatus',
    'Notice',
    'Quantiles',
    'RateMeter',
    'Record',
    'Timing',
    'WireError',
    'pack_features',
    'unpack',
    'unpack_features',
]
