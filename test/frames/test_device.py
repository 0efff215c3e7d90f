"""DeviceSource on FFmpeg's generated pictures and on a stream over a local socket."""

from __future__ import annotations

import socket
import threading
import time

import av
import numpy as np
import pytest

from dedelayed_ros.errors import InputError
from dedelayed_ros.frames import DeviceSource, H264Decoder, open_source

pytestmark = pytest.mark.timeout(60)


def test_generated_pictures_come_at_their_rate_and_end():
    with open_source('device:lavfi:testsrc=size=320x240:rate=20:duration=0.5', frame_id='lab') as source:
        assert source.size == (240, 320) and source.rate == 20.0
        frames = list(source)
    sequences = [frame.sequence for frame in frames]
    assert sequences == sorted(set(sequences)) and sequences[-1] == 9  # on a busy machine some are missed
    assert (frames[-1].stamp_ns - frames[0].stamp_ns) / 1e9 > (9 - sequences[0]) / 20 - 0.05
    assert abs(time.time_ns() - frames[-1].stamp_ns) < 10e9
    assert frames[0].image.shape == (240, 320, 3) and frames[0].frame_id == 'lab'


def test_the_newest_wins_and_the_gap_is_seen():
    with open_source('device:lavfi:testsrc=size=64x48:rate=50') as source:
        source.read()
        asked = time.time_ns()
        time.sleep(0.5)
        late = source.read()
        assert late.sequence > 3 and late.stamp_ns > asked


def test_scaling():
    with open_source('device:lavfi:testsrc=size=64x48:rate=50', size=(24, 32)) as source:
        assert source.size == (24, 32) and source.read().image.shape == (24, 32, 3)


def test_close_ends_a_waiting_reader():
    source = open_source('device:lavfi:testsrc=size=64x48:rate=0.2')
    source.read()
    threading.Timer(0.3, source.close).start()
    start = time.monotonic()
    assert source.read() is None and time.monotonic() - start < 4


@pytest.mark.parametrize(
    ('uri', 'message'),
    [
        ('/dev/video97', 'Cameras present'),
        ('v4l2:/dev/video97', '/dev/video97 cannot be opened'),
        ('device:nonsense:x', "no input format 'nonsense'"),
        ('device:lavfi', 'device:FORMAT:NAME'),
        ('device:v4l2:/dev/video97?size', 'options'),
        ('device:lavfi:nosuchfilter', 'cannot be opened'),
        ('tcp://127.0.0.1:1', 'Check the address'),
    ],
)
def test_devices_that_cannot_be_opened_are_named(uri, message):
    with pytest.raises(InputError, match=message):
        open_source(uri)


class Camera:
    """Sends H.264 in MPEG-TS to one listener after the other, as a network camera would."""

    def __init__(self, options: dict[str, str], frames: int) -> None:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            self.port = probe.getsockname()[1]
        self._options, self._frames = options, frames
        self.url = f'tcp://127.0.0.1:{self.port}?listen=1&listen_timeout=8000'

    def send(self) -> None:
        for _ in range(100):  # until somebody listens
            try:
                with av.open(f'tcp://127.0.0.1:{self.port}', 'w', format='mpegts') as out:
                    self._stream(out)
                return
            except (OSError, av.FFmpegError):
                time.sleep(0.05)

    def _stream(self, out) -> None:
        stream = out.add_stream('libx264', rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = 96, 64, 'yuv420p', self._options
        for i in range(self._frames):
            image = np.full((64, 96, 3), 40, np.uint8)
            image[10:30, 2 * (i % 30) : 2 * (i % 30) + 20] = 220
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
            time.sleep(0.02)
        out.mux(stream.encode())


P_ONLY = {'bf': '0', 'refs': '1', 'tune': 'zerolatency', 'x264-params': 'weightp=0:scenecut=0', 'g': '10'}


def test_an_h264_camera_is_passed_through_and_found_again_when_it_was_away():
    camera = Camera(P_ONLY, frames=60)
    sender = threading.Thread(target=lambda: (camera.send(), time.sleep(0.5), camera.send()), daemon=True)
    sender.start()
    decoder, sequences, start = H264Decoder(), [], time.monotonic()
    with open_source(camera.url) as source:
        assert isinstance(source, DeviceSource) and source.size == (64, 96)
        while len(sequences) < 70 and time.monotonic() - start < 30:
            frame = source.read()
            assert frame.picture is not None
            assert np.array_equal(decoder.decode(frame.picture.data, source.size), frame.image)
            sequences.append(frame.sequence)
        if len(sequences) < 70:
            pytest.fail(f'{len(sequences)} frames, {source.status}')
    assert (np.diff(sequences) > 0).all() and sequences[-1] > 60


def test_a_camera_with_b_frames_gives_pictures_alone():
    camera = Camera({'bf': '2', 'g': '10'}, frames=150)
    sender = threading.Thread(target=lambda: (camera.send(), camera.send()), daemon=True)
    sender.start()
    alone, start = 0, time.monotonic()
    with open_source(camera.url) as source:
        while alone < 5 and time.monotonic() - start < 30:
            frame = source.read()
            assert frame.picture is None or (frame.picture.keyframe and not alone)
            alone += frame.picture is None
    assert alone == 5
