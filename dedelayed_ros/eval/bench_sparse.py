"""What sparse execution costs for a share of the picture that changed, beside its own dense pass and other engines."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dedelayed_ros import native, sparse
from dedelayed_ros.eval.engines import DenseEngine, dense_engines
from dedelayed_ros.frames import EncoderSettings, H264Encoder, MotionField, open_source
from dedelayed_ros.models import model_sizes, zoo
from dedelayed_ros.models.dtypes import resolve_dtype
from dedelayed_ros.models.pictures import as_levels, scaled
from dedelayed_ros.reuse import dense_above, load_calibration

DIRTY = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Shares of the input's pixels that change from one frame to the next, as a few blobs."""

_BLOBS = 4
_PAUSE_S, _PATIENCE = 0.005, 60
_WARM_UP = 3
_PHASES = ('compare', 'sets', 'remap', 'compute', 'call')
_BLOCK = 16  # pixels a side of a block of the codec


@dataclass(frozen=True)
class BenchSettings:
    """``model`` of the zoo; ``camera`` size (H, W) that its local input follows from; ``rounds`` in each of which
    everything runs once, in turn; ``threads`` of every engine; ``clip``: a video whose
    real motion is measured too, or None; ``device`` of the sparse engine: 'auto', 'cpu' or 'cuda'; ``compiled``:
    torch.compile is measured too, which takes minutes to begin with.
    """

    model: str = zoo.DEFAULT
    camera: tuple[int, int] = (320, 640)
    rounds: int = 40
    threads: tuple[int, ...] = (1, 2)
    clip: str | None = None
    device: str = 'auto'
    compiled: bool = False


@dataclass(frozen=True)
class _Measured:
    """One step: wall time, processor time of all threads, compute ratio, and the wall time of ``phases``.

    ``compare`` is following and comparing the inputs, ``sets`` finding what is computed of each layer, ``remap`` moving
    caches, ``compute`` the layers, and ``call`` the rest: the call from Python.
    """

    milliseconds: float
    cpu_ms: float
    compute_ratio: float = 1.0
    phases: dict[str, float] | None = None


@dataclass
class _Case:
    """One line of the table while it is measured."""

    engine: str
    threads: int
    dtype: str
    dirty: float | str
    run: Callable[[], _Measured]

    def __post_init__(self) -> None:
        self.found: list[_Measured] = []

    def measure(self) -> None:
        self.found.append(self.run())

    @property
    def times(self) -> list[float]:
        return [found.milliseconds for found in self.found]

    @property
    def cpu(self) -> float:
        """Median processor time, ms."""
        return float(np.median([found.cpu_ms for found in self.found[_WARM_UP:]]))


def bench_sparse(settings: BenchSettings, say: Callable[[str], None] = print) -> dict[str, object]:
    """Measure, and return what the JSON file holds; the sparse engine as the pipeline runs it: a picture that is mostly
    new is computed in full, and results are read where they are.

    ``rows`` of engine, threads, dtype, dirty (share of pixels, 'reset' for the sparse engine's own dense pass, 'pan'
    for a picture that moves as a whole by the coarsest stride, 'clip' for the video; with ', calibrated' by the
    model's calibration), compute_ratio, ms_median, ms_iqr, cpu_ms_median (processor time of all threads),
    front_end_ms (compare_ms and sets_ms), remap_ms, compute_ms and call_ms (of that, by their shares of wall time; see
    _Measured; null for other engines), ratio_own_dense, cpu_ratio_own_dense and ratio_openvino (against OpenVINO at
    the same number format and threads; null without it). ``noise`` is the spread of the same dense pass over the whole
    run.
    """
    h, w = model_sizes(settings.camera).local
    generator = torch.Generator().manual_seed(1)
    base = noise((h, w), generator)
    modules = {dtype: _compiled(settings, dtype, base) for dtype in _formats(settings.device)}
    compiled = modules[torch.float32]
    if compiled.backend == 'reference':
        say(f'the sparse engine runs on its {compiled.backend} backend, which is not made for speed: '
            f'{compiled.backend_reason}')  # fmt: skip
    say(f'{settings.model}, local input {w}x{h}; sparse engine on {compiled.backend}, {settings.rounds} rounds')

    compiled.step(base)  # so that its memory is there to be counted
    cases: list[_Case] = []
    for threads, module in itertools.product(settings.threads, modules.values()):
        shared = module if threads == 1 else module.with_tolerance(threads=threads)
        cases.append(_reset_case(shared, base, threads))
        cases += [_blob_case(shared, base, dirty, generator, threads) for dirty in DIRTY]
    load = partial(zoo.load_local, settings.model)
    floats = base.float() / 255
    for engine in dense_engines(load, floats, settings.threads, say, compiled=settings.compiled):
        cases.append(_dense_case(engine, floats))
    calibration = load_calibration(settings.model)
    for module in modules.values():
        tolerant = {'': module}
        if calibration is not None and module.backend == 'cpu':
            tolerant[', calibrated'] = module.with_tolerance(
                calibration.alignment,
                calibration.on(module.plan),
                dense_above=dense_above(module.plan.dtype, calibration),
            )
        for name, one in tolerant.items():
            cases.append(_pan_case(one, f'pan{name}', base))
            if settings.clip is not None:
                cases.append(_clip_case(one, f'clip{name}', settings.clip, settings.rounds))

    for number in range(settings.rounds + _WARM_UP):
        for case in cases:
            _settle()
            case.measure()
        if (number + 1) % 10 == 0:
            say(f'  round {number + 1} of {settings.rounds + _WARM_UP}')
    return {
        'model': settings.model,
        'input': [h, w],
        'backend': compiled.backend,
        'cache_bytes': compiled.state_bytes,
        'rounds': settings.rounds,
        'rows': _rows(cases),
        'noise': _noise(cases[0].times[_WARM_UP:]),
    }


