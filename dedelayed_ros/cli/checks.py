"""What `dedelayed doctor` looks at: each check is a function that finds one part of the machine working or not.

Each is run in a process of its own (`python -m dedelayed_ros.cli.checks NAME`), since a broken driver may end or hang
the process that asks it. What a check raises is its finding.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from dedelayed_ros import native
from dedelayed_ros.errors import DedelayedError, InputError

State = Literal['ok', 'missing', 'broken']
FASTER = ('avx512f', 'avx512_bf16', 'amx_bf16', 'avx2', 'asimd', 'bf16')  # flags of the processor that matter for speed


@dataclass(frozen=True)
class Finding:
    """What one check found; ``advice`` says what is lost without the part and how to get it, empty when it is ok."""

    name: str
    state: State
    found: str
    advice: str = ''


def python() -> Finding:
    """The interpreter and the machine it runs on."""
    from dedelayed_ros.report import machine

    described = machine.describe()
    found = f'{platform.python_version()}, {described["processor"]}, {described["cores"]} cores'
    return Finding('Python', 'ok', f'{found}, {described["memory_gib"]} GiB')


def package() -> Finding:
    """The version of this package and where it is."""
    import dedelayed_ros
    from dedelayed_ros.version import VERSION

    return Finding('dedelayed_ros', 'ok', f'{VERSION} in {Path(dedelayed_ros.__file__).parent}')


def ros() -> Finding:
    """ROS 2 with this package's messages."""
    from dedelayed_ros.cli.ros import find_ros

    lost = 'Without ROS `dedelayed run` and `cloud` work, the nodes and `demo` (but for --no-ros) do not'
    install, reason = find_ros()
    if install is None:
        return Finding('ROS 2', 'missing', reason, lost)
    rclpy = importlib.import_module('rclpy')
    utilities = importlib.import_module('rclpy.utilities')
    messages = importlib.import_module('dedelayed_ros.msg')
    rclpy.init()
    node = rclpy.create_node('dedelayed_doctor', enable_rosout=False, start_parameter_services=False)
    try:
        node.create_publisher(messages.MaskProvenance, 'dedelayed_doctor', 1)
        rmw = utilities.get_rmw_implementation_identifier()
    finally:
        node.destroy_node()
        rclpy.shutdown()
    kind = os.environ.get('ROS_DISTRO') or 'from wheels'
    return Finding('ROS 2', 'ok', f'{kind}, {rmw}, messages of this package load')


def _ros_package(name: str, lost: str) -> Finding:
    if importlib.util.find_spec(name) is not None:
        importlib.import_module(name)
        return Finding(name, 'ok', 'importable')
    distro = os.environ.get('ROS_DISTRO')
    how = f'apt-get install ros-{distro}-{name.replace("_", "-")}' if distro else 'it comes with a ROS installation'
    return Finding(name, 'missing', 'not importable', f'{lost}: {how}')


def vision_msgs() -> Finding:
    """Messages for label names."""
    return _ros_package('vision_msgs', 'segmentation/label_info is not published without it')


def cv_bridge() -> Finding:
    """Conversion of unusual image encodings."""
    return _ros_package('cv_bridge', 'Bayer and YUV images cannot be read from topics without it')


def launch_ros() -> Finding:
    """Launch files."""
    return _ros_package('launch_ros', 'the launch files cannot be used without it (the executables can)')


def torch() -> Finding:
    """PyTorch, and what this processor offers it."""
    import torch

    cpuinfo = Path('/proc/cpuinfo')
    words = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    features = ', '.join(flag for flag in FASTER if flag in words) or 'no vector extensions known here'
    layer = torch.nn.Conv2d(3, 4, 3).bfloat16().eval()
    with torch.inference_mode():
        layer(torch.zeros(1, 3, 8, 8, dtype=torch.bfloat16))
    fast = {'avx512_bf16', 'amx_bf16', 'bf16'} & words
    bf16 = 'bfloat16 in hardware' if fast else 'bfloat16 only emulated'
    found = f'{torch.__version__}, {torch.get_num_threads()} threads, {bf16} ({features})'
    return Finding('PyTorch', 'ok', found)


