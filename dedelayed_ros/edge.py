"""One stream's loop on the robot: every frame in, a mask out, better by what the cloud has sent, never waiting."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from dedelayed_ros import masks, scene_cut
from dedelayed_ros.carry import FeatureCarrier
from dedelayed_ros.errors import InputError
from dedelayed_ros.models import model_sizes, zoo
from dedelayed_ros.models.dtypes import resolve_engine_dtype
from dedelayed_ros.models.pictures import scaled
from dedelayed_ros.models.sizes import MOST_PIXELS
from dedelayed_ros.provenance import Provenance
from dedelayed_ros.reuse import Device, LocalRunner, Reuse
from dedelayed_ros.scene_cut import SceneCuts

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField
    from dedelayed_ros.link import FeatureRecord


@dataclass(frozen=True)
class EdgeSettings:
    """How one stream is segmented.

    ``mode``: 'fused' adds the cloud's features while they are fresh, 'local' never does. ``model`` is a name of the
    zoo. ``staleness_s``: features older than this are not used (seconds); None: the age from which, as measured, they
    no longer help the model. ``mask_size``: masks at the camera's size or at the model's own. ``threads`` that the
    calling thread computes with. ``dtype``: 'auto' takes bfloat16 where the processor multiplies it natively.
    ``reuse``: what the model may take over from the frame before ('calibrated' within the accuracy that its calibration
    gives up, 'exact' where nothing is given up, 'off' computes everything). ``device``: 'cpu', or 'cuda' for a GPU
    through the sparse engine, where 'auto' is float32.
    ``scene_cut_ratio``: share of blocks without a motion vector from which a picture counts as another scene (0–1);
    ``scene_cut_level``: mean grey-level difference (0–255) to the picture
    before that tells the same of a key frame that came without any vectors.
    """

    mode: Literal['fused', 'local'] = 'fused'
    model: str = zoo.DEFAULT
    staleness_s: float | None = None
    mask_size: Literal['camera', 'model'] = 'camera'
    threads: int = 1
    dtype: Literal['auto', 'float32', 'bfloat16'] = 'auto'
    reuse: Reuse = 'exact'
    device: Device = 'cpu'
    scene_cut_ratio: float = scene_cut.RATIO
    scene_cut_level: float = scene_cut.LEVEL


@dataclass(frozen=True)
class EdgeResult:
    """``mask`` uint8 [H, W] class ids (255: none), ``confidence`` uint8 [H, W] (255: certain), and how they came."""

    mask: np.ndarray
    confidence: np.ndarray
    provenance: Provenance


def check_size(size: tuple[int, int]) -> None:
    """Raises InputError for pictures of (H, W) pixels that no pipeline takes."""
    if min(size) < 16:
        raise InputError(f'pictures are {size[1]}x{size[0]} pixels; at least 16x16 are needed')


def check_picture(image: np.ndarray, size: tuple[int, int]) -> None:
    """Raises InputError for anything but uint8 [H, W, 3] of the ``size`` (H, W) that a pipeline was made for."""
    if image.shape != (*size, 3) or image.dtype != np.uint8:
        raise InputError(
            f'image is {image.dtype} {list(image.shape)}; expected uint8 [{size[0]}, {size[1]}, 3]. '
            'A camera that changes its size needs a new pipeline'
        )


class EdgePipeline:
    """The segmentation of one stream.

    :meth:`step` and :meth:`skip` belong to one thread; :meth:`offer_features` may be called from any. Without
    features, or in mode 'local', the mask is bit for bit the local model's, as the engine that runs it computes it;
    what 'calibrated' reuse gives up, it gives up with and without features.
    """

    def __init__(self, settings: EdgeSettings, size: tuple[int, int]) -> None:
        """``size``: (H, W) of the camera's pictures in pixels.

        Raises:
            InputError: a size or setting that cannot be used. WeightsError: the model's weights are missing or damaged.
        """
        if settings.mode not in ('fused', 'local'):
            raise InputError(f"mode is {settings.mode!r}; expected 'fused' or 'local'")
        check_size(size)
        self.settings = settings
        self.size = size
        self.entry = zoo.entry(settings.model)
        if settings.mode == 'fused' and 'remote' not in self.entry.files:
            raise InputError(f"model {settings.model!r} has no part in the cloud to be fused with; use mode 'local'")
        self._input_size = self.entry.input_size(size)
        self._runner = LocalRunner(
            settings.model,
            self._input_size,
            fused=settings.mode == 'fused',
            dtype=resolve_engine_dtype(settings.dtype, settings.device),
            reuse=settings.reuse,
            threads=settings.threads,
            device=settings.device,
        )
        self._render = masks.render if settings.device == 'cpu' else _render_on_gpu(self.entry.labels.palette)
        codec = zoo.load_codec(settings.model)
        self.staleness_s = self.entry.staleness_s if settings.staleness_s is None else settings.staleness_s
        sizes = model_sizes(size)
        self._followed_size = size if size[0] * size[1] <= MOST_PIXELS else sizes.remote
        self._carrier = FeatureCarrier(
            sizes.grid,
            size=self._followed_size,
            channels=self.entry.link_channels,
            split=self.entry.carry_split,
            staleness_s=self.staleness_s,
            decode=None if codec is None else torch.inference_mode()(codec.decode),
        )
        self._lock = threading.Lock()
        self._cuts = SceneCuts(ratio=settings.scene_cut_ratio, level=settings.scene_cut_level)
        self._previous: int | None = None

    def offer_features(self, record: FeatureRecord) -> None:
        """Hand over an answer of the cloud: float32 [C, h, w] features for the frame of its stamp; the newest wins."""
        if self.settings.mode == 'fused':
            with self._lock:
                self._carrier.offer(record)

    @property
    def reuse(self) -> str:
        """What is taken over from the frame before: 'calibrated', 'exact' or 'off', and why not more."""
        return f'{self._runner.reuse} ({self._runner.note})' if self._runner.note else self._runner.reuse

    @property
    def dropped_features(self) -> Counter[str]:
        """How many answers could not be used, by reason."""
        with self._lock:
            return Counter(self._carrier.dropped)

    def reset(self) -> None:
        """Forget the stream: the next picture is its first."""
        with self._lock:
            self._carrier.reset()
        self._runner.reset()
        self._cuts.reset()
        self._previous = None

    def skip(self, *, stamp_ns: int, sequence: int, motion: MotionField | None) -> None:
        """A picture of the stream that no mask is wanted for: only its motion counts."""
        with self._lock:
            self._carrier.advance(sequence, stamp_ns, motion)
        if self._previous is not None and sequence <= self._previous:
            self._runner.reset()
        self._runner.skip(motion)
        self._previous = sequence

    def _followed(self, image: np.ndarray) -> np.ndarray:
        """What features are followed by: the picture itself, or where it is large at the size of the cloud's input."""
        return image.copy() if self._followed_size == self.size else scaled(image, self._followed_size)

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
        """Segment one picture.

        Args:
            image: uint8 [H, W, 3] RGB of the size that the pipeline was made for.
            stamp_ns: capture time on the robot's clock, nanoseconds.
            sequence: the picture's number in its stream.
            motion: from the picture before (stepped or skipped) to this one; None when unknown, and then features of
                earlier pictures are dropped.
            intra_ratio: share of this picture's blocks without a motion vector (0–1).
            keyframe: whether it was coded without reference to others; where it also came without vectors (an intra
                ratio of 1), that says nothing about the scene.

        Raises:
            InputError: the image has another size or type.
        """
        check_picture(image, self.size)
        if torch.get_num_threads() != self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        stages: dict[str, float] = {}

        with _timed(stages, 'resize'):
            small = scaled(image, self._input_size)
            cut = self._cuts.is_cut(small, intra_ratio, keyframe)
        with _timed(stages, 'carry'), self._lock:
            fused = self.settings.mode == 'fused'
            self._carrier.advance(sequence, stamp_ns, motion, self._followed(image) if fused else None)
            if cut:
                self._carrier.cut()
            carried = self._carrier.current() if fused else None
        with _timed(stages, 'model'):
            if self._previous is not None and sequence <= self._previous:
                self._runner.reset()  # the camera was restarted and counts anew
            logits, stats = self._runner.step(
                small,
                None if carried is None else carried.features,
                0.0 if carried is None else carried.age_ms,
                None if cut else motion,
            )
        with _timed(stages, 'mask'):
            out_size = self.size if self.settings.mask_size == 'camera' else self._input_size
            mask, confidence = self._render(logits, out_size)

        degraded = []
        if self.settings.mode == 'fused' and carried is None:
            degraded.append('no remote features')
        if motion is None and self._previous is not None:
            degraded.append('no motion')
        self._previous = sequence
        provenance = Provenance(
            sequence=sequence,
            stamp_ns=stamp_ns,
            source='local' if carried is None else 'fused',
            remote_age_ms=None if carried is None else carried.age_ms,
            predicted_delay_ms=None if carried is None else carried.record.predicted_delay_ms,
            bytes_up=carried.record.bytes_up if carried is not None and carried.fresh else 0,
            bytes_down=carried.record.bytes_down if carried is not None and carried.fresh else 0,
            compute_ratio=1.0 if stats is None else stats.compute_ratio,
            recompute_ratio=1.0 if stats is None else stats.recompute_ratio,
            stages_ms=stages,
            latency_ms=sum(stages.values()),
            scene_cut=cut,
            degraded=tuple(degraded),
        )
        return EdgeResult(mask, confidence, provenance)


def _render_on_gpu(palette: np.ndarray) -> Callable[[torch.Tensor, tuple[int, int]], tuple[np.ndarray, np.ndarray]]:
    from dedelayed_ros.masks.cuda import CudaRenderer
    from dedelayed_ros.sparse.backends.cuda import pycuda_device

    return CudaRenderer(pycuda_device.open_device(), palette)


@contextmanager
def _timed(stages: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    stages[name] = (time.perf_counter() - start) * 1e3
