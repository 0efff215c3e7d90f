"""Networks that did not come from this package, exported by torch and made entries of the zoo."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dedelayed_ros import sparse
from dedelayed_ros.errors import InputError, WeightsError
from dedelayed_ros.masks import render
from dedelayed_ros.models import Labels, zoo
from dedelayed_ros.models.own import adopt
from dedelayed_ros.offload import load_model

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LABELS = Labels.read('lawn\npath\nhedge\npond\nbench')


class Garden(nn.Module):
    """Somebody's network: 5 classes at the input's size, after an output that is not the mask, as many have them."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1)
        )
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        seen = F.hardswish(self.features(x))
        logits = F.interpolate(self.head(seen), size=x.shape[-2:], mode='bilinear', align_corners=False)
        return {'features': seen, 'out': logits}


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


@pytest.fixture(scope='module')
def garden() -> Garden:
    return Garden().eval()


def test_corners_that_are_aligned_and_a_network_without_an_enlargement_stay(tmp_path: Path) -> None:
    picture = torch.rand(1, 3, 32, 48)
    for network in (nn.Conv2d(3, 5, 3), nn.Sequential(nn.Conv2d(3, 5, 3), nn.UpsamplingBilinear2d((32, 48)))):
        name = str(adopt(exported(network.eval(), tmp_path / 'net.pt2', picture), 'net', LABELS, tmp_path))
        with torch.inference_mode():
            assert torch.equal(zoo.load_local(name)(picture), network(picture))


def test_an_end_says_that_its_engine_is_slow(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 5, 1)).eval()
    name = str(adopt(exported(network, tmp_path / 'net.pt2', torch.zeros(1, 3, 32, 48)), 'net', LABELS, tmp_path))
    assert re.match(r'reference \(.*group_norm', load_model(name).endpoint((32, 48)).engine)


def exported(network: nn.Module, path: Path, *inputs: Tensor, dynamic: bool = False) -> Path:
    shapes = None
    if dynamic:
        shapes = ({2: torch.export.Dim('h', min=16, max=512), 3: torch.export.Dim('w', min=16, max=512)},)
    torch.export.save(torch.export.export(network, inputs, dynamic_shapes=shapes), path)
    return path


def entry_of(garden: Garden, folder: Path) -> str:
    file = exported(garden, folder / 'net.pt2', torch.zeros(1, 3, 64, 96))
    return str(adopt(file, 'garden', LABELS, folder / 'models', mean=MEAN, std=STD, licence='MIT'))


def test_an_entry_computes_what_the_network_does(garden: Garden, tmp_path: Path) -> None:
    name = entry_of(garden, tmp_path)
    found = zoo.entry(name)
    assert (found.name, found.licence, found.labels.names) == ('garden', 'MIT', LABELS.names)
    assert np.array_equal(found.labels.palette, LABELS.palette)
    assert found.input_size((480, 640)) == (64, 96)
    levels = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    picture = levels.float() / 255
    with torch.inference_mode():
        normalised = (picture - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
        outputs = garden(normalised)
        expected = garden.head(outputs['features'])
        model = zoo.load_local(name, torch.bfloat16)
        assert model.eval() is model and not model.training
        assert torch.allclose(model(picture), expected, atol=1e-5)
        engine = sparse.compile(model, (levels,))
        assert torch.allclose(engine.step(levels)[0], expected, atol=1e-4)
        mask, _ = render(model(picture)[0], (64, 96))  # the enlargement that the network ended with is left to it
        assert (mask == outputs['out'][0].argmax(0).numpy()).mean() > 0.999
        end = load_model(name, device='cpu').endpoint((64, 96))
        assert end.engine == 'cpu'
        offloaded, _ = end.infer(levels[0].permute(1, 2, 0).contiguous().numpy())
        assert torch.allclose(offloaded, expected[0], atol=1e-4)
    with pytest.raises(InputError, match='cannot be trained'):
        model.train()


def test_a_network_for_any_size_takes_the_one_that_is_said(garden: Garden, tmp_path: Path) -> None:
    file = exported(garden, tmp_path / 'any.pt2', torch.zeros(1, 3, 64, 96), dynamic=True)
    with pytest.raises(InputError, match='for any size of .* --size'):
        adopt(file, 'any', LABELS, tmp_path)
    name = str(adopt(file, 'any', LABELS, tmp_path, size=(96, 128)))
    with torch.inference_mode():
        assert zoo.load_local(name)(torch.rand(1, 3, 96, 128)).shape == (1, 5, 24, 32)


def test_what_is_no_such_network_is_refused(garden: Garden, tmp_path: Path) -> None:
    picture = torch.zeros(1, 3, 64, 96)
    fixed = exported(garden, tmp_path / 'fixed.pt2', picture)
    with pytest.raises(InputError, match=r'exported for pictures of 96x64, not 128x96'):
        adopt(fixed, 'x', LABELS, tmp_path, size=(96, 128))
    with pytest.raises(InputError, match=r'gives .*\[1, 5, 64, 96\].*expected logits \[1, 3, h, w\]'):
        adopt(fixed, 'x', Labels.read('a\nb\nc'), tmp_path)
    with pytest.raises(InputError, match='1 classes; masks hold 2 to 255'):
        adopt(fixed, 'x', Labels.read('a'), tmp_path)
    with pytest.raises(InputError, match='expected three numbers each'):
        adopt(fixed, 'x', LABELS, tmp_path, std=(1.0, 0.0, 1.0))
    with pytest.raises(InputError, match=r'takes \[\[1, 3, 64, 96\], \[1, 3, 64, 96\]\]; expected one picture'):
        adopt(exported(Two(), tmp_path / 'two.pt2', picture, picture), 'x', LABELS, tmp_path)
    half = exported(nn.Conv2d(3, 5, 1).half(), tmp_path / 'half.pt2', picture.half())
    with pytest.raises(InputError, match='takes torch.float16; export it in float32'):
        adopt(half, 'x', LABELS, tmp_path)
    with pytest.raises(InputError, match='cannot read .*nothing.pt2'):
        adopt(tmp_path / 'nothing.pt2', 'x', LABELS, tmp_path)
    (tmp_path / 'text.pt2').write_text('weights')
    with pytest.raises(WeightsError, match=r'text.pt2 is not a network that this torch'):
        adopt(tmp_path / 'text.pt2', 'x', LABELS, tmp_path)
    assert not list(tmp_path.glob('*.json'))


def test_damage_is_found(garden: Garden, tmp_path: Path) -> None:
    name = entry_of(garden, tmp_path)
    file = tmp_path / 'models' / 'garden.pt2'
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(WeightsError, match=r'garden.pt2 is damaged'):
        zoo.load_local(name)
    card = json.loads(Path(name).read_text())
    Path(name).write_text(json.dumps(card | {'own': {'size': [64]}}))
    with pytest.raises(WeightsError, match=r'garden.json is damaged'):
        zoo.entry(name)
