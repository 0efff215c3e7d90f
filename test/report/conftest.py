"""A made-up run whose figures are known: the tests of the report tell and retell it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dedelayed_ros.provenance import Provenance
from dedelayed_ros.report import Account, Event, Recording, RecordingWriter, Window, match, traffic_within


class Story:
    """5 s at 20 frames a second; the first counted frame is the source's number 40.

    The cloud dies at 1 s and is back at 3 s; features of the dead one are used for 0.5 s, and those of the new one from
    0.8 s after its start. For two frames no mask comes.
    """

    rate, frames, first = 20.0, 100, 40
    size = (34, 51)
    killed_s, restarted_s = 1.0, 3.0
    missing = (7, 50)
    window = Window(first, 1_700_000_000_000_000_000, rate, frames)

    def is_fused(self, t_s: float) -> bool:
        return t_s < self.killed_s + 0.5 or t_s >= self.restarted_s + 0.8

    def record(self, folder: Path, *, around: int = 10) -> Recording:
        """Write the story down, with frames ``around`` the window that must not count."""
        with RecordingWriter(folder) as writer:
            for row in range(-around, self.frames + around):
                if row in self.missing:
                    continue
                stamp_ns = self.window.due_ns(self.first + row)
                fused = self.is_fused(row / self.rate)
                latency_ms = 20.0 + row % 10
                mask = np.full(self.size, row % 19, np.uint8)
                writer.mask(mask, stamp_ns=stamp_ns, arrival_ns=stamp_ns + round((latency_ms + 1) * 1e6))
                writer.provenance(
                    Provenance(
                        sequence=self.first + row,
                        stamp_ns=stamp_ns,
                        source='fused' if fused else 'local',
                        remote_age_ms=150.0 if fused else None,
                        predicted_delay_ms=180.0 if fused else None,
                        stages_ms={'model': 12.0, 'mask': 1.0},
                        latency_ms=latency_ms,
                        degraded=() if fused else ('no remote features',),
                    )
                )
        return Recording(folder)

    def account(self, recording: Recording) -> Account:
        """100 kbit/s went up and 20 down: 6250 and 1250 bytes each half second, counted from before the beginning."""
        counters = [
            {'t_ns': self.window.start_ns + (n - 2) * 500_000_000, 'bytes_up': 6250 * n, 'bytes_down': 1250 * n}
            for n in range(20)
        ]
        return Account(
            title='a story',
            input_name='story <clip>.mp4',
            size=self.size,
            mode='fused',
            window=self.window,
            frames=match(self.window, recording),
            events=(Event('cloud killed', self.killed_s), Event('cloud restarted', self.restarted_s)),
            traffic=traffic_within(self.window, counters),
            rtt_ms=100.0,
            ros={'distro': 'kilted', 'rmw': 'rmw_fastrtps_cpp', 'nodes': {'camera': 11, 'perception': 12}},
        )


@pytest.fixture(scope='session')
def story() -> Story:
    return Story()


@pytest.fixture(scope='session')
def recording(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return story.record(tmp_path_factory.mktemp('story'))


@pytest.fixture(scope='session')
def account(story: Story, recording: Recording) -> Account:
    return story.account(recording)
