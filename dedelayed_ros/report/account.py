"""What happened to every frame that was due: the one record from which summary, figures and video are made.

Frames are counted where they are due, at the source's own rate, not where they arrive: a frame that the camera was too
late for, that a queue dropped or that was lost between processes is in the account with no mask.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dedelayed_ros.provenance import Provenance
from dedelayed_ros.report.recording import ArrivedMask, Recording


@dataclass(frozen=True)
class Window:
    """The counted stretch of source time: ``frames`` frames from ``first_sequence`` on, the first due at ``start_ns``.

    ``start_ns`` is on the wall clock of the camera's stamps, ``rate`` in frames a second.
    """

    first_sequence: int
    start_ns: int
    rate: float
    frames: int

    @classmethod
    def after(cls, moment_ns: int, *, seconds: float, rate: float, sequence: int, stamp_ns: int) -> Window:
        """The window of ``seconds`` that begins with the first frame due at ``moment_ns`` or later.

        The schedule is that of the source, known from any of its frames (``sequence``, ``stamp_ns``); whether the first
        counted frame ever comes does not matter.
        """
        ahead = math.ceil((moment_ns - stamp_ns) * rate / 1e9)
        start_ns = stamp_ns + round(ahead / rate * 1e9)
        return cls(sequence + ahead, start_ns, rate, max(1, round(seconds * rate)))

    @property
    def seconds(self) -> float:
        """Its length in source time."""
        return self.frames / self.rate

    @property
    def end_ns(self) -> int:
        """When the first frame that is no longer counted is due."""
        return self.due_ns(self.first_sequence + self.frames)

    def due_ns(self, sequence: int) -> int:
        """When that frame is due, nanoseconds on the wall clock."""
        return self.start_ns + round((sequence - self.first_sequence) / self.rate * 1e9)

    def sequence_at(self, stamp_ns: int) -> int:
        """Which frame a stamp belongs to by the schedule alone."""
        return self.first_sequence + round((stamp_ns - self.start_ns) * self.rate / 1e9)

    def seconds_at(self, moment_ns: int) -> float:
        """A moment as seconds into the window."""
        return (moment_ns - self.start_ns) / 1e9


@dataclass(frozen=True)
class DueFrame:
    """A frame that was due ``due_s`` seconds into the window, and its mask, if one came.

    ``stamp_s`` and ``arrival_s`` are the mask's stamp and its arrival at the observer in the same seconds.
    """

    sequence: int
    due_s: float
    stamp_s: float | None = None
    arrival_s: float | None = None
    mask: ArrivedMask | None = None
    provenance: Provenance | None = None

    @property
    def source(self) -> str | None:
        """'fused', 'local', 'cloud' or 'carried'; None without a mask or when nobody said what it was made of."""
        return self.provenance.source if self.mask is not None and self.provenance is not None else None

    @property
    def arrival_ms(self) -> float | None:
        """Time from the mask's stamp to its arrival at the observer, milliseconds."""
        return None if self.stamp_s is None or self.arrival_s is None else (self.arrival_s - self.stamp_s) * 1e3


@dataclass(frozen=True)
class Event:
    """Something that was done to the system ``t_s`` seconds into the window: ``name`` is 'cloud killed' or the like."""

    name: str
    t_s: float


@dataclass(frozen=True)
class TrafficSample:
    """Bytes that had passed in each direction at a moment of the window, counted since the counter was made."""

    t_s: float
    bytes_up: int
    bytes_down: int


@dataclass(frozen=True)
class Account:
    """A whole run.

    ``input_name`` and ``size`` (H, W) of the source, ``rtt_ms`` that the network was given (None: no cloud, or nobody
    stated it), ``staleness_s`` after which remote features may not be used; ``settings``, ``machine`` and ``ros`` are
    shown as they are. ``latency_is`` says what the latencies of this run are the time of;
    ``cpu_percent`` what each process used of one core.
    """

    title: str
    input_name: str
    size: tuple[int, int]
    mode: str
    window: Window
    frames: tuple[DueFrame, ...]
    events: tuple[Event, ...] = ()
    traffic: tuple[TrafficSample, ...] = ()
    rtt_ms: float | None = None
    staleness_s: float = 1.0
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    ros: Mapping[str, Any] | None = None
    latency_is: str = 'camera stamp to publication'
    cpu_percent: Mapping[str, float] = field(default_factory=dict)


def match(window: Window, recording: Recording) -> tuple[DueFrame, ...]:
    """Every frame due in the window with the mask that came for it.

    A mask belongs to the frame whose number its provenance names; without provenance, to the one due at its stamp.
    Masks of frames outside the window do not count, and of two masks for one frame the first does.
    """
    rows: dict[int, DueFrame] = {}
    for mask in recording.masks:
        provenance = recording.provenance.get(mask.stamp_ns)
        sequence = window.sequence_at(mask.stamp_ns) if provenance is None else provenance.sequence
        if sequence not in rows:
            rows[sequence] = DueFrame(
                sequence=sequence,
                due_s=window.seconds_at(window.due_ns(sequence)),
                stamp_s=window.seconds_at(mask.stamp_ns),
                arrival_s=window.seconds_at(mask.arrival_ns),
                mask=mask,
                provenance=provenance,
            )
    due = range(window.first_sequence, window.first_sequence + window.frames)
    return tuple(rows.get(n) or DueFrame(n, window.seconds_at(window.due_ns(n))) for n in due)


def traffic_within(window: Window, counters: Iterable[Mapping[str, int]]) -> tuple[TrafficSample, ...]:
    """The samples ``{'t_ns', 'bytes_up', 'bytes_down'}`` of a relay that tell of the window.

    The last one before its beginning and the first one after its end are part of them, so that nothing is cut off.
    """
    samples = sorted(
        (TrafficSample(window.seconds_at(c['t_ns']), c['bytes_up'], c['bytes_down']) for c in counters),
        key=lambda sample: sample.t_s,
    )
    times = [sample.t_s for sample in samples]
    first = max(0, bisect.bisect_right(times, 0.0) - 1)
    last = bisect.bisect_left(times, window.seconds) + 1
    return tuple(samples[first:last])


def mean_kbps(samples: Sequence[TrafficSample]) -> tuple[float | None, float | None]:
    """Mean bit rate up and down over the samples, kbit/s; None where there are fewer than two."""
    if len(samples) < 2 or samples[-1].t_s <= samples[0].t_s:
        return None, None
    first, last = samples[0], samples[-1]
    seconds = last.t_s - first.t_s
    return (
        (last.bytes_up - first.bytes_up) * 8e-3 / seconds,
        (last.bytes_down - first.bytes_down) * 8e-3 / seconds,
    )
