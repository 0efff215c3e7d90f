"""The loop on the robot: what a mask is made of, and that the cloud can only add to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dedelayed_ros import masks, native
from dedelayed_ros.edge import EdgePipeline, EdgeSettings
from dedelayed_ros.errors import InputError, WeightsError
from dedelayed_ros.frames import MotionField, resize
from dedelayed_ros.greeting import link_shape
from dedelayed_ros.link import FeatureRecord
from dedelayed_ros.models import model_sizes, zoo
from dedelayed_ros.models.pictures import scaled
from dedelayed_ros.reuse import Attempts, Reuse

SIZE = (120, 200)
WIDE = (128, 640)
PERIOD_NS = 40_000_000
needs_kernels = pytest.mark.skipif(native.library() is None, reason=native.why_missing() or 'built')


def picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A smooth random picture: noise alone would be the same grey at every resolution."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return resize(coarse, size)


def answer(pipeline: EdgePipeline, sequence: int, scale: float = 3.0) -> FeatureRecord:
    shape = link_shape(pipeline.entry, model_sizes(pipeline.size))
    features = np.rint(np.random.default_rng(sequence).normal(size=shape) * scale).astype(np.float32)
    return FeatureRecord(
        sequence=sequence,
        stamp_ns=sequence * PERIOD_NS,
        features=features,
        predicted_delay_ms=120.0,
        round_trip_ms=80.0,
        server_ms=20.0,
        bytes_up=900,
        bytes_down=400,
    )


def step(pipeline: EdgePipeline, sequence: int, *, image: np.ndarray | None = None, **kwargs: object):
    options = {'motion': MotionField.identity(pipeline.size), 'stamp_ns': sequence * PERIOD_NS, **kwargs}
    return pipeline.step(picture(1, pipeline.size) if image is None else image, sequence=sequence, **options)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_without_features_the_mask_is_the_local_models(dtype: str) -> None:
    fused = EdgePipeline(EdgeSettings(mode='fused', dtype=dtype, reuse='off'), SIZE)
    image = picture(3)
    result = step(fused, 0, image=image)
    model = zoo.load_local(zoo.DEFAULT, dtype=getattr(torch, dtype))
    small = torch.from_numpy(scaled(image, model_sizes(SIZE).local)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        logits = model(small.to(getattr(torch, dtype)) / 255)
    mask, confidence = masks.render(logits[0].float(), SIZE)
    assert np.array_equal(result.mask, mask)
    assert np.array_equal(result.confidence, confidence)
    assert result.provenance.source == 'local'
    assert result.provenance.degraded == ('no remote features',)


def moving(sequence: int) -> tuple[np.ndarray, MotionField]:
    """A picture that moves to the right by 64 pixels a frame, one cell of the deepest layer, and that motion."""
    wide = picture(5, (WIDE[0], WIDE[1] + 64 * 5))
    vectors = np.zeros((*MotionField.identity(WIDE).valid.shape, 2), np.int16)
    vectors[..., 0] = 4 * 64
    left = 64 * (5 - sequence)
    return np.ascontiguousarray(wide[:, left : left + WIDE[1]]), MotionField(WIDE, vectors)


@needs_kernels
def test_reused_masks_are_those_of_the_model_itself() -> None:
    """Exactly those of the same engine with nothing to reuse, and those of torch but for its other rounding."""
    settings = EdgeSettings(mode='local', dtype='float32', reuse='exact')
    reusing = EdgePipeline(settings, WIDE)
    torchs = EdgePipeline(EdgeSettings(mode='local', dtype='float32', reuse='off'), WIDE)
    for i in range(5):
        image, motion = moving(i)
        result = step(reusing, i, image=image, motion=motion)
        fresh = step(EdgePipeline(settings, WIDE), i, image=image)
        assert np.array_equal(result.mask, fresh.mask)
        assert np.array_equal(result.confidence, fresh.confidence)
        plain = step(torchs, i, image=image, motion=motion)
        assert (result.mask != plain.mask).mean() < 1e-3
        assert np.abs(result.confidence.astype(int) - plain.confidence).max() <= 1
        assert plain.provenance.compute_ratio == plain.provenance.recompute_ratio == 1
        assert (result.provenance.compute_ratio < 1) == (i > 0)
        assert (result.provenance.recompute_ratio < 0.5) == (i > 0)


@needs_kernels
@pytest.mark.parametrize('reuse', ['exact', 'calibrated'])
def test_an_identical_picture_is_not_computed_again(reuse: Reuse) -> None:
    pipeline = EdgePipeline(EdgeSettings(dtype='float32', reuse=reuse), SIZE)
    first, second = step(pipeline, 0), step(pipeline, 1)
    assert np.array_equal(first.mask, second.mask)
    assert first.provenance.compute_ratio == 1
    assert second.provenance.compute_ratio == second.provenance.recompute_ratio == 0


@needs_kernels
@pytest.mark.parametrize(
    ('options', 'dense'),
    [({}, False), ({'motion': None}, True), ({'intra_ratio': 0.9}, True), ({'sequence': 1}, True)],
)
def test_what_breaks_the_stream_is_computed_densely(options: dict[str, object], dense: bool) -> None:
    pipeline = EdgePipeline(EdgeSettings(mode='local', dtype='float32'), SIZE)
    step(pipeline, 1), step(pipeline, 2)
    options = {'sequence': 3, **options}
    result = step(pipeline, **options)  # type: ignore[arg-type]
    assert result.provenance.compute_ratio == (1 if dense else 0)
    sequence = int(str(options['sequence']))
    assert step(pipeline, sequence + 1).provenance.compute_ratio == 0


@needs_kernels
@pytest.mark.parametrize(
    ('dtype', 'new', 'all_at_once'),
    [('float32', 0.4, False), ('float32', 0.6, True), ('float32', 0.9, True)]
    + [('bfloat16', 0.25, False), ('bfloat16', 0.45, True)],
)
def test_what_is_mostly_new_is_computed_in_full_at_once(dtype: str, new: float, all_at_once: bool) -> None:
    """In bfloat16 sooner: computing takes less time there, and finding out what to compute does not."""
    pipeline = EdgePipeline(EdgeSettings(mode='local', dtype=dtype, reuse='exact'), WIDE)
    first, image = picture(1, WIDE), picture(2, WIDE)
    rows = round(new * WIDE[0])
    step(pipeline, 0, image=first)
    result = step(pipeline, 1, image=np.concatenate([image[:rows], first[rows:]]))
    assert (result.provenance.compute_ratio == 1) == all_at_once
    assert result.provenance.recompute_ratio == pytest.approx(new, abs=0.05)


@needs_kernels
def test_a_camera_that_moves_on_costs_what_a_dense_model_does() -> None:
    """Where nothing can be reused, that is rarely looked for; what is exact stays so, and rest is noticed."""
    settings = EdgeSettings(mode='local', dtype='float32', reuse='exact')
    pipeline = EdgePipeline(settings, WIDE)
    rng, first = np.random.default_rng(3), picture(1, WIDE)
    images = [np.where(rng.random((*WIDE, 1)) < 0.04, picture(2, WIDE), first) for _ in range(40)]  # noise
    looked = []
    for i, image in enumerate(images):
        result = step(pipeline, i, image=image, motion=MotionField.identity(WIDE))
        looked.append(result.provenance.recompute_ratio < 1)
        assert result.provenance.compute_ratio > 0.9
    assert np.array_equal(result.confidence, step(EdgePipeline(settings, WIDE), 0, image=image).confidence)
    assert looked[1] and looked[2] and not any(looked[25:32])
    assert 4 <= sum(looked) <= 8
    options = {'image': image, 'motion': MotionField.identity(WIDE)}
    still = [step(pipeline, len(images) + i, **options).provenance.compute_ratio for i in range(17)]
    assert still[-1] == 0


def test_one_frame_that_is_all_new_is_no_reason_to_stop_looking() -> None:
    attempts = Attempts()
    for ratio in (1.0, 0.1, 1.0, 0.0, 0.71, 0.7):
        assert attempts.due()
        attempts.tell(ratio)
    asked = []
    for _ in range(60):
        asked.append(attempts.due())
        if asked[-1]:
            attempts.tell(1.0)
    pauses = np.diff(np.flatnonzero(asked)) - 1
    assert pauses.tolist() == [0, 1, 2, 4, 8, 15, 15]


@needs_kernels
def test_skipped_pictures_count_as_motion_for_reuse() -> None:
    settings = EdgeSettings(mode='local', dtype='float32', reuse='exact')
    pipeline = EdgePipeline(settings, WIDE)
    step(pipeline, 0, image=moving(0)[0])
    for i in (1, 2):
        pipeline.skip(stamp_ns=i * PERIOD_NS, sequence=i, motion=moving(i)[1])
    image, motion = moving(3)
    result = step(pipeline, 3, image=image, motion=motion)
    assert result.provenance.recompute_ratio < 0.7
    assert np.array_equal(result.confidence, step(EdgePipeline(settings, WIDE), 3, image=image).confidence)


@needs_kernels
@pytest.mark.parametrize('reuse', ['exact', 'calibrated'])
def test_nothing_of_the_cloud_is_left_in_a_local_mask(reuse: Reuse) -> None:
    """The first mask after the features have gone is the local model's own, computed anew."""
    settings = EdgeSettings(staleness_s=0.1, dtype='float32', reuse=reuse)
    pipeline = EdgePipeline(settings, SIZE)
    step(pipeline, 0)
    pipeline.offer_features(answer(pipeline, 0))
    results = [step(pipeline, i) for i in range(1, 5)]  # ages 40, 80, 120, 160 ms
    assert [r.provenance.source for r in results] == ['fused', 'fused', 'local', 'local']
    assert [r.provenance.compute_ratio for r in results[2:]] == [1, 0]
    alone = step(EdgePipeline(EdgeSettings(mode='local', dtype='float32', reuse=reuse), SIZE), 0)
    assert not np.array_equal(results[1].confidence, alone.confidence)
    assert np.array_equal(results[2].mask, alone.mask)
    assert np.array_equal(results[2].confidence, alone.confidence)


