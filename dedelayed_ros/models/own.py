"""Networks of one's own, exported by torch: they run wherever a model of the package runs without the cloud's features.

An entry of the zoo says what such a network needs (:class:`~dedelayed_ros.models.zoo.OwnNetwork`); :func:`adopt` writes
it.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from dedelayed_ros.errors import InputError, WeightsError
from dedelayed_ros.models.labels import UNLABELLED, Labels
from dedelayed_ros.models.zoo import OwnNetwork

_EXPORT = 'torch.export.save(torch.export.export(network.eval(), (torch.zeros(1, 3, H, W),)), FILE)'


class OwnModel(nn.Module):
    """An exported network in the form of the package's: float [1, 3, H, W] RGB in 0–1 -> float32 logits [1, C, h, w].

    It computes in float32, whatever it is given; the sparse engine brings it to other formats. Where the network ends
    by enlarging its logits bilinearly, they are given before that: masks are enlarged to the camera's size anyway, and
    all classes of all pixels would be most of the work.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, program: ExportedProgram, own: OwnNetwork) -> None:
        super().__init__()
        self._network = _at_its_stride(program.module(), own.output)
        self._output = own.output
        self.register_buffer('mean', torch.tensor(own.mean).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor(own.std).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self.training = False

    def train(self, mode: bool = True) -> OwnModel:
        """Exported networks stay in the mode that they were exported in. Raises InputError when asked to train."""
        if mode:
            raise InputError('a network that torch exported cannot be trained; train the original and export it again')
        return self

    def forward(self, image: Tensor) -> Tensor:
        outputs = pytree.tree_leaves(self._network((image.float() - self.mean) / self.std))
        return outputs[self._output].float()


def _at_its_stride(network: nn.Module, output: int) -> nn.Module:
    """The exported ``network`` without the enlargement that its output of that number ends with, if it does."""
    assert isinstance(network, GraphModule)
    graph = network.graph
    end = next(node for node in reversed(graph.nodes) if node.op == 'output')
    outputs = list(end.args[0])
    last = outputs[output]
    if last.target is torch.ops.aten.upsample_bilinear2d.vec and not last.args[2]:  # pixels by their centres
        outputs[output] = last.args[0]
        end.args = (tuple(outputs),)
        graph.eliminate_dead_code()
        network.recompile()
    return network


def load(data: bytes, path: Path, own: OwnNetwork) -> OwnModel:
    """The network in ``data``, the contents of the file at ``path``. Raises WeightsError where torch cannot read it."""
    return OwnModel(_program(data, path), own)


def adopt(
    path: Path,
    name: str,
    labels: Labels,
    folder: Path,
    *,
    size: tuple[int, int] | None = None,
    mean: tuple[float, ...] = (0.0, 0.0, 0.0),
    std: tuple[float, ...] = (1.0, 1.0, 1.0),
    licence: str = 'as the network came with',
) -> Path:
    """Write an entry called ``name`` for the network in ``path`` to ``folder``, with a copy of it, and return its path.

    Args:
        path: what ``torch.export.save`` wrote of a network [1, 3, H, W] float32 -> logits [1, C, h, w] of any stride,
            alone or among other outputs.
        name: of the entry and its files.
        labels: of the C classes.
        folder: where the entry is written; it is made.
        size: (H, W) of the input, for a network that was exported for several.
        mean: what the network wants to be taken off RGB in 0–1.
        std: what it wants that to be divided by then.
        licence: of the weights, as the entry tells it.

    Raises:
        WeightsError: torch cannot read the file.
        InputError: it is no such network, or a setting cannot be used.
    """
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise InputError(f'mean {mean} and std {std}: expected three numbers each, red, green and blue, std above 0')
    if not 2 <= len(labels) <= UNLABELLED:
        raise InputError(f'{len(labels)} classes; masks hold 2 to {UNLABELLED} of them')
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f'cannot read {path} ({error.strerror}); expected the FILE of {_EXPORT}') from error
    program = _program(data, path)
    h, w = _input_size(program, size)
    own = OwnNetwork((h, w), mean, std, _output(program, (h, w), len(labels)))
    file = f'{name}.pt2'
    checksum = hashlib.sha256(data).hexdigest()
    card = {
        'name': name,
        'licence': licence,
        'labels': {label: labels.palette[k].tolist() for k, label in enumerate(labels.names)},
        'checksum': checksum,
        'files': {'local': {'file': file, 'sha256': checksum}},
        'reduce': 1,
        'own': {'size': [h, w], 'mean': list(mean), 'std': list(std), 'output': own.output},
        'measured': {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(data)
    entry = folder / f'{name}.json'
    entry.write_text(json.dumps(card, indent=1) + '\n')
    return entry


def _program(data: bytes, path: Path) -> ExportedProgram:
    try:
        return torch.export.load(io.BytesIO(data))
    except Exception as error:  # of many kinds: a zip archive, its JSON, operations of other versions of torch
        raise WeightsError(
            f'{path} is not a network that this torch ({torch.__version__}) can read: {str(error).strip()[:500]}. '
            f'Expected the FILE of {_EXPORT}, by this version of torch or an older one'
        ) from error


def _input_size(program: ExportedProgram, size: tuple[int, int] | None) -> tuple[int, int]:
    """(H, W) of the only input, from the program or ``size``."""
    inputs = [
        node.meta['val'] for node in program.graph.nodes if node.name in program.graph_signature.user_inputs
    ]  # tensors, or numbers
    shapes = [list(value.shape) if isinstance(value, torch.Tensor) else value for value in inputs]
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor) or inputs[0].ndim != 4 or inputs[0].shape[1] != 3:
        raise InputError(f'the network takes {shapes}; expected one picture, [1, 3, H, W]')
    picture = inputs[0]
    if picture.dtype != torch.float32:
        raise InputError(f'the network takes {picture.dtype}; export it in float32, the engine has bfloat16 of its own')
    exported = tuple(int(side) if isinstance(side, int) else None for side in picture.shape[2:])
    if size is None and None in exported:
        raise InputError(f'the network was exported for any size of {shapes[0]}; say which with --size WxH')
    if size is not None and any(mine not in (None, side) for mine, side in zip(exported, size, strict=True)):
        raise InputError(
            f'the network was exported for pictures of {exported[1]}x{exported[0]}, not {size[1]}x{size[0]}; export it '
            'again for that size, or leave the size out'
        )
    return size or (int(picture.shape[2]), int(picture.shape[3]))


def _output(program: ExportedProgram, size: tuple[int, int], classes: int) -> int:
    """Number of the logits among the outputs: the first that has the right classes."""
    try:
        with torch.inference_mode():
            outputs = pytree.tree_leaves(program.module()(torch.zeros(1, 3, *size)))
    except Exception as error:  # whatever the network's operations raise at that size
        raise InputError(
            f'the network does not run on a picture of {size[1]}x{size[0]}: {str(error).strip()[:500]}'
        ) from error
    shapes = [list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__ for value in outputs]
    for number, shape in enumerate(shapes):
        if isinstance(shape, list) and len(shape) == 4 and shape[:2] == [1, classes]:
            return number
    raise InputError(
        f'the network gives {shapes}; expected logits [1, {classes}, h, w], a channel for each of the {classes} labels'
    )
