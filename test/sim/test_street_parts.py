"""Meshes, path and cross-section of the street, which need no renderer."""

from __future__ import annotations

import numpy as np
import pytest

from dedelayed_ros.sim.street import classes
from dedelayed_ros.sim.street.layout import Street
from dedelayed_ros.sim.street.look import Look, stream, tileable_noise
from dedelayed_ros.sim.street.meshes import Bag, Mesh, ball, box, capsule, disc, puff, rounded_box, tube, wheel_ring
from dedelayed_ros.sim.street.path import CHUNK, Path
from dedelayed_ros.sim.street.people import WALK, Body, limbs_of
from dedelayed_ros.sim.street.plots import Plots
from dedelayed_ros.sim.street.vehicles import fleet

SHAPES = {
    'box': box(),
    'rounded box': rounded_box(),
    'ball': ball(),
    'capsule': capsule(),
    'coarse capsule': capsule(4, coarse=True),
    'tube': tube(),
    'disc': disc(),
    'wheel': wheel_ring(),
    'puff': puff(stream(1)),
    **{name: vehicle.mesh for name, vehicle in fleet().items()},
}


def check_faces(mesh: Mesh) -> None:
    """Every triangle shows its front (anticlockwise) to where its normals point."""
    corners = mesh.indices.reshape(-1, 3)
    p, n = mesh.vertices['pos'][corners], mesh.vertices['normal'][corners].mean(1)
    across = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    real = np.linalg.norm(across, axis=1) > 1e-7
    assert ((across * n).sum(1)[real] > 0).all()


@pytest.mark.parametrize('name', list(SHAPES))
def test_faces_look_outwards(name: str) -> None:
    check_faces(SHAPES[name])


def test_vehicles_are_as_long_and_wide_as_traffic_believes() -> None:
    for name, vehicle in fleet().items():
        extent = np.ptp(vehicle.mesh.vertices['pos'], axis=0)
        assert abs(extent[0] - vehicle.length) < 0.75, name
        assert abs(extent[1] - vehicle.width) < 0.6, name
        assert -0.3 < vehicle.mesh.vertices['pos'][:, 2].min() < 0.45, name


def test_a_tram_is_no_bus_in_its_shape() -> None:
    bus, tram = (fleet()[name].mesh.vertices['pos'] for name in ('bus', 'tram'))
    assert tram[:, 2].max() > bus[:, 2].max() + 0.3, 'what is on its roof'
    front = {name: pos[pos[:, 0] > pos[:, 0].max() - 0.5] for name, pos in (('bus', bus), ('tram', tram))}
    assert front['tram'][:, 2].max() < 2.0 < front['bus'][:, 2].max(), 'a nose that slopes'


def test_a_bag_keeps_what_is_enough_from_afar_in_front() -> None:
    inner = Bag()
    inner.add(box(), fine=True)
    inner.add(ball())
    outer = Bag()
    outer.add(inner.mesh(), at=(1, 2, 3))
    outer.add(disc())
    mesh = outer.mesh()
    assert mesh.coarse == len(ball().indices) + len(disc().indices)
    assert len(mesh.indices) == mesh.coarse + len(box().indices)
    assert mesh.indices.max() == len(mesh.vertices) - 1


def test_the_path_is_smooth_and_known_by_chunks() -> None:
    for seed in range(5):
        path, long = Path(seed, 0.6), Path(seed, 0.6)
        path.extend(300)
        long.extend(900)
        s = np.arange(0, 300, 0.25)
        x, y, heading = path.at(s)
        assert np.allclose(np.hypot(np.diff(x), np.diff(y)), 0.25, atol=0.01)
        assert np.abs(np.diff(heading)).max() < 0.25 / 15  # no bend under 15 m
        assert np.allclose(np.stack([x, y]), np.stack(long.at(s)[:2]))
        across = np.hypot(*(np.array(path.at(120.0, 3.0)[:2]) - np.array(path.at(120.0, 0.0)[:2])))
        assert across == pytest.approx(3.0)


def test_a_chunk_is_the_same_whenever_it_is_made() -> None:
    def chunk(first: int) -> Mesh:
        street, look = Street.of(3), Look.of(3)
        path = Path(3, street.winding)
        path.extend(600)
        plots = Plots(street, look, path, fleet())
        plots.make(first)
        return plots.make(4).solid.mesh()

    a, b = chunk(1), chunk(7)
    assert np.array_equal(a.vertices, b.vertices)
    assert np.array_equal(a.indices, b.indices)


def test_ground_is_seamless_and_looks_up() -> None:
    street, look = Street.of(12), Look.of(12)
    path = Path(12, 0.6)
    path.extend(800)
    plots = Plots(street, look, path, fleet())
    for k in range(2, 6):
        mesh = plots.make(k).ground.mesh()
        check_faces(mesh)
        s = mesh.vertices['uvw'][:, 0]
        assert s.min() == pytest.approx(k * CHUNK)
        assert s.max() == pytest.approx((k + 1) * CHUNK)
        assert set(np.unique(mesh.vertices['info'][:, 0])) <= {classes.ROAD, classes.SIDEWALK, classes.TERRAIN}


def test_walkers_stand_on_the_ground_and_keep_their_bones() -> None:
    rng = stream(5)
    bodies = [Body.random(rng) for _ in range(40)]
    phase = np.linspace(0, 12, 40)
    pose, label = np.full(40, WALK), np.full(40, classes.PERSON)
    limbs, records = limbs_of(bodies, pose, phase, np.full(40, 0.4), label)
    scale = np.array([b.scale for b in bodies])
    ends = limbs[..., 3] + limbs[..., 2] * records['extent'][..., 2:3]
    low = np.minimum(limbs[..., 2, 3], ends[..., 2]).min(1)
    assert (low > -0.1).all()
    assert (low < 0.12).all()
    top = np.maximum(limbs[..., 2, 3], ends[..., 2]).max(1)
    assert np.all((top > 1.55 * scale) & (top < 2.1 * scale))
    thigh = records['extent'][:, 5, 2] / scale
    assert np.all((thigh > 0.4) & (thigh < 0.5))
    axes = limbs[..., :3]
    assert np.allclose(axes.swapaxes(-1, -2) @ axes, np.eye(3), atol=1e-6)


def test_noise_wraps_around() -> None:
    noise = tileable_noise(stream(3), 128).astype(float)
    inner = np.abs(np.diff(noise[..., 1], axis=0)).mean()
    assert np.abs(noise[0, :, 1] - noise[-1, :, 1]).mean() < 1.5 * inner


def test_streets_differ_and_fit_their_lanes() -> None:
    streets = [Street.of(seed) for seed in range(60)]
    assert {s.lanes_right for s in streets} == {1, 2, 3}
    assert any(s.tram for s in streets)
    for s in streets:
        for sign in (-1, 1):
            if s.lanes(sign):
                assert abs(s.lane_middle(sign, s.lanes(sign) - 1)) + s.lane / 2 <= s.road_edge(sign) + 1e-9
            assert s.road_edge(sign) <= s.walk_inner(sign) < s.walk_outer(sign)
        assert len(s.lines()) <= 8
