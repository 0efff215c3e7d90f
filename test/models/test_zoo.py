from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dedelayed_ros.errors import WeightsError
from dedelayed_ros.models import CITYSCAPES, zoo
from dedelayed_ros.models.local import LocalModel
from dedelayed_ros.models.remote import HISTORY, RemoteModel


def test_entries_are_read_without_torch() -> None:
    script = (
        'import sys; from dedelayed_ros.models import zoo; zoo.entry(zoo.names()[0]); print("torch" in sys.modules)'
    )
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == 'False'


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The default entry in a folder of its own, to be damaged."""
    found = zoo.entry(zoo.DEFAULT)
    for file in (zoo.path_of(zoo.DEFAULT), *(path for path, _ in found.files.values())):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path / f'{found.name}.json'


def change(entry: Path, **values: object) -> str:
    entry.write_text(json.dumps({**json.loads(entry.read_text()), **values}))
    return str(entry)


@pytest.mark.parametrize('name', zoo.names())
def test_every_shipped_entry_loads_and_says_what_its_weights_are(name: str) -> None:
    found = zoo.entry(name)
    local = zoo.load_local(name)
    assert isinstance(local, LocalModel)
    assert found.name == name
    assert found.labels is CITYSCAPES
    assert local.head.out_channels == len(found.labels)
    assert found.reduce in (1, 2)
    assert 'Apache-2.0' in found.licence
    assert found.measured


@pytest.mark.parametrize('name', [name for name in zoo.names() if 'remote' in zoo.entry(name).files])
def test_every_shipped_pair_fits_together(name: str) -> None:
    found = zoo.entry(name)
    local, remote, codec = zoo.load_local(name), zoo.load_remote(name), zoo.load_codec(name)
    assert isinstance(remote, RemoteModel)
    assert local.feature_channels == local.fusion.expand.in_channels == remote.feature_channels
    assert found.link_channels == (remote.bottleneck.out_channels if codec is None else codec.latents)
    assert (zoo.load_code_lengths(name) is None) == (codec is None)
    assert found.history == HISTORY
    assert found.coordinates == 'seen'
    assert local.fusion.expand.in_channels % found.carry_split**2 == 0
    assert 0.0 < found.staleness_s <= 2.0
    assert {'local', 'remote_image'} <= {row['method'] for row in found.measured['rows']}


def test_the_shipped_weights_are_small() -> None:
    folder = zoo.path_of(zoo.DEFAULT).parent
    assert sum(file.stat().st_size for file in folder.iterdir()) < 30e6


@pytest.mark.parametrize('dtype', [None, torch.float32, torch.bfloat16])
def test_models_come_folded_and_frozen_in_the_wanted_format(dtype: torch.dtype | None) -> None:
    for model in (zoo.load_local(dtype=dtype), zoo.load_remote(dtype=dtype)):
        assert not model.training
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
        assert {parameter.dtype for parameter in model.parameters()} == {dtype or torch.float32}
        assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_the_shipped_fallback_is_exact_and_features_count(dtype: torch.dtype) -> None:
    model = zoo.load_local(dtype=dtype)
    torch.manual_seed(0)
    image = torch.rand(1, 3, 128, 320)
    with torch.inference_mode():
        alone = model(image)
        assert torch.equal(alone, model(image, torch.zeros(1, model.feature_channels, 16, 40), torch.tensor([250.0])))
        assert not torch.equal(
            alone, model(image, torch.randn(1, model.feature_channels, 16, 40), torch.tensor([250.0]))
        )


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(WeightsError, match=r"'street-v99'.*street-v1"):
        zoo.entry('street-v99')
    with pytest.raises(WeightsError, match='nowhere'):
        zoo.load_local('/nowhere/entry.json')


@pytest.mark.parametrize('side', ['local', 'remote'])
def test_damaged_weights_are_refused_with_advice(copy: Path, side: str) -> None:
    file = copy.with_name(f'{copy.stem}-{side}.safetensors')
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    load = zoo.load_local if side == 'local' else zoo.load_remote
    with pytest.raises(WeightsError, match=r'damaged.*Install the package again'):
        load(str(copy))


def test_missing_weights_are_refused_with_advice(copy: Path) -> None:
    copy.with_name(f'{copy.stem}-local.safetensors').unlink()
    with pytest.raises(WeightsError, match=r'cannot read.*Install the package again'):
        zoo.load_local(str(copy))


def test_weights_of_the_other_side_are_refused(copy: Path) -> None:
    files = json.loads(copy.read_text())['files']
    swapped = change(copy, files={'local': files['remote'], 'remote': files['local']})
    with pytest.raises(WeightsError, match='street-remote'):
        zoo.load_local(swapped)


@pytest.mark.parametrize('text', ['', 'not json', '[]', '{"name": "x"}'])
def test_damaged_entries_are_refused(copy: Path, text: str) -> None:
    copy.write_text(text)
    with pytest.raises(WeightsError, match='is damaged'):
        zoo.entry(str(copy))
