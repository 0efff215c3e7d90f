"""Streams that arrive as H.264 already: their own bits and vectors, where these can be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames.encoded_picture import EncodedPicture
from dedelayed_ros.frames.h264_decoder import frame_motion, open_decoder
from dedelayed_ros.frames.h264_syntax import H264Syntax, MotionCheck, ParameterSets
from dedelayed_ros.frames.motion_field import MAX_SIDE, MotionField


class OwnPictures:
    """Turns the packets of one H.264 stream into decoded frames with the stream's own bits and vectors.

    Pictures before the first key frame, and from damaged data to the next key frame, are left out. A key frame has no
    vectors: its motion is the identity and its intra ratio 1.
    """

    def __init__(self, stream: Any) -> None:
        self._filter = BitStreamFilterContext('h264_mp4toannexb', stream)
        self._decoder = open_decoder({'flags2': '+export_mvs', 'flags': '+low_delay'})
        self._syntax, self._check, self._sets = H264Syntax(), MotionCheck(), ParameterSets()
        self._broken = True

    def feed(self, packet: av.Packet) -> Iterator[tuple[av.VideoFrame, EncodedPicture]]:
        """Frames of a demuxed packet. Raises InputError if the stream's vectors turn out not to be usable."""
        for unit in self._filter.filter(packet):
            data = bytes(unit)
            if not data:
                continue
            try:
                slices = self._syntax.slices(data)
            except InputError:
                self._broken = True
                continue
            reason = self._check.reason(slices)
            if reason:
                raise unusable(reason)
            if not slices or (self._broken and not slices[0].idr):
                continue
            try:
                frames = self._decoder.decode(unit)
            except av.FFmpegError:
                frames = []
            self._broken = len(frames) != 1 or frames[0].is_corrupt
            if not self._broken:
                yield frames[0], self._picture(frames[0], self._sets.completed(data), slices[0].idr)

    def _picture(self, frame: av.VideoFrame, data: bytes, idr: bool) -> EncodedPicture:
        size = (frame.height, frame.width)
        motion, intra_ratio = (MotionField.identity(size), 1.0) if idr else frame_motion(frame, size)
        return EncodedPicture(data, idr, size, motion, intra_ratio)


def why_not(stream: Any) -> str | None:
    """Why a stream cannot be used as it comes, as far as its header tells; None if it may."""
    name = stream.codec_context.name
    if name in ('hevc', 'vp9', 'vp8', 'av1', 'libdav1d', 'libaom-av1'):
        return f'it is {name}, whose motion vectors FFmpeg does not export'
    if name != 'h264':
        return f'it is {name}, not H.264'
    height, width = stream.codec_context.height, stream.codec_context.width
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE) or height % 2 or width % 2:
        return f'its size {width}x{height} is not one of even sides up to {MAX_SIDE}'
    return None


def why_not_file(path: Path) -> str | None:
    """Why the pictures of a file cannot be used as they are, or None if every one of them can. Nothing is decoded."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        reason = why_not(stream)
        if reason:
            return reason
        if stream.codec_context.has_b_frames:
            # Whether it has any or not: the decoder holds pictures back, so that a packet does not give its picture.
            return 'its header allows B-frames'
        annex_b = BitStreamFilterContext('h264_mp4toannexb', stream)
        syntax, check, first = H264Syntax(), MotionCheck(), True
        try:
            for packet in container.demux(stream):
                for unit in annex_b.filter(packet):
                    slices = syntax.slices(bytes(unit))
                    reason = check.reason(slices)
                    if slices and first and not slices[0].idr:
                        reason = 'it does not begin with a key frame'
                    if reason:
                        return reason
                    first = first and not slices
        except (InputError, av.FFmpegError) as error:
            return f'it is damaged ({error})'
    return 'it holds no picture' if first else None


def unusable(reason: str) -> InputError:
    """The error for a stream whose vectors were asked for but cannot be had."""
    return InputError(
        f"The stream's own motion vectors cannot be used: {reason}. Needed is H.264 with P-frames and one reference "
        '(ffmpeg -c:v libx264 -bf 0 -refs 1); or let it be re-encoded, which is what happens by default.'
    )
