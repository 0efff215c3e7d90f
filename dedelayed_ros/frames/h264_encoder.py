"""Pictures to H.264, with the motion field of each read back from the very bits that were made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames.encoded_picture import EncodedPicture
from dedelayed_ros.frames.h264_decoder import VectorReader
from dedelayed_ros.frames.h264_syntax import IDR_SLICE, ParameterSets, nal_units
from dedelayed_ros.frames.motion_field import MAX_SIDE, MotionField
from dedelayed_ros.frames.pixels import as_rgb, to_yuv

# What each encoder needs to give one packet a picture, no B-frames, one reference and IDR key frames.
ENCODERS: dict[str, dict[str, str]] = {
    # partitions=none: one vector a block. umh: the default search misses fast motion in texture. subme=1: quarter
    # pixels (ultrafast alone stops at whole ones), found in the way that carries pictures best; finer searches are
    # worse at it. weightp=0: no duplicate references.
    'libx264': {
        'tune': 'zerolatency',
        'sc_threshold': '0',
        'forced-idr': '1',
        'x264-params': 'partitions=none:me=umh:merange=64:subme=1:weightp=0',
    },
    'h264_nvenc': {'preset': 'p1', 'tune': 'ull', 'rc': 'cbr', 'zerolatency': '1', 'delay': '0', 'forced-idr': '1'},
    'h264_qsv': {'preset': 'veryfast', 'async_depth': '1', 'forced_idr': '1', 'low_power': '0'},
    'h264_vaapi': {'async_depth': '1'},
    'h264_v4l2m2m': {},
    'h264_videotoolbox': {'realtime': '1'},
    'libopenh264': {'rc_mode': 'bitrate'},
}
PRESETS = ('ultrafast', 'superfast', 'veryfast', 'faster', 'fast', 'medium', 'slow', 'slower', 'veryslow')
LEAST_KBPS = 10
"""The least rate that an encoder is told to hold."""
_BUFFER_S = 0.5  # seconds of the target bitrate that a burst may take


@dataclass(frozen=True)
class EncoderSettings:
    """Settings of an H264Encoder.

    size:         (H, W) in pixels, odd sides allowed.
    rate:         pictures a second, for the rate control only.
    encoder:      FFmpeg's name: libx264, or of hardware: h264_nvenc, h264_vaapi, h264_v4l2m2m, h264_qsv, …
    bitrate_kbps: target in kbit/s; bursts are held to half a second of it.
    gop:          pictures from one key frame to the next, if none is requested before.
    preset:       libx264's, ultrafast…veryslow. Only libx264 uses it.
    """

    size: tuple[int, int]
    rate: float = 30.0
    encoder: str = 'libx264'
    bitrate_kbps: float = 4000.0
    gop: int = 300
    preset: str = 'ultrafast'

    def __post_init__(self) -> None:
        height, width = self.size
        if not (2 <= height <= MAX_SIDE and 2 <= width <= MAX_SIDE):
            raise InputError(f'Cannot encode pictures of {width}x{height}: each side must be 2 to {MAX_SIDE} pixels.')
        if not 0.1 <= self.rate <= 1000:
            raise InputError(f'A rate of {self.rate} pictures a second came; expected 0.1 to 1000.')
        if not LEAST_KBPS <= self.bitrate_kbps <= 500_000:
            raise InputError(f'A bitrate of {self.bitrate_kbps} kbit/s came; expected {LEAST_KBPS} to 500000.')
        if self.gop < 1:
            raise InputError(f'A key frame every {self.gop} pictures was asked for; expected 1 or more.')
        if self.encoder not in ENCODERS:
            raise InputError(f'There is no H.264 encoder {self.encoder!r}; this program knows {", ".join(ENCODERS)}.')
        if self.preset not in PRESETS:
            raise InputError(f'There is no preset {self.preset!r}; expected one of {", ".join(PRESETS)}.')


class H264Encoder:
    """Encodes one stream of pictures: one access unit out for every picture in, P-frames with one reference.

    At a key frame the picture is encoded twice, first as a P-frame for its motion, then as the key frame that leaves:
    motion and intra ratio go on through key frames, and only the first picture has none.

    Raises InputError when the encoder is not available here, naming those that are.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        self.settings = settings
        self._reformatter = VideoReformatter()
        self._vectors = VectorReader()
        self._bitrate, self._limit = float(settings.bitrate_kbps), math.inf
        self._parameter_sets = ParameterSets()
        self._since_key: int | None = None  # None: nothing encoded yet
        self._context: Any = None
        self._open()

    def encode(self, image: np.ndarray, *, keyframe: bool = False) -> EncodedPicture:
        """Encode uint8 [H, W, 3] RGB (or gray [H, W]) of the agreed size; ``keyframe`` makes this one a key frame."""
        size = self.settings.size
        frame = to_yuv(as_rgb(image, size), self._reformatter, self._pixel_format)
        reopen = self._apply_bitrate()
        if self._since_key is None:
            motion, intra_ratio, keyframe = MotionField.identity(size), 1.0, True
        else:
            data = self._packet(frame, key=False)
            motion, intra_ratio = self._vectors.read(data, size)
            keyframe = keyframe or reopen or self._since_key + 1 >= self.settings.gop
        if keyframe:
            if reopen:
                self._open()
            data = self._packet(frame, key=True)
            self._vectors.read(data, size)
        self._since_key = 0 if keyframe else (self._since_key or 0) + 1
        return EncodedPicture(data, keyframe, size, motion, intra_ratio)

    def set_bitrate(self, kbps: float) -> None:
        """Change the target from the next picture on.

        libx264 follows to anything up to the rate that it was opened with. Beyond that, and with other encoders, the
        encoder is opened anew, which makes the next picture a key frame.
        """
        if not LEAST_KBPS <= kbps <= 500_000:
            raise InputError(f'A bitrate of {kbps} kbit/s came; expected {LEAST_KBPS} to 500000.')
        self._bitrate = float(kbps)

    def set_limit(self, kbps: float) -> None:
        """Hold the target to at most that, until another limit comes; infinite: none.

        libx264 follows from the next picture on. Other encoders would have to be opened anew, which takes a key frame:
        they follow where that is worth it, by less than four fifths or more than five fourths of what they have.
        """
        if not kbps >= LEAST_KBPS:
            raise InputError(f'A limit of {kbps} kbit/s came; expected {LEAST_KBPS} or more.')
        self._limit = kbps

    def close(self) -> None:
        """Free the encoder. It cannot be used any more."""
        self._context = None

    def __enter__(self) -> H264Encoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        settings = self.settings
        try:
            self._opened_kbps = self._bitrate if settings.encoder == 'libx264' else self._wanted
            self._context, self._pixel_format = _open_context(settings, self._opened_kbps)
        except (av.FFmpegError, ValueError, OSError) as error:
            raise InputError(
                f'The H.264 encoder {settings.encoder} cannot be used on this machine ({error}). '
                f'Available here: {", ".join(available_encoders()) or "none"}.'
            ) from error
        self._target_kbps = self._opened_kbps
        self._pts = 0

    def _apply_bitrate(self) -> bool:
        """Bring a new target to the encoder; True if it has to be opened anew for it."""
        wanted, given = self._wanted, self._target_kbps
        if wanted == given:
            return False
        if self.settings.encoder != 'libx264':
            return wanted == self._bitrate or not 0.8 * given <= wanted <= 1.25 * given
        if wanted > self._opened_kbps:
            return True
        self._context.bit_rate = round(wanted * 1000)
        self._target_kbps = wanted
        return False

    @property
    def _wanted(self) -> float:
        return min(self._bitrate, self._limit)

    def _packet(self, frame: av.VideoFrame, *, key: bool) -> bytes:
        frame.pts = self._pts
        frame.pict_type = PictureType.I if key else PictureType.NONE
        self._pts += 1
        try:
            packets = self._context.encode(frame)
        except av.FFmpegError as error:
            raise InputError(f'The encoder {self.settings.encoder} failed: {error}. Try libx264.') from error
        if len(packets) != 1:
            raise InputError(
                f'The encoder {self.settings.encoder} gave {len(packets)} packets for one picture, but each picture '
                'must leave at once. Use another encoder, such as libx264.'
            )
        data = bytes(packets[0])
        if not key:
            return data
        if not any(kind == IDR_SLICE for kind, _, _ in nal_units(data)):
            raise InputError(f'The encoder {self.settings.encoder} ignores requests for key frames. Use libx264.')
        return self._parameter_sets.completed(data)


