"""One stream in offload mode: every frame a mask, computed at the edge or in the cloud, whichever is expected first.

The cloud is asked and never relied on: a frame whose mask has not come at the deadline is computed at the edge, and its
provenance says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dedelayed_ros import masks
from dedelayed_ros.dispatch import Decision, LatencyProfile, Situation, decide
from dedelayed_ros.edge import EdgeResult, check_picture, check_size
from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import resize
from dedelayed_ros.link import LinkSettings, LinkStatus, MaskRecord, OffloadClient, OffloadHello
from dedelayed_ros.models import zoo
from dedelayed_ros.offload.endpoint import Endpoint
from dedelayed_ros.offload.model import load_model
from dedelayed_ros.offload.replica import Plan, Sender
from dedelayed_ros.provenance import Provenance

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField

_LEAST = 0.25
"""Share of a dense frame's time that one takes of which nothing is new, until it was measured."""


@dataclass(frozen=True)
class OffloadSettings:
    """How one stream is segmented in offload mode.

    ``model`` of the zoo, which the cloud must serve too. ``reuse``: 'exact', or 'calibrated' where it has a
    calibration. ``device`` and ``threads`` of the edge. ``deadline_ms``: how long after it was taken up a frame may
    wait for the cloud before the edge computes it. ``edge_profile`` and ``cloud_profile``: what each end takes by
    recompute ratio; None: learned from the frames themselves. ``assumed_kbps``: of an uplink that nothing is known of
    yet. ``scene_cut_ratio``: share of blocks without a motion vector from which a frame is another scene (0–1).
    """

    model: str = 'street-conv'
    reuse: Literal['exact', 'calibrated'] = 'exact'
    mask_size: Literal['camera', 'model'] = 'camera'
    device: Literal['auto', 'cpu', 'cuda', 'reference'] = 'auto'
    threads: int = 1
    deadline_ms: float = 250.0
    edge_profile: LatencyProfile | None = None
    cloud_profile: LatencyProfile | None = None
    assumed_kbps: float = 10_000.0
    scene_cut_ratio: float = 0.45


@dataclass
class _End:
    """What one end takes, refined by each frame that it computes."""

    profile: LatencyProfile | None

    def learn(self, ratio: float, ms: float) -> None:
        if self.profile is not None:
            self.profile = self.profile.refined(ratio, ms)
        elif ratio > 0:
            dense = ms / (_LEAST + (1 - _LEAST) * ratio)
            self.profile = LatencyProfile(np.array([0.0, 1.0]), np.array([_LEAST * dense, dense]))

    def __call__(self, ratio: float) -> float | None:
        return None if self.profile is None else self.profile(ratio)


@dataclass
class _Ends:
    edge: _End
    cloud: _End
    bytes_down: float = 0.0
    queue_ms: float = 0.0


