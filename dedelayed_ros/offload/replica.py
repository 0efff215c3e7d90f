"""The picture that the server holds of a stream, and how the robot knows what it is.

Each frame that goes up builds on the one before that went up. The robot keeps what the server makes of it, pixel by
pixel, so that the next one is told against exactly that. A record names the replica that it builds on by its sequence
and checksum, and the checksum of what comes out: whatever is lost, comes twice, late or in another order does not fit,
is refused, and one dense frame puts both ends in step again.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dedelayed_ros.link import ShardUp, WireError, pack_dense, pack_shard, predict, unpack_shard
from dedelayed_ros.link.shard import CELL, SHARD_OVERHEAD, changed, pooled
from dedelayed_ros.offload.endpoint import MotionSince
from dedelayed_ros.offload.novelty import ratio_of_new

if TYPE_CHECKING:
    from dedelayed_ros.frames import MotionField

_HEADERS = ShardUp.OVERHEAD + SHARD_OVERHEAD


class OutOfStep(WireError):
    """A frame builds on something that is not here."""

    def __init__(self, message: str) -> None:
        super().__init__('value', message)


@dataclass(frozen=True)
class Plan:
    """A frame that could be sent.

    ``ratio`` of its pixels that the server would compute anew and ``bytes_up`` that it is expected to take; ``dense``
    when it would go up whole.
    """

    picture: np.ndarray
    prediction: np.ndarray | None
    motion: MotionField | None
    ratio: float
    bytes_up: float

    @property
    def added_bytes(self) -> float:
        return self.bytes_up

    @property
    def dense(self) -> bool:
        return self.prediction is None


def checksum(picture: np.ndarray) -> int:
    """CRC-32 of a picture's pixels."""
    return zlib.crc32(np.ascontiguousarray(picture).data)


class Sender:
    """The robot's side. One thread at a time.

    ``size`` (H, W) of the pictures; ``bound`` (0–127 of 255) by which a pixel may be off where that saves bytes;
    ``threshold`` (0–255): what the server's engine puts up with, for the estimate of what it computes.
    """

    def __init__(self, size: tuple[int, int], *, bound: int = 0, threshold: int = 0) -> None:
        self._size = size
        self._bound = bound
        self._threshold = threshold
        self._since = MotionSince()
        self._base: tuple[int, int, np.ndarray] | None = None  # sequence, checksum, picture that the server has
        self._cell_bytes = 6.0  # of a changed cell, as measured; of a dense frame, of each of its cells
        self._dense_cell_bytes = 4.0

    def reset(self) -> None:
        """The server's replica is not known (any more): the next frame goes up whole."""
        self._base = None
        self._since.lose()

    def observe(self, motion: MotionField | None) -> None:
        """A new frame of the stream, whether or not it is sent: ``motion`` from the one before to it."""
        self._since.observe(motion)

    def plan(self, picture: np.ndarray) -> Plan:
        """What it would take to send the newest frame, uint8 [H, W, 3]; nothing is sent by this."""
        cells = -(-self._size[0] // CELL) * -(-self._size[1] // CELL)
        motion = self._motion()
        if self._base is None or motion is None:
            return Plan(picture, None, None, 1.0, _HEADERS + cells * self._dense_cell_bytes)
        prediction = predict(self._base[2], motion)
        new = int(pooled(changed(picture, prediction, self._bound)).sum())
        metadata = cells / 8 + motion.valid.size
        ratio = ratio_of_new(picture, prediction, motion, bound=max(self._bound, self._threshold))
        return Plan(picture, prediction, motion, ratio, _HEADERS + metadata + new * self._cell_bytes)

    def pack(self, plan: Plan, *, sequence: int, stamp_ns: int) -> ShardUp:
        """The record of a frame, which from now on is what the server is expected to have.

        The caller sends it, and calls :meth:`reset` if it cannot or learns that it did not arrive.
        """
        cells = -(-self._size[0] // CELL) * -(-self._size[1] // CELL)
        base, before = None, 0
        if plan.prediction is None or plan.motion is None or self._base is None:
            data, received = pack_dense(plan.picture, bound=self._bound)
            self._dense_cell_bytes = len(data) / cells
        else:
            base, before = self._base[:2]
            data, received = pack_shard(plan.picture, plan.prediction, plan.motion, bound=self._bound)
            new = int(pooled(changed(plan.picture, plan.prediction, self._bound)).sum())
            if new >= 16:
                spent = max(0.0, len(data) - cells / 8 - plan.motion.valid.size) / new
                self._cell_bytes += 0.25 * (spent - self._cell_bytes)
        after = checksum(received)
        self._base = (sequence, after, received)
        self._since.begin()
        return ShardUp(sequence, base, before, after, stamp_ns, 0, data)

    def _motion(self) -> MotionField | None:
        return self._since.field(self._size) if self._since.known else None


class Receiver:
    """The server's side. One thread at a time."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._held: tuple[int, int, np.ndarray] | None = None

    @property
    def bytes(self) -> int:
        """Bytes of the replica."""
        return 0 if self._held is None else self._held[2].nbytes

    def reset(self) -> None:
        """Forget the replica."""
        self._held = None

    def take(self, record: ShardUp) -> tuple[np.ndarray, MotionField | None]:
        """The frame uint8 [H, W, 3], which is the replica now, and its motion since the one before (None: dense).

        Raises:
            OutOfStep: it builds on another replica than this, or does not give the picture that the robot has. The
                replica is then forgotten: only a dense frame helps.
            WireError: it cannot be read. The replica is as it was.
        """
        if record.base is not None:
            if self._held is None:
                raise OutOfStep(f'frame {record.sequence} builds on frame {record.base}, and nothing is held here')
            if self._held[:2] != (record.base, record.base_checksum):
                held = self._held[0]
                self.reset()
                raise OutOfStep(f'frame {record.sequence} builds on frame {record.base}, frame {held} was held here')
        shard = unpack_shard(record.data, self._size)
        if (shard.motion is None) != (record.base is None):
            raise WireError('value', f'frame {record.sequence} says of itself that it is dense, or not, and is not so')
        if shard.motion is None:
            picture = shard.onto(None)
        else:
            assert self._held is not None
            picture = shard.onto(predict(self._held[2], shard.motion))
        if checksum(picture) != record.checksum:
            self.reset()
            raise OutOfStep(f'frame {record.sequence} does not come out as the robot has it')
        self._held = (record.sequence, record.checksum, picture)
        return picture, shard.motion
