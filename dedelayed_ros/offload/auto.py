"""One stream in mode 'auto': each frame by one model at either end, or by the robot's own with or without features.

The offloaded model and the local one give the same classes; the dispatcher weighs what each is worth, as it was
measured, and when it would be done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dedelayed_ros.dispatch import ORDER, AccuracyTable, Decision, Situation, decide
from dedelayed_ros.edge import EdgePipeline, EdgeResult, EdgeSettings
from dedelayed_ros.errors import InputError
from dedelayed_ros.link import RateMeter
from dedelayed_ros.models import zoo
from dedelayed_ros.offload.pipeline import LATE, OffloadPipeline, OffloadSettings, Taken, described
from dedelayed_ros.offload.two_steps import TwoSteps
from dedelayed_ros.reuse import load_calibration

if TYPE_CHECKING:
    import numpy as np

    from dedelayed_ros.frames import MotionField
    from dedelayed_ros.link import FeatureRecord, LinkSettings, LinkStatus
    from dedelayed_ros.offload.uplink import StreamPicture

_WEIGHT = 0.1  # of the newest frame in what the local model takes


@dataclass(frozen=True)
class AutoTaken:
    """A frame that was taken up, with what the local model needs of it: those skipped before, image and motion."""

    offload: Taken
    image: np.ndarray
    skipped: tuple[tuple[int, int, MotionField | None], ...]  # stamp_ns, sequence, motion
    motion: MotionField | None
    intra_ratio: float
    keyframe: bool

    @property
    def asked(self) -> bool:
        """Whether its mask is expected of the cloud."""
        return self.offload.asked


class AutoPipeline(TwoSteps[AutoTaken]):
    """The segmentation of one stream by two models. A context manager, which ends the offloaded model's link.

    Threads as :class:`~dedelayed_ros.offload.pipeline.OffloadPipeline`'s; :meth:`offer_features` from any.
    """

    def __init__(
        self,
        offload: OffloadSettings,
        edge: EdgeSettings,
        size: tuple[int, int],
        rate: float,
        link: LinkSettings | None = None,
        on_status: Callable[[LinkStatus], None] = lambda status: None,
        *,
        request_keyframe: Callable[[], None] = lambda: None,
    ) -> None:
        """As :class:`~dedelayed_ros.offload.pipeline.OffloadPipeline`; ``edge`` is how the local model runs.

        Raises:
            InputError: the two models do not give the same classes, or as the pipelines' own.
        """
        ours, theirs = zoo.entry(edge.model), zoo.entry(offload.model)
        if ours.labels.names != theirs.labels.names:
            raise InputError(
                f"mode 'auto' needs models of the same classes; {edge.model!r} has {len(ours.labels)}, "
                f'{offload.model!r} has {len(theirs.labels)} of its own'
            )
        self.size = size
        self.local = EdgePipeline(edge, size)
        self._accuracy = AccuracyTable.measured(ours.measured, _worth(offload))
        self._local_ms = 0.0  # of the local model; before it was measured it is tried
        self._features_ns: int | None = None  # stamp of the frame that the newest features are of
        self._stamp_ns = 0
        self._rate = RateMeter()  # of the camera's H.264, which fusing sends
        self._skipped: list[tuple[int, int, MotionField | None]] = []
        self.offload = OffloadPipeline(
            offload, size, rate, link, on_status, self._decide, request_keyframe=request_keyframe,
            possible=frozenset(ORDER), shared=True,
        )  # fmt: skip

    @property
    def link(self) -> LinkStatus | None:
        """How the link of the offloaded model is doing; None without a cloud."""
        return self.offload.link

    @property
    def engine(self) -> str:
        """What runs the offloaded model on the robot."""
        return self.offload.engine

    def close(self) -> None:
        """End the link."""
        self.offload.close()

    def offer_features(self, record: FeatureRecord) -> None:
        """An answer of the remote model; see :meth:`dedelayed_ros.edge.EdgePipeline.offer_features`."""
        self._features_ns = record.stamp_ns
        self.local.offer_features(record)

    def skip(
        self, *, stamp_ns: int, sequence: int, motion: MotionField | None, coded: StreamPicture | None = None
    ) -> None:
        """See :meth:`dedelayed_ros.offload.pipeline.OffloadPipeline.skip`."""
        self.offload.skip(stamp_ns=stamp_ns, sequence=sequence, motion=motion, coded=coded)
        self._skipped.append((stamp_ns, sequence, motion))

    def pass_on(self, coded: StreamPicture | None) -> None:
        """See :meth:`dedelayed_ros.offload.pipeline.OffloadPipeline.pass_on`."""
        self.offload.pass_on(coded)

    def take(
        self,
        image: np.ndarray,
        *,
        stamp_ns: int,
        sequence: int,
        motion: MotionField | None,
        intra_ratio: float = 0.0,
        keyframe: bool = False,
        coded: StreamPicture | None = None,
    ) -> AutoTaken:
        """Take one picture up: see :meth:`dedelayed_ros.offload.pipeline.OffloadPipeline.take`."""
        self._stamp_ns = stamp_ns
        if coded is not None:
            self._rate.add(len(coded.picture.data), time.monotonic())
        offload = self.offload.take(
            image, stamp_ns=stamp_ns, sequence=sequence, motion=motion, intra_ratio=intra_ratio, keyframe=keyframe,
            coded=coded,
        )  # fmt: skip
        skipped, self._skipped = self._skipped, []
        return AutoTaken(offload, image, tuple(skipped), motion, intra_ratio, keyframe)

    def finish(self, taken: AutoTaken) -> EdgeResult:
        """The mask of a frame that was taken up. One that the cloud does not answer in time is the local model's."""
        for stamp_ns, sequence, motion in taken.skipped:
            self.local.skip(stamp_ns=stamp_ns, sequence=sequence, motion=motion)
        offload = taken.offload
        result = self.offload.answered(offload)
        if result is None and offload.choice == 'edge':
            result = self.offload.computed(offload)
        if result is not None:
            self.local.skip(stamp_ns=offload.stamp_ns, sequence=offload.sequence, motion=taken.motion)
            return result
        result = self.local.step(
            taken.image, stamp_ns=offload.stamp_ns, sequence=offload.sequence, motion=taken.motion,
            intra_ratio=taken.intra_ratio, keyframe=taken.keyframe,
        )  # fmt: skip
        took_ms = result.provenance.latency_ms
        self._local_ms = took_ms if not self._local_ms else self._local_ms + _WEIGHT * (took_ms - self._local_ms)
        late = (LATE,) if offload.asked else ()
        degraded = tuple(dict.fromkeys((*offload.degraded, *late, *result.provenance.degraded)))
        provenance = replace(result.provenance, degraded=degraded, **described(offload.decision))
        return replace(result, provenance=provenance)

    def _decide(self, situation: Situation) -> Decision:
        """The offload mode's situation with the other two ways in it."""
        age_ms = None if self._features_ns is None else max(0.0, (self._stamp_ns - self._features_ns) / 1e6)
        if age_ms is not None and age_ms > self.local.staleness_s * 1e3:
            age_ms = None
        return decide(
            replace(
                situation,
                # What was never measured is tried.
                edge_ms=0.0 if situation.edge_ms is None else situation.edge_ms,
                local_ms=self._local_ms,
                fused_age_ms=age_ms,
                fused_kbps=self._rate.kbps(time.monotonic()),
                accuracy=self._accuracy,
            )
        )


def _worth(settings: OffloadSettings) -> float:
    """mIoU of the offloaded model, at its calibration where it runs with that; 0 where it was never measured."""
    measured = zoo.entry(settings.model).measured
    miou = float(measured.get('miou', 0.0))
    calibration = load_calibration(settings.model) if settings.reuse == 'calibrated' else None
    return miou if calibration is None else miou * (1 - float(calibration.measured.get('relative_loss', 0.0)))
