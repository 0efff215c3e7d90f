"""What an observer of a run wrote down: every mask as it came, with the time at which it came.

A recording is a folder that is written while the run goes on and can be read at any moment, also after its writer was
killed: ``masks.zst`` (one zstd block a mask), ``masks.jsonl`` (where each lies, its stamp and arrival),
``provenance.jsonl`` and ``diagnostics.jsonl``; ``observer.json`` says who wrote it, and is there as soon as the
observer listens. A line that was cut off in the middle is not there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from dedelayed_ros.errors import InputError
from dedelayed_ros.provenance import Provenance

MASKS, INDEX, PROVENANCE, DIAGNOSTICS = 'masks.zst', 'masks.jsonl', 'provenance.jsonl', 'diagnostics.jsonl'
OBSERVER = 'observer.json'


@dataclass(frozen=True)
class ArrivedMask:
    """A mask as a subscriber got it: ``stamp_ns`` of its header, ``arrival_ns`` on the wall clock, both nanoseconds."""

    stamp_ns: int
    arrival_ns: int
    height: int
    width: int
    frame_id: str
    encoding: str
    step: int
    offset: int
    length: int


@dataclass(frozen=True)
class Diagnostic:
    """One status of ``/diagnostics``; ``level`` 0 is fine, 1 a warning, 2 an error, 3 stale."""

    arrival_ns: int
    name: str
    level: int
    message: str
    values: dict[str, str] = field(default_factory=dict)


class RecordingWriter:
    """Writes a recording into ``folder``, which is made if it is missing. A context manager; for one thread."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        (folder / OBSERVER).unlink(missing_ok=True)
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._blob = (folder / MASKS).open('wb')
        self._index, self._provenance, self._diagnostics = (
            (folder / name).open('w', encoding='utf-8') for name in (INDEX, PROVENANCE, DIAGNOSTICS)
        )
        self._offset = 0
        self._seen: set[int] = set()

    def mask(
        self,
        pixels: np.ndarray,
        *,
        stamp_ns: int,
        arrival_ns: int,
        frame_id: str = 'camera',
        encoding: str = 'mono8',
        step: int | None = None,
    ) -> None:
        """Keep a mask, uint8 [H, W]. A second one of the same stamp is not kept: a frame counts once."""
        if stamp_ns in self._seen:
            return
        self._seen.add(stamp_ns)
        data = self._compressor.compress(np.ascontiguousarray(pixels).data)
        height, width = pixels.shape
        self._blob.write(data)
        self._blob.flush()
        arrived = ArrivedMask(
            stamp_ns, arrival_ns, height, width, frame_id, encoding, step or width, self._offset, len(data)
        )
        self._offset += len(data)
        _write_line(self._index, asdict(arrived))

    def provenance(self, provenance: Provenance) -> None:
        """Keep how a mask came about."""
        _write_line(self._provenance, asdict(provenance))

    def diagnostic(self, diagnostic: Diagnostic) -> None:
        """Keep a status of ``/diagnostics``."""
        _write_line(self._diagnostics, asdict(diagnostic))

    def observer(self, facts: Mapping[str, str]) -> None:
        """Say who observes, and that it is ready."""
        (self._folder / OBSERVER).write_text(json.dumps(dict(facts)) + '\n')

    def close(self) -> None:
        """Close the files."""
        for file in (self._blob, self._index, self._provenance, self._diagnostics):
            file.close()

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Recording:
    """Reads the recording in ``folder`` as far as it is written.

    Raises:
        InputError: there is no recording.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / INDEX).exists():
            raise InputError(f'{folder} holds no recording; expected {INDEX} in it. Did the recorder start?')
        self._folder = folder
        self.masks = [ArrivedMask(**line) for line in _lines(folder / INDEX)]
        self.provenance = {p.stamp_ns: p for p in map(_provenance, _lines(folder / PROVENANCE))}
        self.diagnostics = [Diagnostic(**line) for line in _lines(folder / DIAGNOSTICS)]
        observer = folder / OBSERVER
        self.observer: dict[str, str] = json.loads(observer.read_text()) if observer.exists() else {}

    def pixels(self, mask: ArrivedMask) -> np.ndarray:
        """The mask itself, uint8 [H, W] class ids."""
        with (self._folder / MASKS).open('rb') as blob:
            blob.seek(mask.offset)
            data = blob.read(mask.length)
        raw = zstandard.ZstdDecompressor().decompress(data, max_output_size=mask.height * mask.width)
        return np.frombuffer(raw, np.uint8).reshape(mask.height, mask.width)


def _provenance(line: dict[str, Any]) -> Provenance:
    return Provenance(**{**line, 'degraded': tuple(line['degraded'])})


def _write_line(file: Any, record: dict[str, Any]) -> None:
    """One JSON object a line; what is not a number is null, so that every reader of JSON can read it."""
    file.write(json.dumps(_clean(record)) + '\n')
    file.flush()


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open(encoding='utf-8') as file:
        for line in file:
            if line.endswith('\n'):
                yield json.loads(line)


class Tail:
    """Reads the lines that were added to a file of JSON lines since the last look; a missing file has none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def read(self) -> list[dict[str, Any]]:
        """The new complete lines."""
        if not self._path.exists():
            return []
        with self._path.open('rb') as file:
            file.seek(self._position)
            data = file.read()
        end = data.rfind(b'\n') + 1
        self._position += end
        return [json.loads(line) for line in data[:end].splitlines()]
