"""Dense engines that a user would otherwise run the same model on, behind one shape: a picture in, a result out."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class DenseEngine:
    """``run`` infers one picture, float32 [1, 3, h, w] in 0–1, from beginning to end on ``threads`` threads."""

    name: str
    threads: int
    dtype: str
    run: Callable[[Tensor], object]


def dense_engines(
    load: Callable[[torch.dtype], nn.Module],
    picture: Tensor,
    threads: tuple[int, ...],
    say: Callable[[str], None],
    *,
    compiled: bool = False,
) -> Iterator[DenseEngine]:
    """Every engine that this machine has, for each number of threads and number format that it knows.

    ``load`` gives the model in a number format. What is not installed is said and left out. ``compiled``: torch.compile
    too, which needs a C++ compiler and takes minutes.
    """
    for dtype in (torch.float32, torch.bfloat16):
        model = load(dtype)
        for count in threads:
            yield _torch('torch', model, dtype, count)
    if compiled:
        for dtype in (torch.float32, torch.bfloat16):
            yield from _compiled(load(dtype), dtype, picture, threads, say)
    try:
        yield from _openvino(load(torch.float32), picture, threads)
    except ImportError:
        say('OpenVINO is not installed: its rows are missing (make bench installs it)')
    try:
        yield from _onnxruntime(load(torch.float32), picture, threads)
    except ImportError:
        say('ONNX Runtime is not installed: its rows are missing (make bench installs it)')


def _torch(name: str, model: Callable[[Tensor], object], dtype: torch.dtype, threads: int) -> DenseEngine:
    @torch.inference_mode()
    def run(picture: Tensor) -> object:
        torch.set_num_threads(threads)
        return model(picture.to(dtype).contiguous(memory_format=torch.channels_last))

    return DenseEngine(name, threads, 'bf16' if dtype == torch.bfloat16 else 'float32', run)


def _compiled(
    model: nn.Module, dtype: torch.dtype, picture: Tensor, threads: tuple[int, ...], say: Callable[[str], None]
) -> Iterator[DenseEngine]:
    compiled = torch.compile(model, dynamic=False)
    for count in threads:
        engine = _torch('torch.compile', compiled, dtype, count)
        say(f'  compiling for torch, {engine.dtype}, {count} thread{"s" if count > 1 else ""}')
        try:
            engine.run(picture)
        except RuntimeError as error:  # no compiler, or a model that it does not take
            say(f'torch.compile is not available: its rows are missing ({str(error).strip().splitlines()[0]})')
            return
        yield engine


def _openvino(model: nn.Module, picture: Tensor, threads: tuple[int, ...]) -> Iterator[DenseEngine]:
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the size of the input is a constant here, as its tracer fears
        converted = openvino.convert_model(model, example_input=(picture,))
    converted.reshape(list(picture.shape))
    for count in threads:
        for dtype, hint in (('float32', 'f32'), ('bf16', 'bf16')):
            options = {
                'INFERENCE_NUM_THREADS': count,
                'INFERENCE_PRECISION_HINT': hint,
                'PERFORMANCE_HINT': 'LATENCY',
            }
            request = openvino.Core().compile_model(converted, 'CPU', options).create_infer_request()
            yield DenseEngine('openvino', count, dtype, _openvino_call(request))


def _openvino_call(request: Any) -> Callable[[Tensor], object]:
    return lambda picture: request.infer([picture.numpy()])


def _onnxruntime(model: nn.Module, picture: Tensor, threads: tuple[int, ...]) -> Iterator[DenseEngine]:
    import onnxruntime
    import onnxscript  # noqa: F401  (torch's exporter needs it and would only say so when it runs)

    # The exporter tells at length of operations that this model does not have.
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        path = Path(folder) / 'model.onnx'
        torch.onnx.export(model, (picture,), str(path), dynamo=True, verbose=False)
        for count in threads:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = count
            session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
            yield DenseEngine('onnxruntime', count, 'float32', _onnxruntime_call(session))


def _onnxruntime_call(session: Any) -> Callable[[Tensor], object]:
    name = session.get_inputs()[0].name
    return lambda picture: session.run(None, {name: picture.numpy()})
