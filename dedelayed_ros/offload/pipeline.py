"""One stream in offload mode: every frame a mask, computed at the edge or in the cloud, whichever is expected first.

The cloud is asked and never relied on: a frame whose mask has not come while there is time for another is computed at
the edge, and its provenance says so. A frame is taken up (planned, decided, sent) and finished (its mask waited for, or
computed); while one waits for the cloud the next ones can be taken up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dedelayed_ros import masks, scene_cut
from dedelayed_ros.dispatch import Choice, Decision, LatencyProfile, Situation, decide, patience_ms
from dedelayed_ros.edge import EdgeResult, check_picture, check_size
from dedelayed_ros.errors import InputError
from dedelayed_ros.link import (
    AskClient,
    LinkSettings,
    LinkStatus,
    MaskRecord,
    OffloadHello,
    PictureClient,
    ShardClient,
)
from dedelayed_ros.link.shard import MAX_BOUND
from dedelayed_ros.models import zoo
from dedelayed_ros.models.pictures import scaled
from dedelayed_ros.offload.ask_uplink import AskUplink
from dedelayed_ros.offload.ends import End, Ends
from dedelayed_ros.offload.model import OffloadModel, format_of_end, load_model
from dedelayed_ros.offload.novelty import Novelty
from dedelayed_ros.offload.two_steps import TwoSteps
from dedelayed_ros.offload.uplink import SHRINK, Offer, PictureUplink, ShardUplink, StreamPicture, Uplink
from dedelayed_ros.provenance import Provenance
from dedelayed_ros.scene_cut import SceneCuts

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField

DEFAULT_BOUND = 4
"""Grey levels by which a pixel may be off on a bounded uplink (docs/dispatcher.md has the measurement)."""
_WEIGHT = 0.2
"""Of the newest picture in the camera's period."""
LATE = 'no mask of the cloud in time'
"""What is said of a frame that the cloud was asked for in vain."""
_UPLINKS = ('h264', 'lossless', 'bounded')


@dataclass(frozen=True)
class OffloadSettings:
    """How one stream is segmented in offload mode.

    ``model`` of the zoo, which the cloud must serve too. ``reuse``: 'exact', or 'calibrated' where it has a
    calibration. ``uplink``: 'h264' sends the camera's own stream; 'lossless' and 'bounded' send what differs from
    the picture that the cloud holds, no pixel off by more than ``bound`` (grey levels of 0–255, another thing than
    the calibration's threshold) where it is bounded. ``device`` and ``threads`` of the edge, and ``dtype`` that it
    computes in: 'float32', 'bfloat16', or 'auto' for bfloat16 where the processor multiplies it natively; unless the
    uplink is 'h264' always float32, so that both ends give the same bits. ``deadline_ms``: how
    long after a frame was taken up its mask is wanted at the latest: where the cloud's has not come, the edge
    begins with its own in time for that. ``edge_profile`` and ``cloud_profile``: what each end takes by recompute
    ratio; None: learned from the frames themselves. ``assumed_kbps``: of an uplink that nothing was ever known of.
    ``keep_up``: frames that come while the robot computes one are lost, so that the edge is left out where it takes
    longer than from frame to frame and the cloud does not. ``scene_cut_ratio`` and ``scene_cut_level`` as
    :class:`~dedelayed_ros.edge.EdgeSettings` has them.
    """

    model: str = 'street-conv'
    reuse: Literal['exact', 'calibrated'] = 'exact'
    uplink: Literal['h264', 'lossless', 'bounded'] = 'h264'
    bound: int = DEFAULT_BOUND
    mask_size: Literal['camera', 'model'] = 'camera'
    device: Literal['auto', 'cpu', 'cuda', 'reference'] = 'auto'
    threads: int = 1
    dtype: Literal['auto', 'float32', 'bfloat16'] = 'auto'
    deadline_ms: float = 250.0
    edge_profile: LatencyProfile | None = None
    cloud_profile: LatencyProfile | None = None
    assumed_kbps: float = 10_000.0
    keep_up: bool = False
    scene_cut_ratio: float = scene_cut.RATIO
    scene_cut_level: float = scene_cut.LEVEL


@dataclass(frozen=True)
class Taken:
    """A frame that was taken up and is to be finished.

    ``picture`` uint8 [h, w, 3] of the model's input; ``motions`` of the frames since the one taken before, its own the
    last; ``restarted``: it is the first of a stream. ``decision``: None where there was no choice; ``asked``: its mask
    is expected of the cloud, as ``offer`` has it. ``edge_ratio``: the share that the edge would compute, as estimated.
    """

    picture: np.ndarray
    sequence: int
    stamp_ns: int
    started_s: float
    planned_s: float
    motions: tuple[MotionField | None, ...]
    restarted: bool
    scene_cut: bool
    decision: Decision | None
    asked: bool
    offer: Offer | None
    edge_ratio: float
    degraded: tuple[str, ...]

    @property
    def choice(self) -> Choice:
        """What the frame is to be computed by."""
        if self.asked:
            return 'cloud'
        return 'edge' if self.decision is None or self.decision.choice == 'cloud' else self.decision.choice