@needs_kernels
def test_a_repeated_answer_is_not_computed_again_while_it_ages() -> None:
    pipeline = EdgePipeline(EdgeSettings(dtype='float32', reuse='calibrated'), SIZE)
    step(pipeline, 0)
    pipeline.offer_features(answer(pipeline, 0))
    results = [step(pipeline, i) for i in range(1, 7)]  # ages 40, 80, …, 240 ms; 150 ms after the first it is told anew
    assert {r.provenance.source for r in results} == {'fused'}
    assert [round(r.provenance.compute_ratio) for r in results] == [1, 0, 0, 0, 1, 0]


def test_reuse_says_what_keeps_it() -> None:
    assert EdgePipeline(EdgeSettings(dtype='bfloat16', reuse='exact'), SIZE).reuse == 'exact'
    assert EdgePipeline(EdgeSettings(reuse='off'), SIZE).reuse == 'off'
    with pytest.raises(InputError, match="reuse is 'always'"):
        EdgePipeline(EdgeSettings(reuse='always'), SIZE)  # type: ignore[arg-type]


def test_zero_features_change_nothing() -> None:
    # A model without a codec: zero latents of one with it are features like any other.
    local, fused = (EdgePipeline(EdgeSettings(mode=mode, model='street-v1'), SIZE) for mode in ('local', 'fused'))
    fused.offer_features(answer(fused, 0, scale=0.0))
    a, b = step(local, 0), step(fused, 0)
    assert (a.provenance.source, b.provenance.source) == ('local', 'fused')
    assert np.array_equal(a.mask, b.mask)
    assert np.array_equal(a.confidence, b.confidence)


