"""What was sent and not yet answered: which frame an answer belongs to, and how much is on its way."""

from __future__ import annotations

from dataclasses import dataclass

from dedelayed_ros.link.wire import FeaturesDown, MaskDown


@dataclass(frozen=True)
class Sent:
    """One picture that was sent, on the robot's monotonic clock; `capture_age_ms` is its age at sending.

    `shared`: bytes that the answer waits for and that another stream takes up.
    """

    sequence: int
    stamp_ns: int
    sent_ns: int
    capture_age_ms: float
    predicted_delay_ms: float
    size: int
    shared: int = 0


@dataclass(frozen=True)
class Arrived:
    """The newest picture that is known to have arrived; `size`: bytes of all that are known to since the one before."""

    sent: Sent
    size: int


@dataclass(frozen=True)
class Answered:
    """An answer and its frame; `bytes_up` counts the frames that were passed over since the answer before, too."""

    sent: Sent
    bytes_up: int


class Flight:
    """Pictures on their way, in the order of sending.

    Answers are only taken for a frame that was sent, with its own stamp and time, and newer than every answer before:
    anything else is named by a reason. After `memory_s` a picture is forgotten; an answer to it is stale.
    """

    def __init__(self, *, memory_s: float = 2.0) -> None:
        self._memory_ns = int(memory_s * 1e9)
        self._sent: dict[int, Sent] = {}
        self._acknowledged = -1
        self._answered = -1
        self._bytes = 0
        self._newest = -1

    def send(self, sent: Sent) -> None:
        """A picture is on its way, newer than all before."""
        self._sent[sent.sequence] = sent
        self._newest = sent.sequence
        self._bytes += sent.size

    @property
    def unacknowledged(self) -> int:
        """Pictures sent and not known to have arrived."""
        return sum(sequence > self._acknowledged for sequence in self._sent)

    def waiting_ms(self, now_ns: int) -> float:
        """How long the oldest unacknowledged picture has been on its way, in milliseconds; 0 without any."""
        for sequence, sent in self._sent.items():
            if sequence > self._acknowledged:
                return (now_ns - sent.sent_ns) / 1e6
        return 0.0

    def acknowledge(self, sequence: int) -> Arrived | None:
        """Everything up to `sequence` arrived. That picture, when this is news; None when it is not, or impossible."""
        if sequence <= self._acknowledged or sequence > self._newest:
            return None
        size = sum(sent.size for n, sent in self._sent.items() if self._acknowledged < n <= sequence)
        self._acknowledged = sequence
        sent = self._sent.get(sequence)
        return None if sent is None else Arrived(sent, size)

    def answer(self, record: FeaturesDown | MaskDown) -> Answered | str:
        """The frame that `record` answers, or the reason why it cannot be used."""
        if record.sequence <= self._answered:
            return 'duplicate' if record.sequence == self._answered else 'overtaken'
        sent = self._sent.get(record.sequence)
        if sent is None:
            return 'stale' if record.sequence <= self._newest else 'unknown frame'
        if (record.stamp_ns, record.sent_ns) != (sent.stamp_ns, sent.sent_ns):
            return 'unknown frame'
        later = sum(other.size for sequence, other in self._sent.items() if sequence > record.sequence)
        answered = Answered(sent, self._bytes - later)
        self._bytes = later
        self._answered = record.sequence
        for sequence in [s for s in self._sent if s <= record.sequence]:
            del self._sent[sequence]
        return answered

    def forget(self, now_ns: int) -> int:
        """Drops what was sent too long ago; returns how many of these never were acknowledged."""
        old = [s for s in self._sent.values() if now_ns - s.sent_ns > self._memory_ns]
        lost = sum(s.sequence > self._acknowledged for s in old)
        for sent in old:
            del self._sent[sent.sequence]
        return lost
