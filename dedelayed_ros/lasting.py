"""Memory that lasts as long as the process: Python's garbage collector need not look at it again and again."""

from __future__ import annotations

import gc


def keep_what_is_there() -> None:
    """Leave all objects that there are out of later collections, once a model is loaded and frames are about to come.

    A full collection of what torch's modules consist of, some 400 000 objects, stops all threads for 0.2 s on a fast
    processor: several frames. It would come whenever enough else was made, some seconds into a run.
    """
    gc.unfreeze()  # of an earlier call, some may be garbage by now
    gc.collect()
    gc.freeze()