def test_features_are_used_and_accounted_for_once() -> None:
    pipeline = EdgePipeline(EdgeSettings(), SIZE)
    plain = step(pipeline, 0)
    pipeline.offer_features(answer(pipeline, 0))
    first, second = step(pipeline, 1), step(pipeline, 2)
    assert not np.array_equal(plain.confidence, first.confidence)
    assert first.provenance.source == second.provenance.source == 'fused'
    assert first.provenance.remote_age_ms == pytest.approx(40)
    assert second.provenance.remote_age_ms == pytest.approx(80)
    assert first.provenance.predicted_delay_ms == 120
    assert (first.provenance.bytes_up, first.provenance.bytes_down) == (900, 400)
    assert (second.provenance.bytes_up, second.provenance.bytes_down) == (0, 0)
    assert first.provenance.degraded == ()


def test_local_mode_ignores_features() -> None:
    pipeline = EdgePipeline(EdgeSettings(mode='local'), SIZE)
    plain = step(pipeline, 0)
    pipeline.offer_features(answer(pipeline, 0))
    offered = step(pipeline, 1)
    assert np.array_equal(plain.mask, offered.mask)
    assert offered.provenance.source == 'local'
    assert offered.provenance.degraded == ()


def test_after_the_staleness_limit_masks_are_local_again() -> None:
    pipeline = EdgePipeline(EdgeSettings(staleness_s=0.1), SIZE)
    step(pipeline, 0)
    pipeline.offer_features(answer(pipeline, 0))
    sources = [step(pipeline, i).provenance.source for i in range(1, 5)]  # ages 40, 80, 120, 160 ms
    assert sources == ['fused', 'fused', 'local', 'local']
    assert pipeline.dropped_features['stale'] == 1


