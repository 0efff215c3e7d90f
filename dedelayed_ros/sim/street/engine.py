"""The renderer: a software OpenGL context, its programs and targets, and one frame's passes.

The passes of a frame: depth from the sun (shadows), then solid things, facades, ground, foliage and sky with 4 samples
a pixel into two targets (light + class, motion), then development to the camera's picture.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from dedelayed_ros.errors import InputError

from . import shaders, surfaces
from .look import Look
from .meshes import Mesh

INSTANCE = np.dtype(
    [
        ('now', 'f4', (3, 4)),
        ('before', 'f4', (3, 4)),
        ('extent', 'f4', 4),
        ('paint_a', 'f4', 4),
        ('paint_b', 'f4', 4),
    ]
)
"""Pose now and one frame ago (rows of 3×4 matrices), scale + seed, colour A + class, colour B + lamps (0..1)."""

_INSTANCE_FORMAT = '4f 4f 4f 4f 4f 4f 4f 4f 4f /i'
_INSTANCE_NAMES = ('now0', 'now1', 'now2', 'before0', 'before1', 'before2', 'extent', 'paint_a', 'paint_b')
_VERTEX_FORMAT = '3f 3f 3f 4f1 4u1'
_VERTEX_NAMES = ('in_pos', 'in_normal', 'in_uvw', 'in_colour', 'in_info')
_SAMPLES = 4  # of a pixel: edges are sampled so often, surfaces are shaded once
_SHADOW_PIXELS = 1024  # as in the shaders
_LINES = 8
_NO_RAILS = 1e6  # d of tracks that nobody sees (m)
_SHADOW_REACH = 42.0  # metres around the middle of the shadow map


def identity_instance() -> np.ndarray:
    """The instance record of things that are baked at their place."""
    one = np.zeros(1, INSTANCE)
    one['now'][0, :, :3] = one['before'][0, :, :3] = np.eye(3)
    one['extent'] = (1, 1, 1, 0)
    return one


@dataclass(frozen=True)
class View:
    """A camera at one instant: where, the way it looks, and its projection."""

    eye: np.ndarray  # [3] m
    turn: np.ndarray  # [3, 3] rows: right, up, backwards
    projection: np.ndarray  # [4, 4]

    @property
    def matrix(self) -> np.ndarray:
        """World to clip, [4, 4]."""
        m = np.eye(4)
        m[:3, :3] = self.turn
        m[:3, 3] = -self.turn @ self.eye
        return self.projection @ m

    @property
    def turn_matrix(self) -> np.ndarray:
        """World direction to clip, [4, 4]."""
        m = np.eye(4)
        m[:3, :3] = self.turn
        return self.projection @ m


@dataclass
class Batch:
    """Something that is drawn with one call: what family of surfaces, and its vertex arrays."""

    family: str  # 'solid', 'far', 'facade', 'foliage', 'ground'
    colour: Any
    depth: Any | None
    buffers: tuple[Any, ...]
    corners: np.ndarray | None  # [8, 4] of the box around it; None: it moves
    coarse: int  # indices that are enough from afar
    count: int  # all indices
    far: Any | None = None  # how it is drawn from afar
    instances: int = 1

    def outside(self, matrix: np.ndarray) -> bool:
        """Whether nothing of it is within the clip space of ``matrix``."""
        if self.corners is None:
            return False
        p = self.corners @ matrix.T
        w = p[:, 3:]
        return bool((p[:, :3] > w).all(0).any() or (p[:, :3] < -w).all(0).any())

    def release(self) -> None:
        for thing in (self.colour, self.far, self.depth, *self.buffers):
            if thing is not None:
                thing.release()


def open_context() -> Any:
    """A new software OpenGL context.

    Raises:
        InputError: moderngl or EGL is missing; says what to install.
    """
    hint = (
        'the simulated street renders with moderngl on EGL (Mesa). Install: pip install moderngl; '
        'apt install libegl1 libgl1 libgl1-mesa-dri'
    )
    try:
        import moderngl
    except ImportError as error:
        raise InputError(f'moderngl cannot be imported ({error}); {hint}') from error
    names: dict[str, Any] = {'libgl': 'libGL.so.1', 'libegl': 'libEGL.so.1'}
    if ctypes.util.find_library('EGL') is None:
        names = {}
    create: Any = moderngl.create_context  # its annotations know only the settings' names of one backend
    try:
        return create(standalone=True, backend='egl', require=330, **names)
    except Exception as error:  # moderngl raises bare Exception
        raise InputError(f'no OpenGL context through EGL ({error}); {hint}') from error


def leave_context() -> None:
    """Let go of the context that creating one has made current, so that another thread can use it."""
    egl = ctypes.CDLL('libEGL.so.1')
    egl.eglReleaseThread.restype = ctypes.c_uint
    egl.eglReleaseThread()


def _gl(matrix: np.ndarray) -> bytes:
    return np.ascontiguousarray(matrix.T, np.float32).tobytes()


class Engine:
    """One picture size, one look, one context. Not for two threads at once; a context moves with the calling thread."""

    def __init__(self, size: tuple[int, int], look: Look, *, mirrored: bool = False) -> None:
        self.size = size
        self.look = look
        self.ctx = ctx = open_context()
        import moderngl

        self._gl = moderngl
        self._front = 'ccw' if mirrored else 'cw'  # pictures are upside down to OpenGL
        h, w = size
        self._light = ctx.texture((w, h), 4, samples=_SAMPLES)
        self._motion = ctx.texture((w, h), 2, dtype='f4', samples=_SAMPLES)
        self._target = ctx.framebuffer([self._light, self._motion], ctx.depth_texture((w, h), samples=_SAMPLES))
        self._out = ctx.framebuffer([ctx.texture((w, h), 4), ctx.texture((w, h), 2, dtype='f4')])
        self._shadow = ctx.depth_texture((_SHADOW_PIXELS, _SHADOW_PIXELS))
        self._shadow.compare_func = '<='
        self._shadow.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._shadow.repeat_x = self._shadow.repeat_y = False
        self._shadow_target = ctx.framebuffer(depth_attachment=self._shadow)
        self._noise = ctx.texture(look.noise.shape[1::-1], 4, look.noise.tobytes())
        self._noise.build_mipmaps()
        self._noise.filter = (moderngl.LINEAR_MIPMAP_NEAREST, moderngl.LINEAR)
        program = ctx.program
        self._programs = {
            'solid': program(vertex_shader=shaders.VERTEX, fragment_shader=surfaces.SOLID),
            'far': program(vertex_shader=shaders.VERTEX, fragment_shader=surfaces.FAR_SOLID),
            'facade': program(vertex_shader=shaders.FACADE_VERTEX, fragment_shader=surfaces.FACADE),
            'foliage': program(vertex_shader=shaders.VERTEX, fragment_shader=surfaces.FOLIAGE),
            'ground': program(vertex_shader=shaders.VERTEX, fragment_shader=surfaces.GROUND),
        }
        self._sky = program(vertex_shader=shaders.SKY_VERTEX, fragment_shader=shaders.SKY)
        self._depth = program(vertex_shader=shaders.DEPTH_VERTEX, fragment_shader=shaders.DEPTH)
        self._develop = program(vertex_shader=shaders.FULL_VERTEX, fragment_shader=shaders.DEVELOP)
        full = ctx.buffer(np.array([-1, -1, 3, -1, -1, 3], np.float32).tobytes())
        self._sky_array = ctx.vertex_array(self._sky, [(full, '2f', 'in_pos')])
        self._develop_array = ctx.vertex_array(self._develop, [(full, '2f', 'in_pos')])
        self._identity = ctx.buffer(identity_instance().tobytes())
        ctx.enable(moderngl.DEPTH_TEST)
        ctx.depth_func = '<='
        self._set_look()
        leave_context()

    # -- set-up ----------------------------------------------------------------------------------------------

    def _set(self, name: str, value: Any) -> None:
        for program in (*self._programs.values(), self._sky, self._depth, self._develop):
            if name in program:
                if isinstance(value, bytes):
                    program[name].write(value)
                else:
                    program[name].value = value

    def _set_look(self) -> None:
        look = self.look
        h, w = self.size
        for name, value in look.uniforms().items():
            self._set(name, value)
        self._set('u_size', (float(w), float(h)))
        self._set('u_shape', (w, h))
        for unit, name in enumerate(('u_noise', 'u_shadow', 'u_light', 'u_motion')):
            self._set(name, unit)

    def set_street(self, lines: list[tuple[float, float, float, float]], rails: tuple[float, float] | None) -> None:
        """Up to 8 painted lines (d, half width, period, drawn share), and d of two tracks in the road, if any."""
        with self.ctx:
            self._set('u_lines', (lines + [(0.0, 0.0, 0.0, 0.0)] * _LINES)[:_LINES])
            self._set('u_line_count', min(len(lines), _LINES))
            self._set('u_rails', rails or (_NO_RAILS, _NO_RAILS))

    def batch(self, family: str, mesh: Mesh, instances: int = 0) -> Batch:
        """Upload a mesh; with ``instances`` > 0 it waits for as many records (``place``), else it stays."""
        with self.ctx:
            return self._batch(family, mesh, instances)

    def _batch(self, family: str, mesh: Mesh, instances: int) -> Batch:
        vertices = self.ctx.buffer(mesh.vertices.tobytes())
        indices = self.ctx.buffer(mesh.indices.tobytes())
        records = self.ctx.buffer(reserve=instances * INSTANCE.itemsize) if instances else self._identity
        content = [(vertices, _VERTEX_FORMAT, *_VERTEX_NAMES), (records, _INSTANCE_FORMAT, *_INSTANCE_NAMES)]
        arrays = [
            self.ctx.vertex_array(program, content, index_buffer=indices, skip_errors=True) if wanted else None
            for program, wanted in (
                (self._programs[family], True),
                (self._depth, family != 'ground'),
                (self._programs['far'], family == 'solid'),
            )
        ]
        corners = None
        if not instances:
            lo, hi = mesh.vertices['pos'].min(0), mesh.vertices['pos'].max(0)
            corners = np.array([[*p, 1.0] for p in itertools.product(*zip(lo, hi, strict=True))])
        owned = (vertices, indices, records) if instances else (vertices, indices)
        total = len(mesh.indices)
        coarse = total if mesh.coarse is None else mesh.coarse
        return Batch(family, arrays[0], arrays[1], owned, corners, coarse, total, arrays[2], instances or 1)

    def place(self, batch: Batch, records: np.ndarray) -> None:
        """Write the instance records of a batch and say how many there are."""
        buffer = batch.buffers[2]
        data = records.tobytes()
        if len(data) > buffer.size:
            raise ValueError(f'{len(records)} instances do not fit')
        if data:
            with self.ctx:
                buffer.write(data)
        batch.instances = len(records)

    # -- a frame ---------------------------------------------------------------------------------------------

    def render(
        self, batches: list[Batch], distant: list[Batch], now: View, before: View, number: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw batches, and those that are distant with less care.

        Returns image uint8 [H, W, 3], labels uint8 [H, W], motion float32 [H, W, 2] (px).
        """
        ctx, gl = self.ctx, self._gl
        h, w = self.size
        with ctx:
            to_sun = self._sun_matrix(now)
            self._set('u_to_sun', _gl(to_sun))
            self._set('u_clip_now', _gl(now.matrix))
            self._set('u_clip_before', _gl(before.matrix))
            self._set('u_turn_before', _gl(before.turn_matrix))
            self._set('u_rays', _gl(np.linalg.inv(now.turn_matrix)))
            self._set('u_eye', tuple(now.eye))
            ctx.enable(gl.DEPTH_TEST)
            ctx.enable(gl.CULL_FACE)
            ctx.front_face = 'ccw'
            self._shadow_target.use()
            self._shadow_target.clear(depth=1.0)
            for b in batches:
                if b.depth is not None and b.instances and not b.outside(to_sun):
                    b.depth.render(gl.TRIANGLES, instances=b.instances)
            for b in distant:
                if b.depth is not None and b.instances and not b.outside(to_sun):
                    b.depth.render(gl.TRIANGLES, b.coarse, instances=b.instances)
            self._noise.use(0)
            self._shadow.use(1)
            self._target.use()
            self._target.clear(0.0, 0.0, 0.0, 1.0, depth=1.0)
            ctx.front_face = self._front
            clip = now.matrix
            near = [b for b in batches if b.instances and not b.outside(clip)]
            away = [b for b in distant if b.instances and not b.outside(clip)]
            for family in ('solid', 'facade', 'ground', 'foliage'):
                for b in near:
                    if b.family == family:
                        b.colour.render(gl.TRIANGLES, instances=b.instances)
                for b in away:
                    if b.family == family:
                        (b.far or b.colour).render(gl.TRIANGLES, b.coarse, instances=b.instances)
            ctx.disable(gl.CULL_FACE)
            self._sky_array.render(gl.TRIANGLES)
            ctx.disable(gl.DEPTH_TEST)
            self._light.use(2)
            self._motion.use(3)
            self._out.use()
            self._set('u_sensor', (*self.look.sensor[:2], float(number), self.look.sensor[2]))
            self._develop_array.render(gl.TRIANGLES)
            pixels = np.frombuffer(self._out.read(components=4), np.uint8).reshape(h, w, 4)
            motion = np.frombuffer(self._out.read(components=2, attachment=1, dtype='f4'), np.float32).reshape(h, w, 2)
        return np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3]), motion.copy()

    def _sun_matrix(self, now: View) -> np.ndarray:
        """World to the shadow map, around a point ahead; snapped to whole texels, so that edges stand still."""
        sun = np.asarray(self.look.sun)
        side = np.cross([0.0, 0.0, 1.0], sun)
        side = side / np.linalg.norm(side) if np.linalg.norm(side) > 1e-3 else np.array([1.0, 0, 0])
        up = np.cross(sun, side)
        ahead = -now.turn[2] * [1.0, 1.0, 0.0]
        centre = now.eye + ahead * _SHADOW_REACH * 0.72
        texel = 2 * _SHADOW_REACH / _SHADOW_PIXELS
        x, y = (np.floor(centre @ axis / texel) * texel for axis in (side, up))
        z = centre @ sun
        m = np.zeros((4, 4))
        m[0, :3], m[0, 3] = side / _SHADOW_REACH, -x / _SHADOW_REACH
        m[1, :3], m[1, 3] = up / _SHADOW_REACH, -y / _SHADOW_REACH
        m[2, :3], m[2, 3] = -sun / 120.0, z / 120.0
        m[3, 3] = 1.0
        return m

    def release(self, batches: list[Batch]) -> None:
        """Free what is no longer drawn."""
        with self.ctx:
            for b in batches:
                b.release()

    def close(self) -> None:
        """Release the context and all that lives in it."""
        self.ctx.release()