class OffloadPipeline:
    """The segmentation of one stream; one thread at a time. A context manager, which ends the link.

    ``decide`` chooses from a :class:`~dedelayed_ros.dispatch.Situation` whose ``possible`` are 'edge' and 'cloud'.
    """

    def __init__(
        self,
        settings: OffloadSettings,
        size: tuple[int, int],
        rate: float,
        link: LinkSettings | None = None,
        on_status: Callable[[LinkStatus], None] = lambda status: None,
        decide: Callable[[Situation], Decision] = decide,
    ) -> None:
        """``size`` (H, W) pixels and ``rate`` (frames a second) of the camera; ``link`` None: all at the edge.

        Raises:
            InputError: a size, model or setting that cannot be used. WeightsError, LinkError: as the zoo's, the link's.
        """
        check_size(size)
        if not settings.deadline_ms > 0:
            raise InputError(f'deadline_ms is {settings.deadline_ms}; expected above 0')
        self.settings = settings
        self.size = size
        self.entry = zoo.entry(settings.model)
        self._input_size = self.entry.input_size(size)
        self._mask_size = size if settings.mask_size == 'camera' else self._input_size
        model = load_model(settings.model, reuse=settings.reuse, device=settings.device, threads=settings.threads)
        self._edge: Endpoint = model.endpoint(self._input_size)
        self._sender = Sender(self._input_size, bound=model.bound(self._input_size))
        self._ends = _Ends(_End(settings.edge_profile), _End(settings.cloud_profile))
        self._decide = decide
        self._previous: int | None = None
        self._life = 0
        self._client: OffloadClient | None = None
        if link is not None:
            hello = OffloadHello(
                self.entry.name, self.entry.checksum, model.tolerance, len(self.entry.labels), self._input_size,
                self._mask_size, rate,
            )  # fmt: skip
            self._client = OffloadClient(link, hello, on_status)
            self._life = self._client.life
            self._client.start()

    @property
    def link(self) -> LinkStatus | None:
        """How the link is doing; None without a cloud."""
        return None if self._client is None else self._client.status

    def close(self) -> None:
        """End the link."""
        if self._client is not None:
            self._client.stop()

    def __enter__(self) -> OffloadPipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reset(self) -> None:
        """Forget the stream: the next picture is its first."""
        self._edge.reset()
        self._sender.reset()
        self._previous = None
        if self._client is not None:
            self._client.restart()

    def skip(self, *, stamp_ns: int, sequence: int, motion: MotionField | None) -> None:
        """A picture of the stream that no mask is wanted for: only its motion counts."""
        self._observe(sequence, motion)

    def step(
        self,
        image: np.ndarray,
        *,
        stamp_ns: int,
        sequence: int,
        motion: MotionField | None,
        intra_ratio: float = 0.0,
        keyframe: bool = False,
    ) -> EdgeResult:
        """Segment one picture; arguments and errors as :meth:`dedelayed_ros.edge.EdgePipeline.step`."""
        check_picture(image, self.size)
        started_s = time.monotonic()
        first = self._previous is None
        scene_cut = intra_ratio >= self.settings.scene_cut_ratio and not keyframe
        picture = np.ascontiguousarray(resize(image, self._input_size))
        self._observe(sequence, None if scene_cut else motion)
        plan, decision, obstacle = self._plan(picture)
        planned_s = time.monotonic()
        degraded = [] if motion is not None or first else ['no motion']
        answer = None
        if decision is not None and decision.choice == 'cloud':
            answer = self._ask(plan, sequence, stamp_ns, started_s + self.settings.deadline_ms / 1e3)
            if answer is None:
                degraded.append(f'no mask of the cloud within {self.settings.deadline_ms:g} ms')
        elif obstacle:
            degraded.append(obstacle)
        asked_s = time.monotonic()
        stages = {'plan': (planned_s - started_s) * 1e3}
        if plan is not None and decision is not None and decision.choice == 'cloud':
            stages['cloud'] = (asked_s - planned_s) * 1e3
        if answer is not None:
            mask, confidence, ratios = answer.mask, answer.confidence, (answer.recompute_ratio, answer.compute_ratio)
        else:
            logits, stats = self._edge.infer(picture)
            mask, confidence = masks.render(logits, self._mask_size)
            ratios = stats.recompute_ratio, stats.compute_ratio
            stages['edge'] = (time.monotonic() - asked_s) * 1e3
            self._ends.edge.learn(stats.recompute_ratio, stages['edge'])
        provenance = Provenance(
            sequence=sequence,
            stamp_ns=stamp_ns,
            source='local' if answer is None else 'cloud',
            recompute_ratio=ratios[0],
            compute_ratio=ratios[1],
            bytes_up=0 if answer is None else answer.bytes_up,
            bytes_down=0 if answer is None else answer.bytes_down,
            stages_ms=stages,
            latency_ms=(time.monotonic() - started_s) * 1e3,
            scene_cut=scene_cut,
            degraded=tuple(degraded),
            decision='' if decision is None else decision.reason,
        )
        return EdgeResult(mask, confidence, provenance)

    def _observe(self, sequence: int, motion: MotionField | None) -> None:
        if self._previous is not None and sequence <= self._previous:
            self.reset()  # the camera was restarted and counts anew
        self._edge.observe(motion)
        self._sender.observe(motion)
        self._previous = sequence

    def _plan(self, picture: np.ndarray) -> tuple[Plan | None, Decision | None, str]:
        """What sending the frame would take, who computes it, and why the cloud cannot at all (empty if it can)."""
        client = self._client
        if client is None:
            return None, None, ''
        if client.life != self._life:
            self._life = client.life
            self._sender.reset()
        obstacle = client.obstacle
        if obstacle:
            return None, None, obstacle
        plan = self._sender.plan(picture)
        situation = self._situation(client, plan, self._edge.expected_ratio(picture))
        return plan, self._decide(situation), ''

    def _situation(self, client: OffloadClient, plan: Plan, edge_ratio: float) -> Situation:
        ends, status = self._ends, client.status
        cloud = ends.cloud if ends.cloud.profile is not None else ends.edge
        uplink = status.uplink_capacity_kbps or self.settings.assumed_kbps
        cloud_ms = cloud(plan.ratio)
        return Situation(
            possible=frozenset({'edge', 'cloud'}),
            edge_ms=ends.edge(edge_ratio),
            # Before anything is known of either end, the cloud is tried.
            cloud_ms=0.0 if cloud_ms is None else cloud_ms,
            edge_ratio=edge_ratio,
            cloud_ratio=plan.ratio,
            bytes_up=plan.bytes_up,
            bytes_down=ends.bytes_down,
            uplink_kbps=uplink,
            propagation_ms=client.propagation_ms,
            queue_ms=ends.queue_ms,
            cached=not plan.dense,
            full_ms=cloud(1.0) or 0.0,
            full_bytes_up=plan.bytes_up,
            stalled_ms=client.waiting_ms,
            deadline_ms=self.settings.deadline_ms,
        )

    def _ask(self, plan: Plan | None, sequence: int, stamp_ns: int, deadline_s: float) -> MaskRecord | None:
        assert plan is not None and self._client is not None
        self._client.submit(self._sender.pack(plan, sequence=sequence, stamp_ns=stamp_ns))
        answer = self._client.wait(sequence, deadline_s)
        if answer is not None:
            self._ends.cloud.learn(answer.recompute_ratio, answer.server_ms)
            self._ends.bytes_down, self._ends.queue_ms = answer.bytes_down, answer.queue_ms
        return answer