def _formats(device: str) -> tuple[torch.dtype, ...]:
    """Number formats that the sparse engine is measured in: bfloat16 too where the processor multiplies it natively."""
    natively = device != 'cuda' and native.library() is not None and resolve_dtype('auto') is torch.bfloat16
    return (torch.float32, torch.bfloat16) if natively else (torch.float32,)


def _compiled(settings: BenchSettings, dtype: torch.dtype, base: Tensor) -> sparse.SparseModule:
    return sparse.compile(
        zoo.load_local(settings.model, dtype),
        (base,),
        dtype=dtype,
        backend=settings.device,
        dense_above=dense_above(dtype, None),
    )


def _format(module: sparse.SparseModule) -> str:
    return 'bf16' if module.plan.dtype == torch.bfloat16 else 'float32'


def _settle() -> None:
    """Wait until no thread of the engine before is still spinning, which some do for a while after their work.

    It would take a core from the next one, and count as its processor time.
    """
    for _ in range(_PATIENCE):
        busy = time.process_time()
        time.sleep(_PAUSE_S)
        if time.process_time() - busy < 0.1 * _PAUSE_S:
            return


def _timed(module: sparse.SparseModule, picture: Tensor, motion: MotionField | None) -> _Measured:
    """One step. Whoever makes the picture does so on one thread: torch's others would spin beside the engine."""
    begun, processor = time.perf_counter(), time.process_time()
    _, stats = module.step(picture, motion=motion, copy=False)
    milliseconds, cpu = (time.perf_counter() - begun) * 1e3, (time.process_time() - processor) * 1e3
    inputs = set(module.plan.inputs)
    compare = sum(layer.front_ms for i, layer in enumerate(stats.layers) if i in inputs)
    layers = sum(layer.milliseconds for layer in stats.layers)
    phases = {
        'compare': compare,
        'sets': stats.front_ms - compare,
        'remap': stats.remap_ms,
        'compute': layers - stats.front_ms - stats.remap_ms,
        'call': milliseconds - layers,
    }
    return _Measured(milliseconds, cpu, stats.compute_ratio, phases)


def _dense_case(engine: DenseEngine, base: Tensor) -> _Case:
    def run() -> _Measured:
        begun, processor = time.perf_counter(), time.process_time()
        engine.run(base)
        return _Measured((time.perf_counter() - begun) * 1e3, (time.process_time() - processor) * 1e3)

    return _Case(engine.name, engine.threads, engine.dtype, 1.0, run)


def _reset_case(compiled: sparse.SparseModule, base: Tensor, threads: int) -> _Case:
    """The engine's own dense pass: motion is not known."""
    module = compiled.fork()
    return _Case('sparse', threads, _format(module), 'reset', lambda: _timed(module, base, None))


def _blob_case(
    compiled: sparse.SparseModule, base: Tensor, dirty: float, generator: torch.Generator, threads: int
) -> _Case:
    """The same blobs get new content in every frame; nothing else changes."""
    module, changed = compiled.fork(), blobs((base.shape[-2], base.shape[-1]), dirty, generator)
    still = MotionField.identity((base.shape[-2], base.shape[-1]))
    module.step(base)

    def run() -> _Measured:
        torch.set_num_threads(1)
        fresh = noise((base.shape[-2], base.shape[-1]), generator)
        return _timed(module, torch.where(changed, fresh, base), still)

    return _Case('sparse', threads, _format(module), dirty, run)