@pytest.mark.parametrize(
    ('options', 'cut'),
    [
        ({'intra_ratio': 0.9}, True),
        ({'intra_ratio': 0.2}, False),
        ({'intra_ratio': 1.0, 'keyframe': True}, False),  # a key frame of the same scene, without vectors
        ({'intra_ratio': 0.9, 'keyframe': True}, True),  # one that was compared to the picture before
        ({'intra_ratio': 1.0, 'keyframe': True, 'image': 255 - picture(1)}, True),
    ],
)
def test_scene_cuts_are_told_from_key_frames(options: dict[str, object], cut: bool) -> None:
    pipeline = EdgePipeline(EdgeSettings(), SIZE)
    step(pipeline, 0)
    pipeline.offer_features(answer(pipeline, 0))
    result = step(pipeline, 1, **options)
    assert result.provenance.scene_cut == cut
    assert result.provenance.source == ('local' if cut else 'fused')


def test_lost_motion_is_said_and_features_are_not_carried_across() -> None:
    pipeline = EdgePipeline(EdgeSettings(), SIZE)
    step(pipeline, 0)
    pipeline.offer_features(answer(pipeline, 0))
    result = step(pipeline, 1, motion=None)
    assert result.provenance.source == 'local'
    assert 'no motion' in result.provenance.degraded


def test_skipped_pictures_count_as_motion() -> None:
    """Three pictures move everything by one feature cell each; whether masks were made of them is all the same."""
    shift = np.zeros((*MotionField.identity(SIZE).valid.shape, 2), np.int16)
    shift[..., 0] = 64
    motion = MotionField(SIZE, shift)
    pictures = [np.roll(picture(1), 16 * i, 1) for i in range(4)]
    results = []
    for skipping in (False, True):
        pipeline = EdgePipeline(EdgeSettings(), SIZE)
        step(pipeline, 0, image=pictures[0])
        pipeline.offer_features(answer(pipeline, 0))
        for i in (1, 2):
            if skipping:
                pipeline.skip(stamp_ns=i * PERIOD_NS, sequence=i, motion=motion)
            else:
                step(pipeline, i, motion=motion, image=pictures[i])
        results.append(step(pipeline, 3, motion=motion, image=pictures[3]))
    assert np.array_equal(results[0].confidence, results[1].confidence)
    assert results[1].provenance.source == 'fused'


@pytest.mark.parametrize('size', [(271, 641), (16, 16), (480, 640), (33, 1000)])
def test_masks_have_the_cameras_size(size: tuple[int, int]) -> None:
    result = step(EdgePipeline(EdgeSettings(), size), 0)
    assert result.mask.shape == result.confidence.shape == size
    assert result.mask.dtype == result.confidence.dtype == np.uint8
    assert int(result.mask.max()) < 19


def test_masks_at_the_models_size() -> None:
    result = step(EdgePipeline(EdgeSettings(mask_size='model'), SIZE), 0)
    assert result.mask.shape == model_sizes(SIZE).local


def test_two_streams_do_not_know_of_each_other() -> None:
    first, second = EdgePipeline(EdgeSettings(), SIZE), EdgePipeline(EdgeSettings(), SIZE)
    first.offer_features(answer(first, 0))
    assert step(first, 0).provenance.source == 'fused'
    assert step(second, 0).provenance.source == 'local'


def test_what_cannot_be_used_is_said() -> None:
    pipeline = EdgePipeline(EdgeSettings(), SIZE)
    with pytest.raises(InputError, match=r'uint8 \[100, 100, 3\]; expected uint8 \[120, 200, 3\]'):
        step(pipeline, 0, image=np.zeros((100, 100, 3), np.uint8))
    with pytest.raises(InputError, match="mode is 'both'"):
        EdgePipeline(EdgeSettings(mode='both'), SIZE)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="dtype is 'int8'"):
        EdgePipeline(EdgeSettings(dtype='int8'), SIZE)  # type: ignore[arg-type]
    with pytest.raises(InputError, match='4x4 pixels'):
        EdgePipeline(EdgeSettings(), (4, 4))
    with pytest.raises(WeightsError, match='no-such-model'):
        EdgePipeline(EdgeSettings(model='no-such-model'), SIZE)


def test_answers_of_another_shape_are_counted_and_not_used() -> None:
    pipeline = EdgePipeline(EdgeSettings(), SIZE)
    right = answer(pipeline, 0)
    for features in (right.features[1:], right.features[:, 1:]):
        pipeline.offer_features(replace(right, features=features))
    assert step(pipeline, 0).provenance.source == 'local'
    assert pipeline.dropped_features['wrong shape'] == 2
