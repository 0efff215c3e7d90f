from __future__ import annotations

import numpy as np
import pytest
import torch

from dedelayed_ros.errors import InputError
from dedelayed_ros.models import RemoteModel, RemoteStream, model_sizes
from dedelayed_ros.models.asked import Asked
from dedelayed_ros.models.blocks import fold_batchnorm
from dedelayed_ros.models.stream import step_together

MS = 1_000_000


@pytest.fixture(scope='module')
def model() -> RemoteModel:
    torch.manual_seed(0)
    return fold_batchnorm(RemoteModel().eval())


def picture(seed: int, size: tuple[int, int] = (128, 128)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def maps(model: RemoteModel, *seeds: int) -> torch.Tensor:
    frames = [torch.from_numpy(picture(seed)).permute(2, 0, 1)[None] * (1.0 / 255.0) for seed in seeds]
    return torch.stack([model.encode(frame) for frame in frames], dim=1)


def test_a_short_history_repeats_the_oldest_frame_with_its_age(model: RemoteModel) -> None:
    stream = RemoteStream(model)
    stream.step(picture(0), 1000 * MS, 90.0)
    answer = stream.step(picture(1), 1130 * MS, 120.0)
    with torch.inference_mode():
        expected = model.predict(
            maps(model, 0, 0, 0, 1), torch.tensor([[130.0, 130.0, 130.0, 0.0]]), torch.tensor([120.0])
        )
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, expected[0].numpy(), rtol=1e-4, atol=1e-4)


def test_only_the_last_four_frames_count_at_irregular_ages(model: RemoteModel) -> None:
    stream = RemoteStream(model)
    stamps = [0, 33, 210, 260, 455]
    answers = [stream.step(picture(i), stamp * MS, 100.0) for i, stamp in enumerate(stamps)]
    with torch.inference_mode():
        expected = model.predict(
            maps(model, 1, 2, 3, 4), torch.tensor([[422.0, 245.0, 195.0, 0.0]]), torch.tensor([100.0])
        )
    np.testing.assert_allclose(answers[-1], expected[0].numpy(), rtol=1e-4, atol=1e-4)


def test_streams_of_one_model_know_nothing_of_each_other(model: RemoteModel) -> None:
    one, other = RemoteStream(model), RemoteStream(model)
    one.step(picture(5), 0, 100.0)
    assert np.array_equal(one.step(picture(6), 40 * MS, 100.0), _fresh(model, [5, 6]))
    assert np.array_equal(other.step(picture(6), 40 * MS, 100.0), _fresh(model, [6]))


def test_streams_together_are_answered_as_each_alone(model: RemoteModel) -> None:
    together, alone = ([RemoteStream(model) for _ in range(3)] for _ in range(2))
    together[0].step(picture(1), 0, 50.0)  # one of them has a history
    alone[0].step(picture(1), 0, 50.0)
    for turn in range(2):
        # Cameras of another size are stretched to the same; times and delays are each one's own.
        sizes = ((128, 128), (128, 128), (128, 127))
        asked = [Asked(picture(10 * turn + k, sizes[k]), (40 + 30 * k + 90 * turn) * MS, 80.0 * k) for k in range(3)]
        answers = step_together(together, asked)
        for stream, one, answer in zip(alone, asked, answers, strict=True):
            assert answer.dtype == np.float32
            np.testing.assert_allclose(answer, stream.step(*one), rtol=1e-4, atol=1e-4)


def test_frames_of_other_sizes_are_not_computed_together(model: RemoteModel) -> None:
    streams = [RemoteStream(model), RemoteStream(model)]
    with pytest.raises(InputError, match=r'different sizes .*128, 128.*128, 256'):
        step_together(streams, [Asked(picture(1), 0, 0.0), Asked(picture(1, (128, 256)), 0, 0.0)])


@pytest.mark.parametrize('why', ['reset', 'stamp', 'size'])
def test_a_new_history_begins(model: RemoteModel, why: str) -> None:
    stream = RemoteStream(model)
    stream.step(picture(0, (192, 128) if why == 'size' else (128, 128)), 500 * MS, 100.0)
    if why == 'reset':
        stream.reset()
    stamp = 500 if why == 'stamp' else 600
    assert np.array_equal(stream.step(picture(1), stamp * MS, 100.0), _fresh(model, [1]))


def _fresh(model: RemoteModel, seeds: list[int]) -> np.ndarray:
    stream = RemoteStream(model)
    return [stream.step(picture(seed), index * 40 * MS, 100.0) for index, seed in enumerate(seeds)][-1]


@pytest.mark.parametrize('size', [(271, 641), (1, 1), (300, 200)])
def test_any_camera_size_is_stretched_to_the_models(model: RemoteModel, size: tuple[int, int]) -> None:
    answer = RemoteStream(model).step(picture(3, size), 0, 100.0)
    assert answer.shape == (32, *model_sizes(size).grid)
    assert np.isfinite(answer).all()


def test_bfloat16_streams_answer_in_float32(model: RemoteModel) -> None:
    half = fold_batchnorm(RemoteModel().eval())
    half.load_state_dict(model.state_dict())
    answer = RemoteStream(half.to(torch.bfloat16)).step(picture(3), 0, 100.0)
    assert answer.dtype == np.float32


def test_what_is_not_a_picture_is_refused(model: RemoteModel) -> None:
    with pytest.raises(InputError, match='expected uint8'):
        RemoteStream(model).step(np.zeros((128, 128), np.uint8), 0, 100.0)
    with pytest.raises(InputError, match='float32'):
        RemoteStream(model).step(np.zeros((128, 128, 3), np.float32), 0, 100.0)