@dataclass
class _Stream:
    """What is known of the stream where frames are taken up."""

    previous: int | None = None
    previous_ns: int = 0
    period_ms: float = math.inf  # from frame to frame, by their stamps
    restarted: bool = True
    motions: list[MotionField | None] = field(default_factory=list)

    def follow(self, sequence: int, stamp_ns: int) -> None:
        """The next picture."""
        if self.previous is not None and stamp_ns > self.previous_ns:
            period_ms = (stamp_ns - self.previous_ns) / (sequence - self.previous) / 1e6
            known_ms = self.period_ms if math.isfinite(self.period_ms) else period_ms
            self.period_ms = known_ms + _WEIGHT * (period_ms - known_ms)
        self.previous, self.previous_ns = sequence, stamp_ns


class OffloadPipeline(TwoSteps[Taken]):
    """The segmentation of one stream. A context manager, which ends the link.

    :meth:`step` is all of it, for one thread. Or one thread takes frames up (:meth:`take`, :meth:`skip`) and another
    finishes them in the same order (:meth:`finish`), so that several can wait for the cloud at a time.

    ``decide`` chooses from a :class:`~dedelayed_ros.dispatch.Situation` whose ``possible`` are 'edge' and 'cloud', or
    what ``possible`` says; of those only these two are computed here.
    """

    def __init__(
        self,
        settings: OffloadSettings,
        size: tuple[int, int],
        rate: float,
        link: LinkSettings | None = None,
        on_status: Callable[[LinkStatus], None] = lambda status: None,
        decide: Callable[[Situation], Decision] = decide,
        *,
        request_keyframe: Callable[[], None] = lambda: None,
        possible: frozenset[Choice] = frozenset({'edge', 'cloud'}),
        shared: bool = False,
    ) -> None:
        """``size`` (H, W) pixels and ``rate`` (frames a second) of the camera; ``link`` None: nothing in the cloud.
        ``request_keyframe`` asks the camera for one, from a thread of the link. ``shared``: a stream of features takes
        the camera's H.264 up as well, so that it need not go up again.

        Raises:
            InputError: a size, model or setting that cannot be used. WeightsError, LinkError: as the zoo's, the link's.
        """
        check_size(size)
        _check(settings)
        self.settings = settings
        self.size = size
        self.entry = zoo.entry(settings.model)
        self._input_size = self.entry.input_size(size)
        self._mask_size = size if settings.mask_size == 'camera' else self._input_size
        model = load_model(
            settings.model,
            reuse=settings.reuse,
            device=settings.device,
            threads=settings.threads,
            dtype=format_of_end(settings.dtype, exact=settings.uplink != 'h264'),
        )
        self._edge = model.endpoint(self._input_size)
        threshold = model.threshold(self._input_size)
        self._edge_novelty = Novelty(self._input_size, bound=threshold, shrink=SHRINK)
        self._ends = Ends(End(settings.edge_profile), End(settings.cloud_profile))
        self._decide = decide
        self._possible = possible if link is not None else possible - {'cloud'}
        self._cuts = SceneCuts(ratio=settings.scene_cut_ratio, level=settings.scene_cut_level)
        self._stream = _Stream()
        self._uplink: Uplink | None = None
        if link is not None:
            self._uplink = self._make_uplink(model, threshold, rate, link, on_status, request_keyframe, shared)
            self._uplink.client.start()

    @property
    def link(self) -> LinkStatus | None:
        """How the link is doing; None without a cloud."""
        return None if self._uplink is None else self._uplink.client.status

    @property
    def engine(self) -> str:
        """What runs the model on the robot; see :attr:`dedelayed_ros.offload.endpoint.Endpoint.engine`."""
        return self._edge.engine

    def close(self) -> None:
        """End the link."""
        if self._uplink is not None:
            self._uplink.client.stop()

    def reset(self) -> None:
        """Forget the stream: the next picture is its first."""
        self._stream = _Stream()
        self._cuts.reset()
        self._edge_novelty.lose()
        if self._uplink is not None:
            self._uplink.reset()

    def skip(
        self,
        *,
        stamp_ns: int,
        sequence: int,
        motion: MotionField | None,
        coded: StreamPicture | None = None,
    ) -> None:
        """A picture of the stream that no mask is wanted for: its motion counts, and the cloud needs its H.264."""
        self._observe(sequence, stamp_ns, motion)
        self.pass_on(coded)

    def pass_on(self, coded: StreamPicture | None) -> None:
        """H.264 that no frame here belongs to (any more): the cloud has to see it to decode what comes later."""
        if self._uplink is not None:
            self._uplink.leave(coded, decided=False)

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
    ) -> Taken:
        """Take one picture up: decide who computes it, and send it where that is the cloud.

        Arguments and errors as :meth:`dedelayed_ros.edge.EdgePipeline.step`; ``coded``: the picture's own H.264, which
        the uplink 'h264' needs of every picture of the stream.
        """
        check_picture(image, self.size)
        started_s = time.monotonic()
        first = self._stream.previous is None
        picture = np.ascontiguousarray(scaled(image, self._input_size))
        cut = self._cuts.is_cut(picture, intra_ratio, keyframe)
        self._observe(sequence, stamp_ns, None if cut else motion)
        degraded = [] if motion is not None or first else ['no motion']
        edge_ratio = self._edge_novelty.expected(picture)
        decision, offer, asked = self._dispatch(picture, coded, edge_ratio, degraded, sequence, stamp_ns)
        stream = self._stream
        motions, stream.motions = stream.motions, []
        taken = Taken(
            picture, sequence, stamp_ns, started_s, time.monotonic(), tuple(motions), stream.restarted, cut, decision,
            asked, offer, edge_ratio, tuple(degraded),
        )  # fmt: skip
        stream.restarted = False
        if taken.choice == 'edge':
            self._edge_novelty.remember(picture)
        return taken

    def finish(self, taken: Taken) -> EdgeResult:
        """The mask of a frame that was taken up, which this waits for or computes; in the order of :meth:`take`."""
        return self.answered(taken) or self.computed(taken, late=taken.asked)

    def answered(self, taken: Taken) -> EdgeResult | None:
        """The cloud's mask; None where it was not asked, or does not answer in time."""
        if taken.restarted:
            self._edge.reset()
        for motion in taken.motions:
            self._edge.observe(motion)
        if not taken.asked:
            return None
        assert self._uplink is not None and taken.offer is not None and taken.decision is not None
        answer = self._uplink.client.wait(taken.sequence, taken.started_s + patience_ms(taken.decision) / 1e3)
        if answer is None:
            return None
        self._uplink.learn(taken.offer.ratio, answer.recompute_ratio)
        stages = {'plan': _ms(taken.planned_s - taken.started_s), 'cloud': _ms(time.monotonic() - taken.planned_s)}
        provenance = self._provenance(
            taken, 'cloud', (answer.recompute_ratio, answer.compute_ratio), stages, answer=answer
        )
        return EdgeResult(answer.mask, answer.confidence, provenance)

    def computed(self, taken: Taken, *, late: bool = False) -> EdgeResult:
        """The edge's mask, after :meth:`answered`; ``late``: because the cloud's did not come."""
        begun_s = time.monotonic()
        logits, stats = self._edge.infer(taken.picture)
        mask, confidence = masks.render(logits, self._mask_size)
        stages = {'plan': _ms(taken.planned_s - taken.started_s)}
        if late:
            stages['cloud'] = _ms(begun_s - taken.planned_s)
        stages['edge'] = _ms(time.monotonic() - begun_s)
        self._ends.edge.learn(stats.recompute_ratio, stages['edge'])
        self._edge_novelty.learn(taken.edge_ratio, stats.recompute_ratio)
        provenance = self._provenance(taken, 'local', (stats.recompute_ratio, stats.compute_ratio), stages, late=late)
        return EdgeResult(mask, confidence, provenance)

    # -- taking up

    def _observe(self, sequence: int, stamp_ns: int, motion: MotionField | None) -> None:
        if self._stream.previous is not None and sequence <= self._stream.previous:
            self.reset()  # the camera was restarted and counts anew
        self._stream.follow(sequence, stamp_ns)
        self._stream.motions.append(motion)
        self._edge_novelty.observe(motion)
        if self._uplink is not None:
            self._uplink.observe(motion)

    def _dispatch(
        self,
        picture: np.ndarray,
        coded: StreamPicture | None,
        edge_ratio: float,
        degraded: list[str],
        sequence: int,
        stamp_ns: int,
    ) -> tuple[Decision | None, Offer | None, bool]:
        """Who computes the frame, what sending it takes, and whether it was sent for its mask."""
        uplink = self._uplink
        offer = None
        obstacle = '' if uplink is None else uplink.obstacle(coded)
        if obstacle:
            degraded.append(obstacle)
        elif uplink is not None:
            offer = uplink.plan(picture, coded)
        decision = self._decide(self._situation(offer, obstacle, edge_ratio)) if len(self._possible) > 1 else None
        if uplink is None:
            return decision, None, False
        if decision is not None and decision.choice == 'cloud' and offer is not None:
            return decision, offer, uplink.send(offer, sequence, stamp_ns)
        uplink.leave(coded, decided=not obstacle)
        return decision, offer, False

    def _situation(self, offer: Offer | None, obstacle: str, edge_ratio: float) -> Situation:
        ends = self._ends
        situation = Situation(
            possible=self._possible,
            edge_ms=ends.edge(edge_ratio),
            edge_ratio=edge_ratio,
            deadline_ms=self.settings.deadline_ms,
            give_up_ms=self.settings.deadline_ms,
            period_ms=self._stream.period_ms if self.settings.keep_up else math.inf,
            connected=offer is not None,
            obstacle=obstacle,
        )
        if self._uplink is None or offer is None:
            return situation
        client = self._uplink.client
        uplink = client.status.uplink_capacity_kbps
        ends.uplink_seen = ends.uplink_seen or uplink is not None
        propagation_ms, answer = client.propagation_ms, client.last
        if answer is not None:
            ends.learn(answer, propagation_ms, uplink)
        cloud = ends.cloud if ends.cloud.profile is not None else ends.edge
        return replace(
            situation,
            # Before anything is known of either end, the cloud is tried.
            cloud_ms=cloud(offer.ratio) or 0.0,
            cloud_ratio=offer.ratio,
            bytes_up=offer.bytes_up,
            added_bytes_up=offer.added_bytes,
            bytes_down=ends.bytes_down,
            uplink_kbps=uplink if ends.uplink_seen else self.settings.assumed_kbps,
            propagation_ms=propagation_ms,
            coding_ms=ends.coding_ms * ends.fading,
            queue_ms=ends.waiting_ms,
            cached=not offer.dense,
            full_ms=cloud(1.0) or 0.0,
            full_bytes_up=offer.bytes_up,
            stalled_ms=client.overdue_ms(self.settings.deadline_ms),
        )

    def _make_uplink(
        self,
        model: OffloadModel,
        threshold: int,
        rate: float,
        link: LinkSettings,
        on_status: Callable[[LinkStatus], None],
        request_keyframe: Callable[[], None],
        shared: bool,
    ) -> Uplink:
        settings = self.settings
        streamed = settings.uplink == 'h264'
        hello = OffloadHello(
            self.entry.name, self.entry.checksum, model.tolerance, len(self.entry.labels), self._input_size,
            self._mask_size, rate, self.size if streamed else None,
        )  # fmt: skip
        if streamed and shared:
            asks = AskClient(link, hello, on_status, request_keyframe)
            return AskUplink(asks, self._input_size, threshold=threshold)
        if streamed:
            pictures = PictureClient(link, hello, on_status, request_keyframe)
            return PictureUplink(pictures, self._input_size, threshold=threshold)
        bound = settings.bound if settings.uplink == 'bounded' else 0
        return ShardUplink(ShardClient(link, hello, on_status), self._input_size, bound=bound, threshold=threshold)

    # -- finishing

    def _provenance(
        self,
        taken: Taken,
        source: Literal['local', 'cloud'],
        ratios: tuple[float, float],
        stages: dict[str, float],
        *,
        answer: MaskRecord | None = None,
        late: bool = False,
    ) -> Provenance:
        return Provenance(
            sequence=taken.sequence,
            stamp_ns=taken.stamp_ns,
            source=source,
            recompute_ratio=ratios[0],
            compute_ratio=ratios[1],
            bytes_up=0 if answer is None else answer.bytes_up,
            bytes_down=0 if answer is None else answer.bytes_down,
            stages_ms=stages,
            latency_ms=_ms(time.monotonic() - taken.started_s),
            scene_cut=taken.scene_cut,
            degraded=(*taken.degraded, *((LATE,) if late else ())),
            **described(taken.decision),
        )


def described(decision: Decision | None) -> dict[str, Any]:
    """A decision as a provenance has it."""
    if decision is None:
        return {}
    return {'choice': decision.choice, 'decision': decision.reason, 'inputs': decision.inputs()}


def _check(settings: OffloadSettings) -> None:
    if not settings.deadline_ms > 0:
        raise InputError(f'deadline_ms is {settings.deadline_ms}; expected above 0')
    if settings.uplink not in _UPLINKS:
        raise InputError(f'uplink is {settings.uplink!r}; expected one of: {", ".join(_UPLINKS)}')
    if not 0 <= settings.bound <= MAX_BOUND:
        raise InputError(f'bound is {settings.bound}; expected 0 to {MAX_BOUND} grey levels')


def _ms(seconds: float) -> float:
    return seconds * 1e3
