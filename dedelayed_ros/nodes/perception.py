"""The perception node: images, their motion and the cloud's features in, masks with their provenance out."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sensor_msgs.msg import Image

from dedelayed_ros import masks
from dedelayed_ros.carried_mask import CarriedMask
from dedelayed_ros.errors import DedelayedError, InputError
from dedelayed_ros.lasting import keep_what_is_there
from dedelayed_ros.msg import EncodedFrame, RemoteFeatures
from dedelayed_ros.nodes.camera_requests import Camera, CameraRequests
from dedelayed_ros.nodes.diagnostics import Level, Report, worst
from dedelayed_ros.nodes.images import to_rgb
from dedelayed_ros.nodes.joiner import CameraImage, Joiner, Work
from dedelayed_ros.nodes.lifecycle import CHAIN, RELIABLE, SENSOR_DATA, StreamNode, Worker, run
from dedelayed_ros.nodes.mask_topics import MaskTopics
from dedelayed_ros.nodes.messages import coded_frame, feature_record, stamp_ns
from dedelayed_ros.nodes.settings import PerceptionSettings
from dedelayed_ros.provenance import SOURCES, Provenance

if TYPE_CHECKING:
    from rclpy.subscription import Subscription

    from dedelayed_ros.edge import EdgePipeline, EdgeResult, EdgeSettings
    from dedelayed_ros.frames import Frame
    from dedelayed_ros.link import FeatureRecord, LinkStatus
    from dedelayed_ros.nodes.messages import CodedFrame
    from dedelayed_ros.offload.auto import AutoPipeline
    from dedelayed_ros.offload.pipeline import OffloadPipeline, OffloadSettings
    from dedelayed_ros.offload.underway import Underway

_CHECK_SIZE = (64, 64)  # (H, W) of the pipeline that is made to see whether the model loads
_LOOK_S = 0.2  # how often the graph is asked whether anybody publishes `encoded`
_LATENCIES = 300  # masks that the quantiles in the diagnostics are of
_SILENCE_S = 2.0
_CARRIED = 'no time for this image: the mask before it, moved'
_AT_ONCE, _BREATH_S = 3, 0.005  # carried masks that come at once: subscribers' sensor-data queues keep five messages
_RATE = 30.0  # frames a second that an offloading robot states; the cloud only reports it


@dataclass
class _Figures:
    """What the diagnostics tell, counted from activation."""

    masks: Counter[str] = field(default_factory=Counter)
    choices: Counter[str] = field(default_factory=Counter)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    degraded: tuple[str, ...] = ()
    problem: str = ''
    carried_s: float = -math.inf  # when the last mask was carried
    features: int = 0
    last_s: float = field(default_factory=time.monotonic)


class PerceptionNode(StreamNode[PerceptionSettings]):
    """Publishes ``segmentation/*`` for ``image_raw``, ``encoded`` and ``remote_features``.

    With ``subscribe=False`` it has no subscriptions: the camera and bridge of the same process call
    :meth:`offer_frame`, :meth:`offer_coded` and :meth:`offer_features`, from any thread, as subscriptions do otherwise;
    and the ``camera`` is called itself instead of its service and topic.
    """

    settings_type = PerceptionSettings

    def __init__(self, *, subscribe: bool = True, camera: Camera | None = None, **options: Any) -> None:
        self._subscribe = subscribe
        self._camera = CameraRequests(self, camera)
        self._joiner: Joiner | None = None
        self._worker: Worker | None = None
        self._pipeline: EdgePipeline | None = None
        self._offload: OffloadPipeline | AutoPipeline | None = None  # instead of it, in modes 'offload' and 'auto'
        self._encoded: Subscription | None = None
        self._looked_s, self._somebody_encodes = -math.inf, False
        self._figures = _Figures()
        self._carried = CarriedMask()
        super().__init__('perception', **options)

    # -- input, from any thread

    def offer_frame(self, frame: Frame) -> None:
        """A frame of the camera in this process."""
        self._offer(CameraImage(frame.image, frame.stamp_ns, frame.frame_id, time.monotonic(), frame.sequence))

    def offer_coded(self, coded: CodedFrame) -> None:
        """An encoded frame: its motion counts, and its bytes where it is offloaded."""
        if self._joiner is not None:
            self._joiner.offer_coded(coded)

    def offer_features(self, record: FeatureRecord) -> None:
        """An answer of the cloud."""
        pipeline: EdgePipeline | AutoPipeline | None = self._pipeline
        if self.settings.mode == 'auto':
            from dedelayed_ros.offload.auto import AutoPipeline

            pipeline = self._offload if isinstance(self._offload, AutoPipeline) else None
        if pipeline is not None:
            self._figures.features += 1
            pipeline.offer_features(record)

    # -- lifecycle

    def configure(self) -> None:
        """Load the model, so that damaged weights show here; create topics."""
        from dedelayed_ros.models import zoo

        settings = self.settings
        if self._offloads:
            self._make_offload(_CHECK_SIZE, link=False)
        else:
            self._make_pipeline(_CHECK_SIZE)
        entry = zoo.entry(settings.offload_model if settings.mode == 'offload' else settings.model)
        self._camera.open(settings.camera_node)
        self._joiner = Joiner(
            wait_s=settings.motion_wait_ms / 1e3, depth=settings.queue, expects_motion=self._expects_motion
        )
        self._topics = MaskTopics(self, entry.labels)
        if self._subscribe:
            self.subscription(Image, 'image_raw', self._on_image, SENSOR_DATA)
            self._encoded = self.subscription(EncodedFrame, 'encoded', self._on_encoded, CHAIN)
            self.subscription(RemoteFeatures, 'remote_features', self._on_features, RELIABLE)

    def activate(self) -> None:
        """Begin to segment."""
        self._figures = _Figures()
        self._carried = CarriedMask()
        settings = self.settings
        self._joiner = Joiner(
            wait_s=settings.motion_wait_ms / 1e3, depth=settings.queue, expects_motion=self._expects_motion
        )
        self._topics.publish_labels(self.get_clock().now().to_msg())
        self._worker = Worker(self, 'perception', self._segment)

    def deactivate(self) -> None:
        """Stop after the mask in hand."""
        if self._worker is not None and self._joiner is not None:
            self._worker.stop(wake=self._joiner.close)
            self._worker = None
        self._pipeline = None
        if self._offload is not None:
            self._offload.close()
            self._offload = None

    def cleanup(self) -> None:
        """Let go of the model."""
        self._camera.close()
        self._pipeline = None
        self._joiner = None
        self._encoded = None

    def changed(self, name: str) -> None:
        """Waiting and queueing can be tuned while masks flow."""
        if self._joiner is not None:
            self._joiner.wait_s = self.settings.motion_wait_ms / 1e3
            self._joiner.depth = self.settings.queue

    def report(self) -> Report:
        """Masks, their latency, and what they lack."""
        joiner = self._joiner
        silent_s = time.monotonic() - self._figures.last_s
        troubles = [(Level.ERROR, self._figures.problem)] if self._figures.problem else []
        if silent_s > _SILENCE_S and not self._figures.problem:
            troubles.append((Level.WARN, f'no image for {silent_s:.1f} s'))
        else:
            degraded = list(self._figures.degraded)
            if time.monotonic() - self._figures.carried_s < _SILENCE_S and _CARRIED not in degraded:
                degraded.append(_CARRIED)
            if degraded:
                troubles.append((Level.WARN, f'masks come, with {" and ".join(degraded)}'))
        level, message = worst(troubles)
        latencies = np.array(self._figures.latencies or [math.nan])
        p50, p95, p99 = np.percentile(latencies, (50, 95, 99))
        pipeline, offload = self._pipeline, self._offload
        link = offload.link if offload is not None else None
        return Report(
            level,
            'masks come' if level == Level.OK else message,
            {
                'mode': self.settings.mode,
                'model': self.settings.offload_model if self.settings.mode == 'offload' else self.settings.model,
                'mask kernel': masks.backend_name(),
                **{f'masks {source}': self._figures.masks[source] for source in SOURCES},
                **{f'preferred {choice}': count for choice, count in sorted(self._figures.choices.items())},
                'images dropped': joiner.dropped if joiner else 0,
                'images without motion': joiner.unmatched if joiner else 0,
                'features received': self._figures.features,
                **({'reuse': pipeline.reuse} if pipeline else {}),
                **({} if offload is None else {'engine': offload.engine}),
                **({} if link is None else _link_figures(link)),
                **({f'features dropped, {k}': v for k, v in pipeline.dropped_features.items()} if pipeline else {}),
                'latency ms p50': float(p50),
                'latency ms p95': float(p95),
                'latency ms p99': float(p99),
                'label_info': 'published' if self._topics.tells_labels else 'vision_msgs is not installed',
            },
        )

    # -- the worker

    def _segment(self, stop: threading.Event) -> None:
        from dedelayed_ros.offload.underway import Underway

        joiner = self._joiner
        with Underway() as underway:
            while joiner is not None and not stop.is_set():
                work = joiner.next()
                if work is None:
                    return
                with self._told():
                    self._take(work, underway)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong with a frame is in the diagnostics and the log, and the next one may do better."""
        try:
            yield
            self._figures.problem = ''
        except DedelayedError as error:
            self._figures.problem = str(error)
            self.warn_once(str(error))

    def _take(self, work: Work, underway: Underway) -> None:
        """Segment an image, or take it up and leave it to ``underway``."""
        started_s = time.monotonic()
        image = work.frame.image
        size = (image.shape[0], image.shape[1])
        told: dict[str, Any] = {
            'stamp_ns': work.frame.stamp_ns,
            'sequence': work.sequence,
            'motion': work.motion,
            'intra_ratio': work.intra_ratio,
            'keyframe': work.keyframe,
        }
        if not self._offloads:
            pipeline = self._pipeline_of(size)
            for skipped in work.skipped:
                pipeline.skip(stamp_ns=skipped.stamp_ns, sequence=skipped.sequence, motion=skipped.motion)
            self._carry(work)
            self._publish(work, pipeline.step(image, **told), started_s)
            return
        offload = self._offload_of(size, underway)
        for late in work.late:
            offload.pass_on(late)
        for skipped in work.skipped:
            offload.skip(
                stamp_ns=skipped.stamp_ns, sequence=skipped.sequence, motion=skipped.motion, coded=skipped.coded
            )
        begun = offload.begin(image, **told, coded=work.coded)

        def finish() -> None:
            with self._told():
                self._carry(work)
                self._publish(work, begun.finish(), started_s)

        underway.put(finish, alone=not begun.asked)

    def _pipeline_of(self, size: tuple[int, int]) -> EdgePipeline:
        """What segments pictures of (H, W); a camera that changes its size gets another."""
        if self._pipeline is None or self._pipeline.size != size:
            self._pipeline = self._make_pipeline(size)
            keep_what_is_there()
        return self._pipeline

    def _offload_of(self, size: tuple[int, int], underway: Underway) -> OffloadPipeline | AutoPipeline:
        """The same in modes 'offload' and 'auto'."""
        if self._offload is None or self._offload.size != size:
            if self._offload is not None:
                underway.drain()
                self._offload.close()
            self._offload = self._make_offload(size, link=bool(self.settings.endpoint))
            keep_what_is_there()
        return self._offload

    def _carry(self, work: Work) -> None:
        """Masks of the images that were skipped before this one."""
        from dedelayed_ros.edge import EdgeResult

        if not self.settings.carry_masks:
            return
        published = 0
        for skipped in work.skipped:
            moved = self._carried.move(skipped.motion, skipped.stamp_ns)
            if moved is None:
                continue
            if published >= _AT_ONCE:
                time.sleep(_BREATH_S)
            published += 1
            provenance = Provenance(
                skipped.sequence,
                skipped.stamp_ns,
                'carried',
                compute_ratio=0.0,
                recompute_ratio=0.0,
                latency_ms=self._latency_ms(skipped.stamp_ns),
                degraded=(_CARRIED,),
            )
            self._publish_mask(EdgeResult(*moved, provenance), work.frame.frame_id)
            self._figures.carried_s = time.monotonic()

    def _latency_ms(self, stamp_ns: int) -> float:
        """From the camera's stamp to now; a camera that does not stamp its images has none."""
        return (self.get_clock().now().nanoseconds - stamp_ns) / 1e6 if stamp_ns else math.nan

    def _publish_mask(self, result: EdgeResult, frame_id: str) -> None:
        self._topics.publish(result, frame_id)
        self._figures.masks[result.provenance.source] += 1
        self._figures.degraded = result.provenance.degraded

    def _publish(self, work: Work, result: EdgeResult, started_s: float) -> None:
        """A mask of an image's own, and what is painted of it."""
        latency_ms = self._latency_ms(work.frame.stamp_ns)
        stages_ms = {'wait for motion': (started_s - work.frame.arrived_s) * 1e3, **result.provenance.stages_ms}
        provenance = replace(result.provenance, latency_ms=latency_ms, stages_ms=stages_ms)
        result = replace(result, provenance=provenance)
        self._publish_mask(result, work.frame.frame_id)
        self._carried.put(result.mask, result.confidence, work.frame.stamp_ns)
        self._topics.paint(work.frame.image, result, work.frame.frame_id, self.settings.overlay_alpha)
        if provenance.choice:
            self._figures.choices[provenance.choice] += 1
        self._figures.last_s = time.monotonic()
        if not math.isnan(latency_ms):
            self._figures.latencies.append(latency_ms)

    # -- topics

    def _on_image(self, message: Image) -> None:
        arrived_s = time.monotonic()
        try:
            image = to_rgb(message)
        except InputError as error:
            self._figures.problem = str(error)
            self.warn_once(str(error))
            return
        self._offer(CameraImage(image, stamp_ns(message.header), message.header.frame_id, arrived_s))

    def _on_encoded(self, message: EncodedFrame) -> None:
        try:
            self.offer_coded(coded_frame(message))
        except InputError as error:
            self.warn_once(str(error))

    def _on_features(self, message: RemoteFeatures) -> None:
        if self.settings.mode not in ('fused', 'auto'):
            return
        try:
            self.offer_features(feature_record(message))
        except InputError as error:
            self.warn_once(str(error))

    def _offer(self, image: CameraImage) -> None:
        if self.active and self._joiner is not None:
            self._joiner.offer_image(image)

    def _expects_motion(self) -> bool:
        """Whether anybody encodes this camera. Without a subscription it is the camera of this process."""
        if not self._subscribe:
            return True
        now_s = time.monotonic()
        if now_s - self._looked_s > _LOOK_S and self._encoded is not None:
            self._looked_s = now_s
            self._somebody_encodes = self.count_publishers(self._encoded.topic_name) > 0
        return self._somebody_encodes

    # -- small things

    @property
    def _offloads(self) -> bool:
        """Whether frames may be computed in the cloud."""
        return self.settings.mode in ('offload', 'auto')

    def _make_pipeline(self, size: tuple[int, int]) -> EdgePipeline:
        """A pipeline for pictures of (H, W). PyTorch is imported here, when the node is already there to be asked."""
        from dedelayed_ros.edge import EdgePipeline

        return EdgePipeline(self._edge_settings(), size)

    def _edge_settings(self) -> EdgeSettings:
        from dedelayed_ros.edge import EdgeSettings

        settings = self.settings
        return EdgeSettings(
            mode='local' if settings.mode == 'local' else 'fused',
            model=settings.model,
            staleness_s=settings.staleness_s or None,
            mask_size=settings.mask_size,
            threads=settings.threads,
            dtype=settings.dtype,
            reuse=settings.reuse,
            device=settings.device,
            scene_cut_ratio=settings.scene_cut_ratio,
        )

    def _offload_settings(self) -> OffloadSettings:
        from dedelayed_ros.offload.pipeline import OffloadSettings

        settings = self.settings
        if settings.reuse == 'off':
            raise InputError(
                f"mode {settings.mode!r} reuses: set reuse to 'exact' or 'calibrated', or mode to 'local' or 'fused'"
            )
        return OffloadSettings(
            model=settings.offload_model,
            reuse=settings.reuse,
            uplink=settings.uplink,
            bound=settings.uplink_bound,
            mask_size=settings.mask_size,
            device=settings.device,
            threads=settings.threads,
            dtype=settings.dtype,
            deadline_ms=settings.deadline_ms,
            keep_up=True,
            scene_cut_ratio=settings.scene_cut_ratio,
        )

    def _make_offload(self, size: tuple[int, int], *, link: bool) -> OffloadPipeline | AutoPipeline:
        """The same in modes 'offload' and 'auto', with or without a link to the cloud."""
        from dedelayed_ros.link import LinkSettings
        from dedelayed_ros.offload.auto import AutoPipeline
        from dedelayed_ros.offload.pipeline import OffloadPipeline

        settings = self.settings
        where = None
        if link:
            where = LinkSettings(
                endpoint=settings.endpoint,
                robot=settings.robot,
                camera=settings.camera,
                config=Path(settings.zenoh_config) if settings.zenoh_config else None,
                limit_uplink=self._camera.limit_bitrate,
                least_uplink_kbps=float(settings.min_bitrate_kbps),
            )
        offload, ask = self._offload_settings(), self._camera.request_keyframe
        if settings.mode == 'auto':
            return AutoPipeline(offload, self._edge_settings(), size, _RATE, where, request_keyframe=ask)
        return OffloadPipeline(offload, size, _RATE, where, request_keyframe=ask)


def _link_figures(link: LinkStatus) -> dict[str, Any]:
    return {
        'connected': link.connected,
        'reason': link.reason,
        'round trip ms p50': link.round_trip_ms.p50,
        'frames sent': link.sent,
        'masks received': link.received,
        'key frames requested': link.keyframe_requests,
        **({'pictures for the cloud': link.pictures} if link.pictures else {}),
        'uplink kbit/s': link.kbps_up,
        'uplink limit kbit/s': link.uplink_limit_kbps,
        'uplink capacity kbit/s': math.nan if link.uplink_capacity_kbps is None else link.uplink_capacity_kbps,
        **{f'link dropped, {reason}': count for reason, count in link.dropped.items()},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The executable `perception`."""
    return run('perception', lambda: [PerceptionNode()], argv)
