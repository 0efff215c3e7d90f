from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tiny import HELLO

from dedelayed_ros.cloud.inbox import Wires
from dedelayed_ros.cloud.model_thread import Turns
from dedelayed_ros.cloud.stream import CloudStream
from dedelayed_ros.link import PlainFormat


class Waiting(CloudStream):
    """A stream that says whether it waits."""

    def __init__(self, remote_size: tuple[int, int]) -> None:
        wires = Wires('', 1, lambda data, urgent: None, lambda: None)
        super().__init__(replace(HELLO, remote_size=remote_size), wires, PlainFormat())
        self.waits = True

    def waiting(self) -> bool:
        return self.waits


class Offloaded:
    """A stream of another kind."""

    def waiting(self) -> bool:
        return True


@pytest.fixture
def streams() -> Any:
    made = {('r', name): Waiting((64, 64 if name in 'ace' else 128)) for name in 'abcde'}
    yield made
    for stream in made.values():
        stream.close()


def names(chosen: Any) -> str:
    return ''.join(key[1] for key, _ in chosen)


def test_streams_take_turns_in_a_circle(streams: Any) -> None:
    turns = Turns()
    assert [names(turns.next(streams, 1)) for _ in range(7)] == list('abcdeab')
    streams['r', 'c'].waits = False
    assert names(turns.next(streams, 1)) == 'd'
    for stream in streams.values():
        stream.waits = False
    assert turns.next(streams, 1) == []


def test_only_frames_of_one_size_go_together_and_no_more_than_wanted(streams: Any) -> None:
    turns = Turns()
    assert names(turns.next(streams, 2)) == 'ac'
    assert names(turns.next(streams, 8)) == 'bd'  # who was passed over comes soon
    assert names(turns.next(streams, 8)) == 'eac'
    streams['r', 'd'].waits = False
    assert names(turns.next(streams, 8)) == 'b'


def test_an_offloaded_stream_is_served_alone(streams: Any) -> None:
    turns = Turns()
    mixed = {('r', 'a0', 'offload'): Offloaded(), **streams}
    assert names(turns.next(mixed, 3)) == 'ace'
    assert names(turns.next(mixed, 3)) == 'a0'
    assert names(turns.next(mixed, 3)) == 'bd'
    assert names(turns.next(mixed, 3)) == 'ace'