def kernels() -> Finding:
    """The CPU kernels of this package."""
    from dedelayed_ros import masks

    if native.library() is not None:
        return Finding('CPU kernels', 'ok', f'{native.instruction_set()}; masks by {masks.backend_name()}')
    state: State = 'broken' if native.library_path().exists() else 'missing'
    return Finding('CPU kernels', state, native.why_missing(), 'Masks are made by torch, some ten times slower')


def _encoder(name: str) -> Finding:
    import av
    import numpy as np

    from dedelayed_ros.frames import EncoderSettings, H264Encoder

    lost = 'Nothing can be sent to a cloud' if name == 'libx264' else 'Encoding costs processor time: libx264 is used'
    if name not in av.codecs_available:
        return Finding(name, 'missing', 'it is not in the FFmpeg of PyAV', f'{lost}. Install another build of PyAV')
    try:
        encoder = H264Encoder(EncoderSettings((180, 320), encoder=name))
        for level in (0, 128):
            encoder.encode(np.full((180, 320, 3), level, np.uint8))
        encoder.close()
    except InputError as error:
        if name == 'libx264':
            return Finding(name, 'broken', str(error), lost)
        return Finding(name, 'missing', 'no hardware or driver for it here', lost)
    return Finding(name, 'ok', 'opens and encodes')


