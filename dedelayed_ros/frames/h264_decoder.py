"""H.264 to pictures, and H.264 to motion vectors, one access unit at a time without delay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames.h264_syntax import ContinuityCheck, H264Syntax, access_units
from dedelayed_ros.frames.motion_field import MotionField
from dedelayed_ros.frames.pixels import to_rgb
from dedelayed_ros.frames.vectors import block_vectors


@dataclass(frozen=True)
class DecodedPicture:
    """A picture with the motion that its own bits hold.

    image:       uint8 [H, W, 3] RGB.
    motion:      from the picture that was decoded before to this one; None at a key frame, which does not tell.
    intra_ratio: share of blocks without a vector, 0…1; 1 at a key frame.
    """

    image: np.ndarray
    motion: MotionField | None
    intra_ratio: float

    @property
    def keyframe(self) -> bool:
        """Whether there was one among what was decoded."""
        return self.motion is None


class H264Decoder:
    """Decodes one stream of Annex B access units to pictures; the cloud's side of H264Encoder.

    After damaged or missing data it refuses everything until the next key frame, so that a wrong picture is not
    mistaken for a right one. Every call returns at once: one picture in, one picture out. ``motion``: keep the motion
    vectors too, for :meth:`decode_moved`.
    """

    def __init__(self, *, motion: bool = False) -> None:
        self._options = {'flags': '+low_delay', **({'flags2': '+export_mvs'} if motion else {})}
        self._reformatter = VideoReformatter()
        self.reset()

    def reset(self) -> None:
        """Forget the stream: the next picture must be a key frame."""
        self._context = open_decoder(self._options)
        self._syntax = H264Syntax()
        self._continuity = ContinuityCheck()

    def decode(self, data: bytes, size: tuple[int, int]) -> np.ndarray:
        """Decode the picture(s) in ``data`` and return the last one as uint8 [H, W, 3] RGB of ``size`` (H, W).

        Raises InputError if the data are damaged, a picture before them is missing, or the picture has another size.
        The decoder then needs a key frame.
        """
        return self._image(self._decode_all(data, size)[-1][0], size)

    def decode_moved(self, data: bytes, size: tuple[int, int]) -> DecodedPicture:
        """The same with the motion since the picture before, of a decoder that was made with ``motion``."""
        motion: MotionField | None = None
        intra_ratio, known = 0.0, True
        frames = self._decode_all(data, size)
        for frame, keyframe in frames:
            step, intra = frame_motion(frame, size)
            motion = step if motion is None else motion.compose(step)
            intra_ratio, known = max(intra_ratio, intra), known and not keyframe
        return DecodedPicture(self._image(frames[-1][0], size), motion if known else None, intra_ratio)

    def _image(self, frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
        return np.ascontiguousarray(to_rgb(frame, self._reformatter)[: size[0], : size[1]])

    def _decode_all(self, data: bytes, size: tuple[int, int]) -> list[tuple[av.VideoFrame, bool]]:
        """Every picture in ``data`` and whether it is a key frame; at least one."""
        try:
            frames = [self._decode(unit, size) for unit in access_units(data)]
            if not frames:
                raise InputError(f'{len(data)} bytes came that hold no H.264 picture. Send whole access units.')
        except InputError:
            self.reset()
            raise
        return frames

    def _decode(self, unit: bytes, size: tuple[int, int]) -> tuple[av.VideoFrame, bool]:
        slices = self._syntax.slices(unit)
        if not slices:
            raise InputError('An access unit without a picture came. Send parameter sets together with a key frame.')
        coded = (slices[0].sequence.height, slices[0].sequence.width)
        if coded != (size[0] + size[0] % 2, size[1] + size[1] % 2):
            # Checked before decoding: a forged size must not cost memory.
            raise InputError(
                f'An H.264 picture of {coded[1]}x{coded[0]} came where {size[1]}x{size[0]} was agreed. '
                'Agree on the new size first.'
            )
        if not self._continuity.complete(slices[0]):
            raise InputError('An H.264 picture came whose predecessor is missing. Send a key frame.')
        try:
            frames = self._context.decode(av.Packet(unit))
        except av.FFmpegError as error:
            raise InputError(f'The H.264 data are damaged ({error.strerror}). Send a key frame.') from error
        if len(frames) != 1 or frames[0].is_corrupt or (frames[0].height, frames[0].width) != coded:
            raise InputError('The H.264 data are damaged: no intact picture came out. Send a key frame.')
        return frames[0], slices[0].idr


class VectorReader:
    """Reads the motion vectors of one H.264 stream, skipping what they do not need (the deblocking filter)."""

    def __init__(self) -> None:
        self._context = open_decoder({'flags2': '+export_mvs', 'skip_loop_filter': 'all', 'flags': '+low_delay'})

    def read(self, data: bytes, size: tuple[int, int]) -> tuple[MotionField, float]:
        """Motion of one access unit (Annex B) and the share of blocks without a vector, 0…1. ``size`` is (H, W)."""
        try:
            frames = self._context.decode(av.Packet(data))
        except av.FFmpegError as error:
            raise InputError(f'The H.264 data are damaged ({error.strerror}). Begin again at a key frame.') from error
        if len(frames) != 1:
            raise InputError(
                f'{len(frames)} pictures came out for one that went in: the stream reorders pictures (B-frames). '
                'Encode it with P-frames only.'
            )
        return frame_motion(frames[0], size)


def frame_motion(frame: av.VideoFrame, size: tuple[int, int]) -> tuple[MotionField, float]:
    """Motion of a frame decoded with exported vectors, and the share of blocks without a vector, 0…1."""
    qpel, covered = block_vectors(frame.side_data.get('MOTION_VECTORS'), size)
    return MotionField(size, qpel), 1.0 - float(covered.mean())


def open_decoder(options: dict[str, str]) -> Any:
    """A single-threaded H.264 decoder: frame threads would hold pictures back."""
    context = av.CodecContext.create('h264', 'r')
    context.thread_count = 1
    context.options = options
    return context
