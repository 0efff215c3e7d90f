"""What the model's thread does: whose turn it is, and what is computed for whom, alone or together."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dedelayed_ros.cloud.served import LoadedModel
from dedelayed_ros.cloud.stream import CloudStream, Job
from dedelayed_ros.models.asked import Asked

if TYPE_CHECKING:
    from dedelayed_ros.cloud.offload_stream import OffloadStream
    from dedelayed_ros.cloud.served_offload import OffloadModels
    from dedelayed_ros.link.session import StreamKey

_log = logging.getLogger(__name__)


class Turns:
    """Whoever was served longest ago comes first, alone or, where the model gains from it, with others."""

    def __init__(self) -> None:
        self._served: dict[StreamKey, int] = {}  # number of its last turn
        self._turn = 0

    def next(
        self, streams: Mapping[StreamKey, CloudStream | OffloadStream], at_once: int
    ) -> list[tuple[StreamKey, CloudStream | OffloadStream]]:
        """The streams whose turn it is: the next that waits, and up to ``at_once`` in all whose pictures are as large
        and wait as well. Nobody waits for a further one to come.
        """
        self._served = {key: turn for key, turn in self._served.items() if key in streams}
        ordered = sorted(streams, key=lambda key: (self._served.get(key, 0), key))
        waiting = [(key, streams[key]) for key in ordered if streams[key].waiting()]
        if not waiting:
            return []
        first = waiting[0][1]
        chosen = waiting[:1]
        if isinstance(first, CloudStream):
            size = first.hello.remote_size
            alike = [item for item in waiting if isinstance(item[1], CloudStream) and item[1].hello.remote_size == size]
            chosen = alike[:at_once]
        self._turn += 1
        self._served.update((key, self._turn) for key, _ in chosen)
        return chosen


class ModelThread:
    """Answers streams with the models that it is given; belongs to one thread.

    What fails is logged: one stream's failure must not take the others' model away, and its robot has been told.
    """

    def __init__(self, loaded: LoadedModel, offload: OffloadModels) -> None:
        self._loaded = loaded
        self._offload = offload

    def answer_features(self, streams: Sequence[CloudStream]) -> None:
        """The newest frame of each stream: of several by one pass, or if that fails one after the other."""
        jobs = [(stream, job) for stream in streams if (job := stream.take()) is not None]
        if len(jobs) > 1 and self._together(jobs):
            return
        for stream, job in jobs:
            try:
                stream.answer(job, self._loaded.make)
            except Exception:
                _log.exception('no answer to frame %d of %s', job.frame.sequence, stream.name)

    def answer_offloaded(self, stream: OffloadStream) -> bool:
        """The oldest frame of a stream, or its model for frames that will come; whether a frame was answered."""
        job = stream.take()
        try:
            if job is None:
                stream.prepare(self._offload.endpoint)
                return False
            stream.answer(job, self._offload.endpoint)
        except Exception:
            wanted = 'model' if job is None else f'answer to frame {job.frame.sequence}'
            _log.exception('no %s of %s', wanted, stream.name)
            return False
        return True

    def _together(self, jobs: Sequence[tuple[CloudStream, Job]]) -> bool:
        """Whether frames were answered by one pass."""
        begun_s = time.monotonic()
        try:
            assert self._loaded.together is not None
            models = [stream.model(self._loaded.make) for stream, _ in jobs]
            asked = [Asked(job.image, job.frame.stamp_ns, job.frame.predicted_delay_ms) for _, job in jobs]
            answers = self._loaded.together(models, asked)
        except Exception:
            _log.exception('no answer to %d streams at once; they are answered one after the other', len(jobs))
            return False
        for (stream, job), features in zip(jobs, answers, strict=True):
            try:
                stream.send(job, features, begun_s)
            except Exception:
                _log.exception('no answer to frame %d of %s', job.frame.sequence, stream.name)
        return True
