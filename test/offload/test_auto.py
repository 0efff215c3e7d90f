"""Mode auto: the dispatcher weighs both models, each frame gets its mask from what was chosen, and says so."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dedelayed_ros.dispatch import Decision, Situation
from dedelayed_ros.edge import EdgePipeline, EdgeSettings
from dedelayed_ros.errors import InputError
from dedelayed_ros.link import FeatureRecord
from dedelayed_ros.models import zoo
from dedelayed_ros.models.labels import Labels
from dedelayed_ros.offload import auto
from dedelayed_ros.offload.auto import AutoPipeline
from dedelayed_ros.offload.pipeline import OffloadPipeline, OffloadSettings

pytestmark = pytest.mark.timeout(120)
SIZE = (64, 96)
MS = 1_000_000


class Asked(list):
    """Situations, and what is wanted in them."""

    wants: list[str]


@pytest.fixture
def asked(monkeypatch) -> Asked:
    found = Asked()
    found.wants = ['local']

    def decided(situation: Situation) -> Decision:
        found.append(situation)
        return Decision(found.wants[-1], f'always {found.wants[-1]}', (), situation)  # type: ignore[arg-type]

    monkeypatch.setattr(auto, 'decide', decided)
    return found


def see(pipeline, number: int, moved, camera):
    coded = camera.see(moved.picture, number)
    return pipeline.step(
        moved.picture, stamp_ns=number * 40 * MS, sequence=number, motion=coded.picture.motion,
        intra_ratio=coded.picture.intra_ratio, keyframe=coded.picture.keyframe, coded=coded,
    )  # fmt: skip


def test_a_mask_is_that_of_the_pipeline_that_was_chosen(footage, camera, asked) -> None:
    with (
        AutoPipeline(OffloadSettings(), EdgeSettings(), SIZE, 25.0) as both,
        OffloadPipeline(OffloadSettings(), SIZE, 25.0) as offload,
    ):
        local = EdgePipeline(EdgeSettings(mode='local'), SIZE)
        for number, moved in enumerate(footage[:12]):
            asked.wants.append('edge' if number % 3 == 1 else 'local')
            result = see(both, number, moved, camera)
            told = {'stamp_ns': number, 'sequence': number, 'motion': moved.motion}
            alone = {'edge': offload, 'local': local}
            expected = {name: one.step(moved.picture, **told) for name, one in alone.items()}
            assert np.array_equal(result.mask, expected[asked.wants[-1]].mask), number
            assert result.provenance.choice == asked.wants[-1]
            assert result.provenance.decision == f'always {asked.wants[-1]}'
            assert result.provenance.source == 'local'
    assert asked[0].possible == {'edge', 'fused', 'local'}, 'there is no cloud'
    assert asked[-1].edge_ms > 0
    assert asked[-1].local_ms > 0
    assert asked[-1].fused_kbps > 0
    assert asked[-1].accuracy is not None
    assert asked[-1].accuracy.offload == pytest.approx(zoo.entry('street-conv').measured['miou'])


def test_features_count_while_they_are_fresh(footage, camera, asked) -> None:
    with AutoPipeline(OffloadSettings(), EdgeSettings(staleness_s=0.5), SIZE, 25.0) as both:
        see(both, 0, footage[0], camera)
        assert asked[-1].fused_age_ms is None
        shape = (zoo.entry(both.local.settings.model).link_channels, 1, 1)
        both.offer_features(FeatureRecord(0, 0, np.zeros(shape, np.float32), 100.0, 50.0, 10.0, 9, 9))
        see(both, 3, footage[1], camera)
        assert asked[-1].fused_age_ms == pytest.approx(120.0)
        see(both, 20, footage[2], camera)
        assert asked[-1].fused_age_ms is None
        assert math.isfinite(asked[-1].local_ms)


def test_models_of_other_classes_do_not_go_together(monkeypatch) -> None:
    entry = zoo.entry
    other = Labels(('road', 'sky'), np.zeros((2, 3), np.uint8))

    def renamed(name: str):
        from dataclasses import replace

        return replace(entry(name), labels=other) if name == 'street-conv' else entry(name)

    monkeypatch.setattr(auto.zoo, 'entry', renamed)
    with pytest.raises(InputError, match='needs models of the same classes'):
        AutoPipeline(OffloadSettings(), EdgeSettings(), SIZE, 25.0)