def available_encoders() -> tuple[str, ...]:
    """Names of the H.264 encoders that open and encode a picture on this machine, best known first."""
    found = []
    for name in ENCODERS:
        try:
            context, pixel_format = _open_context(EncoderSettings((180, 320), encoder=name), 1000.0)
            context.encode(to_yuv(np.zeros((180, 320, 3), np.uint8), VideoReformatter(), pixel_format))
        except (av.FFmpegError, ValueError, OSError):
            continue
        found.append(name)
    return tuple(found)


def _open_context(settings: EncoderSettings, kbps: float) -> tuple[Any, str]:
    """An open encoder and the pixel format that it takes."""
    context: Any = av.CodecContext.create(settings.encoder, 'w')
    formats = [fmt.name for fmt in context.codec.video_formats or ()]
    pixel_format = next((name for name in ('yuv420p', 'nv12') if name in formats), 'nv12' if formats else 'yuv420p')
    height, width = settings.size
    rate = Fraction(settings.rate).limit_denominator(1001)
    context.width, context.height = width + width % 2, height + height % 2
    context.pix_fmt = pixel_format
    context.framerate, context.time_base = rate, 1 / rate
    context.bit_rate = round(kbps * 1000)
    context.thread_count = 1  # frame threads would hold pictures back
    specific = dict(ENCODERS[settings.encoder])
    if settings.encoder == 'libx264':
        specific['preset'] = settings.preset
    context.options = {
        'bf': '0',
        'refs': '1',
        'g': str(2**30),  # key frames are asked for, so that each is also encoded as a P-frame
        'maxrate': str(round(kbps * 1000)),
        'bufsize': str(round(kbps * 1000 * _BUFFER_S)),
        'colorspace': 'smpte170m',
        'color_range': 'tv',
        **specific,
    }
    context.open()
    return context, pixel_format
