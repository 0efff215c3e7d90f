"""Frames whose masks are under way: finished in order, in a thread of their own, while the next ones are taken up."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

DEPTH = 8
"""Frames that may be under way: at 30 a second as many as a quarter of a second brings."""


class Underway:
    """A queue of at most ``depth`` frames. A context manager, which finishes what was put in.

    What a frame's ``finish`` raises comes out of the next :meth:`put` or of :meth:`close`, and the frames behind it are
    finished all the same.
    """

    def __init__(self, depth: int = DEPTH) -> None:
        self._depth = depth
        self._changed = threading.Condition()
        self._frames: deque[Callable[[], None]] = deque()  # the first one is being finished
        self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._finish_all, name='masks', daemon=True)
        self._thread.start()

    def put(self, finish: Callable[[], None], *, alone: bool = False) -> None:
        """``finish`` is called after those before it. Waits for room; ``alone``: until it is finished itself, as for
        frames that are computed here and would only queue up.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._frames) < self._depth)
            self._frames.append(finish)
            self._changed.notify_all()
            if alone:
                self._changed.wait_for(lambda: not self._frames)
            self._raise()

    def drain(self) -> None:
        """Wait until everything is finished."""
        with self._changed:
            self._changed.wait_for(lambda: not self._frames)
            self._raise()

    def close(self) -> None:
        """Wait until everything is finished, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        with self._changed:
            self._raise()

    def __enter__(self) -> Underway:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _finish_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frames or self._closed)
                if not self._frames:
                    return
                finish = self._frames[0]
            error: BaseException | None = None
            try:
                finish()
            except BaseException as raised:  # it is raised where frames are put in
                error = raised
            with self._changed:
                self._error = self._error or error
                self._frames.popleft()
                self._changed.notify_all()
