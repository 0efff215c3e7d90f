"""Between the records of the core and the messages of this package: nanoseconds here, Time messages there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import EncodedPicture, MotionField
from dedelayed_ros.link import FeatureRecord, WireError, pack_features, unpack_features
from dedelayed_ros.msg import EncodedFrame, MaskProvenance, RemoteFeatures
from dedelayed_ros.nodes.images import octets

if TYPE_CHECKING:
    from dedelayed_ros.provenance import Provenance


@dataclass(frozen=True)
class CodedFrame:
    """An encoded picture in its stream: which frame it is and which one it predicts from (itself for a key frame)."""

    sequence: int
    reference: int
    stamp_ns: int
    frame_id: str
    picture: EncodedPicture


def header(stamp_ns: int, frame_id: str) -> Header:
    """The header of everything that belongs to the frame of that time."""
    return Header(stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id=frame_id)


def stamp_ns(stamped: Header) -> int:
    """A header's stamp in nanoseconds."""
    return stamped.stamp.sec * 10**9 + stamped.stamp.nanosec


def encoded_message(coded: CodedFrame) -> EncodedFrame:
    """For the topic `encoded`."""
    picture = coded.picture
    return EncodedFrame(
        header=header(coded.stamp_ns, coded.frame_id),
        sequence=coded.sequence,
        reference=coded.reference,
        codec='h264',
        width=picture.size[1],
        height=picture.size[0],
        keyframe=picture.keyframe,
        intra_ratio=picture.intra_ratio,
        motion=octets(picture.motion.to_bytes()),
        data=octets(picture.data),
    )


def coded_frame(message: EncodedFrame) -> CodedFrame:
    """From the topic `encoded`.

    Raises:
        InputError: another codec, or a damaged motion field.
    """
    if message.codec != 'h264':
        raise InputError(f'`encoded` carries the codec {message.codec!r}; expected h264')
    size = (message.height, message.width)
    motion = MotionField.from_bytes(message.motion.tobytes())
    if motion.size != size:
        raise InputError(f'`encoded` carries pictures of {size} pixels (H, W) with motion for {motion.size}')
    picture = EncodedPicture(message.data.tobytes(), message.keyframe, size, motion, message.intra_ratio)
    return CodedFrame(message.sequence, message.reference, stamp_ns(message.header), message.header.frame_id, picture)


def features_message(record: FeatureRecord, frame_id: str) -> RemoteFeatures:
    """For the topic `remote_features`."""
    channels, height, width = record.features.shape
    return RemoteFeatures(
        header=header(record.stamp_ns, frame_id),
        sequence=record.sequence,
        predicted_delay_ms=record.predicted_delay_ms,
        round_trip_ms=record.round_trip_ms,
        server_ms=record.server_ms,
        bytes_up=record.bytes_up,
        bytes_down=record.bytes_down,
        channels=channels,
        height=height,
        width=width,
        data=octets(pack_features(record.features)),
    )


def feature_record(message: RemoteFeatures) -> FeatureRecord:
    """From the topic `remote_features`.

    Raises:
        InputError: damaged features.
    """
    try:
        features = unpack_features(message.data.tobytes())
    except WireError as error:
        raise InputError(f'`remote_features` carries damaged data: {error}') from error
    if features.shape != (message.channels, message.height, message.width):
        raise InputError(
            f'`remote_features` says {message.channels}x{message.height}x{message.width} and carries {features.shape}'
        )
    return FeatureRecord(
        sequence=message.sequence,
        stamp_ns=stamp_ns(message.header),
        features=features,
        predicted_delay_ms=message.predicted_delay_ms,
        round_trip_ms=message.round_trip_ms,
        server_ms=message.server_ms,
        bytes_up=message.bytes_up,
        bytes_down=message.bytes_down,
    )


def provenance_message(provenance: Provenance, frame_id: str) -> MaskProvenance:
    """For the topic `segmentation/provenance`; what there is none of becomes NaN."""
    age, delay = provenance.remote_age_ms, provenance.predicted_delay_ms
    return MaskProvenance(
        header=header(provenance.stamp_ns, frame_id),
        sequence=provenance.sequence,
        source=provenance.source,
        remote_age_ms=math.nan if age is None else age,
        predicted_delay_ms=math.nan if delay is None else delay,
        compute_ratio=float(provenance.compute_ratio),
        recompute_ratio=float(provenance.recompute_ratio),
        bytes_up=provenance.bytes_up,
        bytes_down=provenance.bytes_down,
        stage_names=list(provenance.stages_ms),
        stage_ms=[float(value) for value in provenance.stages_ms.values()],
        latency_ms=float(provenance.latency_ms),
        scene_cut=provenance.scene_cut,
        degraded=list(provenance.degraded),
        choice=provenance.choice,
        decision=provenance.decision,
        input_names=list(provenance.inputs),
        inputs=list(provenance.inputs.values()),
    )
