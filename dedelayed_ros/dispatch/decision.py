"""One frame's decision: who computes it, from estimates of when each would be done and how good it would be.

Between the two ends of the offload mode it is FluxShard's rule (Algorithm 1, lines 6–10, Eqs. 17 and 18) with what that
leaves out: propagation, metadata, the downlink, the server's queue, and the camera's rate: what keeps the robot busy
for longer than from one frame to the next loses frames, and is not chosen while another way keeps up. ``auto`` also
weighs the fused and the local mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from dedelayed_ros.dispatch.accuracy import AccuracyTable

Choice = Literal['cloud', 'fused', 'edge', 'local']
ORDER: tuple[Choice, ...] = ('cloud', 'fused', 'edge', 'local')
"""What a frame can be computed by, the first being preferred where two are equally good.

'cloud' and 'edge' are the two ends of the offload mode, 'fused' and 'local' the robot's own model with and without
remote features.
"""


@dataclass(frozen=True)
class Situation:
    """All that a decision depends on. Times in milliseconds; ratios 0–1; a figure that is not known is None or NaN.

    possible:        what may be chosen at all: of ``ORDER``.
    edge_ms, cloud_ms: f_edge(ρ_e) and f_cloud(ρ_c) of the profiles; None where there is no profile.
    edge_ratio, cloud_ratio: ρ, recompute ratios against either cache.
    bytes_up, bytes_down: of this frame if it is offloaded, metadata and headers included; added_bytes_up of these go
                     up for it alone: the picture itself may go up in any case, for fusing.
    uplink_kbps, downlink_kbps: bandwidth as estimated; a downlink of None does not count.
    propagation_ms:  one way.
    coding_ms:       to code the frame's payload and to decode it.
    queue_ms:        that a frame waits in the server at present, as the server reports.
    connected:       whether a server answers.
    obstacle:        why no frame can be sent to it right now, in words; empty if one can.
    cached:          whether the server holds this stream's cache. Where it does not (eviction, loss, restart), the
                     frame goes up whole: ``full_ms`` and ``full_bytes_up`` count, not ``cloud_ms`` and ``bytes_up``.
    stalled_ms:      how long the newest transfer has been waiting beyond what was estimated for it.
    give_up_ms:      how long the cloud is waited for at most: what takes longer would be computed here all the same.
    stall_limit_ms:  from which wait on the link counts as stalled.
    epsilon_ms:      by how much the edge has to be faster to be preferred to the cloud.
    local_ms:        latency of the local model, which fusing takes too; None: not known.
    fused_age_ms:    age that remote features would have; fused_kbps: what their uplink needs.
    accuracy:        what each is worth; None: latency alone decides.
    deadline_ms:     latency that is wanted; ``tolerance``: accuracy (mIoU) that is given up for being faster.
    period_ms:       from one frame of the camera to the next; infinite: frames wait for each other.
    """

    possible: frozenset[Choice] = frozenset({'cloud', 'edge'})
    edge_ms: float | None = None
    cloud_ms: float | None = None
    edge_ratio: float = 1.0
    cloud_ratio: float = 1.0
    bytes_up: float = 0.0
    added_bytes_up: float = 0.0
    bytes_down: float = 0.0
    uplink_kbps: float | None = None
    downlink_kbps: float | None = None
    propagation_ms: float = 20.0
    coding_ms: float = 0.0
    queue_ms: float = 0.0
    connected: bool = True
    obstacle: str = ''
    cached: bool = True
    full_ms: float | None = None
    full_bytes_up: float = 0.0
    stalled_ms: float = 0.0
    stall_limit_ms: float = 200.0
    give_up_ms: float = math.inf
    epsilon_ms: float = 0.0
    local_ms: float | None = None
    fused_age_ms: float | None = None
    fused_kbps: float = 0.0
    accuracy: AccuracyTable | None = None
    deadline_ms: float = math.inf
    tolerance: float = 0.005
    period_ms: float = math.inf


@dataclass(frozen=True)
class Estimate:
    """What is expected of one way: latency in ms (inf: not possible), mIoU 0–1 or None, and why it is not possible.

    ``busy_ms``: for how long of that the robot can do no other frame; frames wait for the cloud side by side.
    """

    choice: Choice
    latency_ms: float
    accuracy: float | None = None
    obstacle: str = ''
    busy_ms: float = 0.0

    @property
    def possible(self) -> bool:
        return not self.obstacle


@dataclass(frozen=True)
class Decision:
    """``choice``, why, and all that it was made of."""

    choice: Choice
    reason: str
    estimates: tuple[Estimate, ...]
    situation: Situation

    def estimate(self, choice: Choice) -> Estimate:
        """What was expected of ``choice``. Raises KeyError where it was not to be chosen at all."""
        for estimate in self.estimates:
            if estimate.choice == choice:
                return estimate
        raise KeyError(choice)

    def inputs(self) -> dict[str, float]:
        """The figures that it was made of, by their names in :class:`Situation`, and each way's expected latency in ms
        as ``<choice>_expected_ms``; NaN where there is none.
        """
        figures = {
            field.name: getattr(self.situation, field.name)
            for field in fields(self.situation)
            if field.name not in ('possible', 'obstacle', 'accuracy')
        }
        expected = {f'{e.choice}_expected_ms': e.latency_ms for e in self.estimates}
        return {name: math.nan if value is None else float(value) for name, value in (figures | expected).items()}

    def as_dict(self) -> dict[str, Any]:
        """Everything, for a record or a topic: numbers that are not finite are None."""
        card = asdict(self)
        card['situation']['possible'] = sorted(self.situation.possible)
        return _finite(card)


def decide(situation: Situation) -> Decision:
    """Who computes the frame. A pure function; there always is a choice, the robot itself if all else fails."""
    ways = {'cloud': _cloud, 'edge': _edge, 'fused': _fused, 'local': _local}
    wanted = [choice for choice in ORDER if choice in situation.possible]
    estimates = tuple(ways[choice](situation) for choice in wanted)
    usable = [estimate for estimate in estimates if estimate.possible]
    if not usable:
        choice: Choice = 'edge' if 'edge' in situation.possible else 'local'
        obstacles = ', '.join(f'not {e.choice}: {e.obstacle}' for e in estimates)
        return Decision(choice, f'the robot: {obstacles}', estimates, situation)
    prompt = [e for e in usable if not e.busy_ms > situation.period_ms]
    if prompt:
        best, reason = _weigh(prompt, situation)
    else:
        best, reason = _fastest(usable, situation)
        reason = f'none keeps up with a frame every {situation.period_ms:.0f} ms: {reason}'
    slow = [f'not {e.choice}: {e.busy_ms:.0f} ms a frame do not keep up' for e in usable if prompt and e not in prompt]
    not_possible = [f'not {e.choice}: {e.obstacle}' for e in estimates if not e.possible]
    left_out = ', '.join([*slow, *not_possible])
    return Decision(best.choice, f'{reason}; {left_out}' if left_out else reason, estimates, situation)


def patience_ms(decision: Decision) -> float:
    """How long after it was taken up a frame waits for the cloud's mask, in ms.

    No longer than leaves the robot time for its own mask by the deadline; but what is expected later than that is not
    given up before half of the time that it has left, for nobody would ask for it otherwise.
    """
    s = decision.situation
    most_ms = min(s.deadline_ms, s.give_up_ms)
    own_ms = s.local_ms if 'local' in s.possible else s.edge_ms
    if not _known(own_ms) or not math.isfinite(most_ms):
        return most_ms
    assert own_ms is not None
    expected_ms = next((e.latency_ms for e in decision.estimates if e.choice == 'cloud' and e.possible), 0.0)
    return min(most_ms, max(most_ms - own_ms, (expected_ms + most_ms) / 2))


def _weigh(usable: Sequence[Estimate], situation: Situation) -> tuple[Estimate, str]:
    """Of the ways that are possible the most accurate within the deadline, and within the tolerance the fastest."""
    if len(usable) == 1:
        return usable[0], f'{usable[0].choice} is all that is possible'
    known = [e for e in usable if e.accuracy is not None]
    if not known:
        return _fastest(usable, situation)
    timely = [e for e in known if e.latency_ms <= situation.deadline_ms]
    if not timely:
        best, reason = _fastest(usable, situation)
        return best, f'none is done within {situation.deadline_ms:.0f} ms: {reason}'
    highest = max(_worth(e) for e in timely)
    equals = [e for e in timely if _worth(e) >= highest - situation.tolerance]
    if len(equals) == 1:
        return equals[0], f'{equals[0].choice} is the most accurate ({100 * highest:.1f}) of those in time'
    best, reason = _fastest(equals, situation)
    return best, f'{reason} of those within {100 * situation.tolerance:.1f} points of {100 * highest:.1f}'


def _fastest(usable: Sequence[Estimate], situation: Situation) -> tuple[Estimate, str]:
    """The one that is done first, the cloud unless another is more than ε faster."""
    best = usable[0]
    for other in usable[1:]:  # in the order of preference
        margin = situation.epsilon_ms if best.choice == 'cloud' else 0.0
        if other.latency_ms < best.latency_ms - margin:
            best = other
    if len(usable) == 1:
        return best, f'{best.choice} {best.latency_ms:.1f} ms'
    others = ', '.join(f'{e.choice} {e.latency_ms:.1f}' for e in usable if e is not best)
    quickest = min(usable, key=lambda e: e.latency_ms)
    if best is not quickest and best.latency_ms > quickest.latency_ms:
        return best, f'{best.choice} {best.latency_ms:.1f} ms is within ε of {others}'
    return best, f'{best.choice} {best.latency_ms:.1f} ms against {others}'


def _edge(s: Situation) -> Estimate:
    worth = s.accuracy.offload if s.accuracy else None
    if not _known(s.edge_ms):
        return _impossible('edge', 'no profile of the robot')
    assert s.edge_ms is not None
    return Estimate('edge', s.edge_ms, worth, busy_ms=s.edge_ms)


def _cloud(s: Situation) -> Estimate:
    if not s.connected:
        return _impossible('cloud', 'no server is connected')
    if s.obstacle:
        return _impossible('cloud', s.obstacle)
    if s.stalled_ms >= s.stall_limit_ms:
        return _impossible('cloud', f'the link has stalled for {s.stalled_ms:.0f} ms')
    compute_ms, size = (s.cloud_ms, s.bytes_up) if s.cached else (s.full_ms, s.full_bytes_up)
    if not _known(compute_ms):
        return _impossible('cloud', 'no profile of the server')
    if not _known(s.uplink_kbps):
        return _impossible('cloud', 'the bandwidth is not known')
    assert s.uplink_kbps is not None and compute_ms is not None
    if s.uplink_kbps <= 0 and size != 0:
        return _impossible('cloud', 'nothing passes on the uplink')
    up_ms = size * 8 / s.uplink_kbps if size else 0.0
    down_ms = 0.0
    if _known(s.downlink_kbps) and s.bytes_down:
        assert s.downlink_kbps is not None
        if s.downlink_kbps <= 0:
            return _impossible('cloud', 'nothing passes on the downlink')
        down_ms = s.bytes_down * 8 / s.downlink_kbps
    total_ms = compute_ms + up_ms + down_ms + 2 * s.propagation_ms + s.coding_ms + s.queue_ms
    if not math.isfinite(total_ms):
        return _impossible('cloud', 'its latency cannot be estimated')
    if total_ms > s.give_up_ms:
        return _impossible('cloud', f'{total_ms:.0f} ms are more than is waited for it')
    return Estimate('cloud', total_ms, s.accuracy.offload if s.accuracy else None)


def _fused(s: Situation) -> Estimate:
    if not s.connected:
        return _impossible('fused', 'no server is connected')
    if not _known(s.local_ms) or not _known(s.fused_age_ms):
        return _impossible('fused', 'no remote features are expected')
    assert s.local_ms is not None and s.fused_age_ms is not None
    if _known(s.uplink_kbps) and s.uplink_kbps is not None and s.uplink_kbps < s.fused_kbps:
        return _impossible('fused', f'the uplink has {s.uplink_kbps:.0f} of {s.fused_kbps:.0f} kbit/s')
    if s.accuracy is None:
        return Estimate('fused', s.local_ms, busy_ms=s.local_ms)
    worth = s.accuracy.fused_at(s.fused_age_ms)
    if worth is None:
        return _impossible('fused', f'features of {s.fused_age_ms:.0f} ms are too old')
    return Estimate('fused', s.local_ms, worth, busy_ms=s.local_ms)


def _local(s: Situation) -> Estimate:
    if not _known(s.local_ms):
        return _impossible('local', 'no profile of the local model')
    assert s.local_ms is not None
    return Estimate('local', s.local_ms, s.accuracy.local if s.accuracy else None, busy_ms=s.local_ms)


def _worth(estimate: Estimate) -> float:
    return -math.inf if estimate.accuracy is None else estimate.accuracy


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _impossible(choice: Choice, obstacle: str) -> Estimate:
    return Estimate(choice, math.inf, None, obstacle)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
