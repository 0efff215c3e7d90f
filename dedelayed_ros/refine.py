"""Correcting the motion that carries features by the pictures that it connects.

Codec vectors are chosen for what they save in bits, one a macroblock. Composed over many frames (Eq. 15 of FluxShard)
their errors add up, and a block that was once coded without a vector has lost its way. But the robot has both ends of
the way in its hands, the picture that the cloud saw and the one of now: each block can be looked up.
"""

from __future__ import annotations

import ctypes

import numpy as np

from dedelayed_ros import native
from dedelayed_ros.frames import MotionField


def refined(motion: MotionField, then: np.ndarray, now: np.ndarray) -> MotionField:
    """``motion`` from the picture ``then`` to the picture ``now``, corrected by the two.

    Each block may take the vector of a neighbour, or one up to two pixels beside, if it finds itself there better by
    the mean absolute difference of its pixels: a forward and a backward pass, in which vectors spread over what moves
    together (as in PatchMatch, Barnes et al., 2009; decoders refine vectors so too). A block without a known source
    gets one where a neighbour's vector leads it into the frame. Blocks that differ by no more than two grey levels stay
    as they are, and a block's own vector is preferred by half a grey level.

    Args:
        motion: on blocks of any size, over pictures of (H, W).
        then, now: uint8 [H, W, 3].

    Returns:
        A field on the same blocks. Without the CPU kernels: ``motion`` as it is.

    Raises:
        ValueError: a picture of another size or type.
    """
    for picture in (then, now):
        if picture.shape != (*motion.size, 3) or picture.dtype != np.uint8:
            raise ValueError(
                f'motion over {motion.size} cannot be corrected by a picture {picture.dtype} {picture.shape}; '
                f'expected uint8 {(*motion.size, 3)}'
            )
    library = native.library()
    if library is None:
        return motion
    qpel, valid = motion.qpel.copy(), motion.valid.copy()
    pictures = [np.ascontiguousarray(picture) for picture in (then, now)]
    status = library.dedelayed_refine(
        *(ctypes.c_void_p(picture.ctypes.data) for picture in pictures),
        *motion.size,
        motion.block,
        ctypes.c_void_p(qpel.ctypes.data),
        ctypes.c_void_p(valid.ctypes.data),
    )
    native.check(status, 'dedelayed_refine')
    return MotionField.of_checked(motion.size, qpel, valid, motion.block)