def motion_vectors() -> Finding:
    """Motion out of the encoder's own bitstream: a textured picture that moved by a known amount."""
    import numpy as np

    from dedelayed_ros.frames import EncoderSettings, H264Encoder

    moved = (12, 8)  # pixels right, down
    texture = (
        np.random.default_rng(0).integers(0, 256, (45, 80, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    )  # [360, 640, 3]
    encoder = H264Encoder(EncoderSettings((256, 512)))
    try:
        encoder.encode(np.ascontiguousarray(texture[40:296, 40:552]))
        picture = encoder.encode(
            np.ascontiguousarray(texture[40 - moved[1] : 296 - moved[1], 40 - moved[0] : 552 - moved[0]])
        )
    finally:
        encoder.close()
    found = np.median(picture.motion.qpel[2:-2, 2:-2].reshape(-1, 2), axis=0) / 4
    if tuple(found) != moved:
        how = 'FFmpeg exports no usable motion vectors: install another build of PyAV'
        return Finding('motion vectors', 'broken', f'moved by {moved} pixels, read as {tuple(found)}', how)
    return Finding('motion vectors', 'ok', 'read back from the bitstream exactly')


def zenoh() -> Finding:
    """Zenoh: a message between two sessions over TCP on this machine."""
    from importlib.metadata import version

    from dedelayed_ros.cli.ros import free_port
    from dedelayed_ros.link.session import open_session

    endpoint = f'tcp/127.0.0.1:{free_port()}'
    with open_session(listen=[endpoint]) as server, open_session(connect=[endpoint]) as client:
        server.declare_queryable('dedelayed/doctor', lambda query: query.reply('dedelayed/doctor', b'here'))
        replies = [reply for reply in client.get('dedelayed/doctor', timeout=3.0) if reply.ok is not None]
    if not replies:
        return Finding(
            'Zenoh', 'broken', 'two sessions on this machine do not hear each other', 'Is a firewall in the way?'
        )
    return Finding('Zenoh', 'ok', f'{version("eclipse-zenoh")}, two sessions on this machine talk over TCP')


def cloud(endpoint: str) -> Finding:
    """Whether somebody answers at the endpoint of a cloud or router."""
    from dedelayed_ros.link.session import open_session

    with open_session(connect=[endpoint]):
        return Finding('cloud', 'ok', f'{endpoint} accepts a Zenoh session')


def weights() -> Finding:
    """The models that came with the package, checked against their checksums and loaded."""
    from dedelayed_ros.models import zoo

    names = zoo.names()
    if not names:
        return Finding('weights', 'missing', 'no model in the package', 'Install the package again')
    try:
        for name in names:
            zoo.load_local(name)
            if 'remote' in zoo.entry(name).files:
                zoo.load_remote(name)
    except DedelayedError as error:
        return Finding('weights', 'broken', str(error), 'Install the package again')
    return Finding('weights', 'ok', f'{", ".join(names)}: checksums right, all load')


def street() -> Finding:
    """The simulated street: an OpenGL context without a screen."""
    from dedelayed_ros.sim.street.engine import open_context

    lost = 'The simulated street cannot be drawn: pip install moderngl; apt-get install libegl1 libgl1 libgl1-mesa-dri'
    if importlib.util.find_spec('moderngl') is None:
        return Finding('street (EGL)', 'missing', 'moderngl is not installed', lost)
    try:
        context = open_context()
    except InputError as error:
        return Finding('street (EGL)', 'missing', str(error), lost)
    renderer = context.info['GL_RENDERER']
    context.release()
    return Finding('street (EGL)', 'ok', str(renderer))


def cuda() -> Finding:
    """An NVIDIA driver with a device, and PyCUDA."""
    lost = 'Everything runs on the processor'
    try:
        driver = ctypes.CDLL('libcuda.so.1')
    except OSError:
        return Finding('CUDA', 'missing', 'no NVIDIA driver (libcuda.so.1)', lost)
    count = ctypes.c_int(0)
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status or not count.value:
        return Finding(
            'CUDA', 'broken', f'the driver finds no device (status {status})', f'{lost}: see what nvidia-smi says'
        )
    name = ctypes.create_string_buffer(128)
    driver.cuDeviceGetName(name, 128, 0)
    found = f'{count.value} device(s), the first: {name.value.decode(errors="replace")}'
    if importlib.util.find_spec('pycuda') is None:
        return Finding(
            'CUDA', 'missing', f'{found}; PyCUDA is not installed', f'{lost}: pip install "dedelayed_ros[cuda]"'
        )
    importlib.import_module('pycuda.driver')
    return Finding('CUDA', 'ok', f'{found}; PyCUDA is there')


ENCODERS = ('libx264', 'h264_nvenc', 'h264_vaapi', 'h264_qsv', 'h264_v4l2m2m')
CHECKS: dict[str, Callable[..., Finding]] = {
    'python': python,
    'package': package,
    'torch': torch,
    'kernels': kernels,
    **{name: lambda name=name: _encoder(name) for name in ENCODERS},
    'motion_vectors': motion_vectors,
    'zenoh': zenoh,
    'cloud': cloud,
    'weights': weights,
    'ros': ros,
    'vision_msgs': vision_msgs,
    'cv_bridge': cv_bridge,
    'launch_ros': launch_ros,
    'street': street,
    'cuda': cuda,
}
# Without these no mask is made, or none is made better by a cloud.
ESSENTIAL = ('python', 'package', 'torch', 'libx264', 'motion_vectors', 'zenoh', 'cloud', 'weights')


def run_check(name: str, *arguments: str) -> Finding:
    """The finding of a check, whatever it raises."""
    try:
        return CHECKS[name](*arguments)
    except DedelayedError as error:
        return Finding(name, 'broken', str(error))
    except ModuleNotFoundError as error:
        return Finding(name, 'missing', str(error), 'Install the package again, with its dependencies')
    except Exception as error:
        return Finding(name, 'broken', f'{type(error).__name__}: {error}', 'Install what it names again')


def main() -> int:
    """Run the check that the command line names; its finding is the last line of stdout, as JSON."""
    with contextlib.redirect_stdout(sys.stderr):
        finding = run_check(*sys.argv[1:])
    print(json.dumps(asdict(finding)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
