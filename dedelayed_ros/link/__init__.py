"""The link between a robot and the cloud: records, feature bytes, delay and bandwidth estimates, the Zenoh client."""

from __future__ import annotations

from dedelayed_ros.link.ask_client import AskClient
from dedelayed_ros.link.client import CloudClient
from dedelayed_ros.link.contact import Timing
from dedelayed_ros.link.estimators import BandwidthEstimator, DelayEstimator, RateMeter
from dedelayed_ros.link.features import pack_features, unpack_features
from dedelayed_ros.link.formats import FeatureFormat, PlainFormat
from dedelayed_ros.link.latents import LatentCoder, code_lengths
from dedelayed_ros.link.mask_bytes import pack_mask, unpack_mask
from dedelayed_ros.link.offload_client import MaskRecord, OffloadClient, ShardClient
from dedelayed_ros.link.picture_client import PictureClient
from dedelayed_ros.link.prediction import predict
from dedelayed_ros.link.records import FeatureRecord, LinkStatus, Quantiles
from dedelayed_ros.link.settings import LinkSettings
from dedelayed_ros.link.shard import Shard, pack_dense, pack_shard, unpack_shard
from dedelayed_ros.link.wire import (
    MAX_RECORD_BYTES,
    PROTOCOL,
    AskUp,
    Code,
    FeaturesDown,
    FrameUp,
    Hello,
    HelloReply,
    MaskDown,
    Notice,
    OffloadHello,
    Probe,
    Record,
    ShardUp,
    WireError,
    unpack,
)

__all__ = [
    'MAX_RECORD_BYTES',
    'PROTOCOL',
    'AskClient',
    'AskUp',
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
    'MaskDown',
    'MaskRecord',
    'Notice',
    'OffloadClient',
    'OffloadHello',
    'PictureClient',
    'PlainFormat',
    'Probe',
    'Quantiles',
    'RateMeter',
    'Record',
    'Shard',
    'ShardClient',
    'ShardUp',
    'Timing',
    'WireError',
    'code_lengths',
    'pack_dense',
    'pack_features',
    'pack_mask',
    'pack_shard',
    'predict',
    'unpack',
    'unpack_features',
    'unpack_mask',
    'unpack_shard',
]
