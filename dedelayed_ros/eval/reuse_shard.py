"""What the offload mode's own coding makes of a frame: its size on the wire."""

from __future__ import annotations

import numpy as np
import zstandard

from dedelayed_ros.eval.reuse_coding import cells_of
from dedelayed_ros.frames import MotionField


def shard_bytes(new: np.ndarray, motion: MotionField, previous: np.ndarray, image: np.ndarray) -> int:
    """Bytes of a frame as motion field, mask of 2×2 cells and the pixels of the cells that are set.

    new:      bool [H, W], the recompute set of the input.
    previous: uint8 [H, W, 3], the input cache before the frame; ``image`` the frame.

    Each part is compressed with zstd, the pixels as themselves or as differences from the motion-aligned cache,
    whichever is smaller; both are lossless.
    """
    packer = zstandard.ZstdCompressor(level=3)
    cells = cells_of(new)
    rows, cols = np.nonzero(cells.repeat(2, 0).repeat(2, 1)[: new.shape[0], : new.shape[1]])
    values = image[rows, cols]
    # Content now at p was at p − m, rounded; what came from outside has nothing to differ from.
    vectors = motion.qpel[rows // motion.block, cols // motion.block].astype(np.int32)
    shift = np.sign(vectors) * ((2 * np.abs(vectors) + 4) // 8)
    source = previous[
        np.clip(rows - shift[:, 1], 0, new.shape[0] - 1), np.clip(cols - shift[:, 0], 0, new.shape[1] - 1)
    ]
    sizes = [len(packer.compress(part.T.tobytes())) for part in (values, values - source)]  # modulo 256
    return len(motion.to_bytes()) + len(packer.compress(np.packbits(cells).tobytes())) + min(sizes)