def _pan_case(compiled: sparse.SparseModule, name: str, base: Tensor) -> _Case:
    """Everything moves sideways by the coarsest stride; what comes in is new."""
    module = compiled.fork()
    size = (base.shape[-2], base.shape[-1])
    step = max(int(node.grid.stride[1] or 0) for node in compiled.plan.nodes)
    vectors = np.zeros((*(-(-n // _BLOCK) for n in size), 2), np.int16)
    vectors[..., 0] = 4 * step
    motion = MotionField(size, vectors, block=_BLOCK)
    module.step(base)
    frames = itertools.count(1)

    def run() -> _Measured:
        torch.set_num_threads(1)
        return _timed(module, base.roll(step * next(frames), 3), motion)

    return _Case('sparse', 1, _format(module), name, run)


def _clip_case(compiled: sparse.SparseModule, name: str, clip: str, rounds: int) -> _Case:
    """Consecutive frames of a video with the codec's own motion, at the model's input size."""
    module = compiled.fork()
    frames = iter(list(_encoded(clip, compiled.plan.frame, rounds + _WARM_UP)))

    def run() -> _Measured:
        picture, motion = next(frames)
        return _timed(module, picture, motion)

    return _Case('sparse', 1, _format(module), name, run)


def _encoded(clip: str, size: tuple[int, int], count: int) -> Iterable[tuple[Tensor, MotionField]]:
    with open_source(clip, loop=True, pace='fast') as source:
        encoder = H264Encoder(EncoderSettings(size=size, rate=source.rate))
        for frame, _ in zip(source, range(count), strict=False):
            small = scaled(frame.image, size)
            picture = as_levels(small)
            yield picture, encoder.encode(small).motion
        encoder.close()


def noise(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A picture of independent levels, uint8 [1, 3, h, w] as cameras give it: channels-last in memory."""
    return torch.randint(0, 256, (1, *size, 3), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)


def blobs(size: tuple[int, int], share: float, generator: torch.Generator) -> Tensor:  # bool [h, w]
    """A mask of a few ellipses that covers ``share`` (0–1) of the picture, to within a pixel."""
    h, w = size
    y, x = torch.meshgrid(torch.arange(h) / h, torch.arange(w) / w, indexing='ij')
    centres = torch.rand(_BLOBS, 2, generator=generator)
    distance = torch.stack([(y - cy) ** 2 + (x - cx) ** 2 for cy, cx in centres.tolist()]).amin(0)
    mask = torch.zeros(h * w, dtype=torch.bool)
    mask[distance.flatten().argsort()[: round(share * h * w)]] = True
    return mask.view(h, w)


def _rows(cases: list[_Case]) -> list[dict[str, object]]:
    medians = {id(case): float(np.median(case.times[_WARM_UP:])) for case in cases}
    # Against the own dense pass in that number format and on as many threads; in float32, or on one, where it was
    # not measured so.
    own = {(case.threads, case.dtype): case for case in cases if case.dirty == 'reset'}
    openvino = {(c.threads, c.dtype): medians[id(c)] for c in cases if c.engine == 'openvino'}
    rows: list[dict[str, object]] = []
    for case in cases:
        median = medians[id(case)]
        low, high = np.percentile(case.times[_WARM_UP:], (25, 75))
        dense = own.get((case.threads, case.dtype), own.get((case.threads, 'float32'), cases[0]))
        known = case.found[_WARM_UP:]
        other = openvino.get((case.threads, case.dtype))
        rows.append(
            {
                'engine': case.engine,
                'threads': case.threads,
                'dtype': case.dtype,
                'dirty': case.dirty,
                'compute_ratio': round(float(np.mean([found.compute_ratio for found in known])), 4),
                'ms_median': round(median, 3),
                'ms_iqr': round(float(high - low), 3),
                'ratio_own_dense': round(median / medians[id(dense)], 3),
                'cpu_ms_median': round(case.cpu, 3),
                'cpu_ratio_own_dense': round(case.cpu / dense.cpu, 3),
                **_phases(case),
                'ratio_openvino': None if other is None else round(median / other, 3),
            }
        )
    return rows


def _phases(case: _Case) -> dict[str, float | None]:
    """Processor time of a step's phases, ms."""
    found: dict[str, float | None] = {}
    wall = sum(case.times[_WARM_UP:])
    for name in _PHASES:
        spent = [step.phases[name] for step in case.found[_WARM_UP:] if step.phases is not None]
        found[f'{name}_ms'] = round(case.cpu * sum(spent) / wall, 3) if spent else None
    compare, sets = found['compare_ms'], found['sets_ms']
    return {'front_end_ms': None if compare is None or sets is None else round(compare + sets, 3), **found}


def _noise(times: list[float]) -> dict[str, float]:
    """How steady the machine was: quantiles of one and the same computation, relative to its median."""
    low, median, high = np.percentile(times, (10, 50, 90))
    return {'p10': round(float(low / median), 3), 'p90': round(float(high / median), 3)}
