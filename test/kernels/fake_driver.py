"""A stand-in for the module pycuda.driver: it records calls, checks what the real one would, and runs the kernels here.

Only with a current context may memory be touched or a kernel launched; contexts nest as the driver's do.
"""

from __future__ import annotations

import ctypes
import threading

import numpy as np
from emulated import EmulatedMemory, launch

CTYPES = {'P': np.uint64, 'i': np.int32, 'I': np.uint32, 'f': np.float32}


class FakeDriver:
    """Has what PyCudaDevice uses. ``calls`` lists names and arguments; ``capability`` is the GPU's; None: no GPU."""

    class Error(Exception):
        pass

    class MemoryError(Error):
        pass

    def __init__(self, capability=(8, 7), memory=1 << 30) -> None:
        self.calls: list[tuple] = []
        self.capability, self.memory = capability, memory
        self.stack: dict[int, list] = {}
        self.initialised = False
        self.pushes = 0
        driver = self

        class Device:
            multiprocessor_count = 2

            def __init__(self, ordinal):
                driver.needs_init()

            @staticmethod
            def count():
                driver.needs_init()
                return 0 if capability is None else 1

            def compute_capability(self):
                return capability

            def retain_primary_context(self):
                return Context()

        class Context:
            def push(self):
                driver.pushes += 1
                driver.stack.setdefault(threading.get_ident(), []).append(self)

            @staticmethod
            def pop():
                driver.stack[threading.get_ident()].pop()

        class Stream:
            handle = 1234

            def __init__(self):
                driver.record('Stream')

            def synchronize(self):
                driver.record('synchronize')

        class Function:
            def __init__(self, name):
                self.name, self.format = name, None

            def prepare(self, format):
                self.format = format

            def prepared_async_call(self, grid, block, stream, *arguments):
                driver.record('launch', self.name, grid, block)
                assert isinstance(stream, Stream) and len(self.format) == len(arguments)
                assert all(type(a) in (int, float) for a in arguments)
                given = [CTYPES[code](a) for code, a in zip(self.format, arguments, strict=True)]
                launch(self.name, grid, block[0] * block[1] * block[2], given)

        class Module:
            def get_function(self, name):
                driver.record('get_function', name)
                return Function(name)

        self.Device, self.Stream, self._module = Device, Stream, Module

    def needs_init(self):
        assert self.initialised, 'the driver is used before init()'

    def record(self, *call):
        assert self.stack.get(threading.get_ident()), f'{call[0]} without a current context'
        self.calls.append(call)

    def init(self):
        self.initialised = True

    def module_from_file(self, path):
        self.record('module_from_file', path)
        return self._module()

    def mem_alloc(self, size):
        self.record('mem_alloc', size)
        assert size > 0
        self.memory -= size
        if self.memory < 0:
            raise self.MemoryError('cuMemAlloc failed: out of memory')
        return EmulatedMemory(size)

    def memcpy_htod_async(self, to, source, stream):
        self.record('upload', source.nbytes)
        ctypes.memmove(to, source.ctypes.data, source.nbytes)

    def memcpy_dtoh_async(self, to, source, stream):
        self.record('download', to.nbytes)
        ctypes.memmove(to.ctypes.data, source, to.nbytes)

    def memcpy_dtod_async(self, to, source, size, stream):
        self.record('copy', size)
        ctypes.memmove(to, source, size)

    def memset_d32_async(self, to, word, count, stream):
        self.record('fill', count)
        assert 0 <= word < 2**32
        np.frombuffer((ctypes.c_uint32 * count).from_address(to), np.uint32)[:] = word
