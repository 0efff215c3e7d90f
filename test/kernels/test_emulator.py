"""What the emulator is there for: it sees wrong kernels fail."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest
from emulated import ALL_ORDERS as ORDERS
from emulated import FLAGS, SOURCES, VARIANTS, preloads

KERNELS = r"""
#include "device.h"

// Each thread hands its number to its neighbour.
extern "C" __global__ void rotate(int* out, int with_barrier) {
  CU_SHARED(int, numbers, [kThreads]);
  numbers[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (with_barrier) __syncthreads();
  out[threadIdx.x] = numbers[(threadIdx.x + 1) % kThreads];
}
CU_KERNEL(rotate, kThreads)

// Each block counts itself.
extern "C" __global__ void count(int* out, int atomically) {
  if (threadIdx.x) return;
  if (atomically) {
    atomicAdd(out, 1);
  } else {
    ++*out;
  }
}
CU_KERNEL(count, kThreads)

extern "C" __global__ void beyond(int* out, int more) {
  CU_SHARED(int, numbers, [kThreads]);
  const int* from = numbers + threadIdx.x;
  out[threadIdx.x] = from[more];
}
CU_KERNEL(beyond, kThreads)

extern "C" __global__ void unwritten(float* out, int) {
  CU_SHARED(float, numbers, [kThreads]);
  out[threadIdx.x] = numbers[threadIdx.x];
}
CU_KERNEL(unwritten, kThreads)

extern "C" __global__ void leaves_early(int* out, int) {
  if (threadIdx.x == 7) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}
CU_KERNEL(leaves_early, kThreads)

extern "C" __global__ void half_a_warp(int* out, int) {
  if (threadIdx.x % 32 < 16) out[threadIdx.x] = __ballot_sync(0xffffu, true) != 0;
}
CU_KERNEL(half_a_warp, kThreads)

extern "C" __global__ void lanes(int* out, int) {
  const int lane = threadIdx.x % 32;
  const unsigned odd = __ballot_sync(0xffffffffu, lane % 2 == 1);
  const int next = __shfl_sync(0xffffffffu, lane, (lane + 1) % 32);
  out[threadIdx.x] = odd == 0xaaaaaaaau && next == (lane + 1) % 32 && __popc(odd) == 16;
}
CU_KERNEL(lanes, kThreads)
"""


@pytest.fixture(scope='module')
def kernels(tmp_path_factory):
    folder = tmp_path_factory.mktemp('kernels')
    source, library = folder / 'kernels.cu', folder / 'kernels.so'
    source.write_text(KERNELS)
    subprocess.run(['g++', *FLAGS, '-O1', f'-I{SOURCES}', '-x', 'c++', source, '-o', library], check=True)
    return library


def launch(library, name, order='forward', flag=0, threads=256):
    out = np.full(256, -1, np.int32)
    number = ctypes.c_int(flag)
    address = ctypes.c_void_p(out.ctypes.data)
    pointers = (ctypes.c_void_p * 2)(ctypes.addressof(address), ctypes.addressof(number))
    one, block = (ctypes.c_uint * 3)(1, 1, 1), (ctypes.c_uint * 3)(threads, 1, 1)
    run = ctypes.CDLL(str(library)).emulator_launch
    return run(name.encode(), one, block, pointers, ORDERS.index(order), 1), out


def test_a_barrier_is_real(kernels):
    for order in ORDERS:
        np.testing.assert_array_equal(launch(kernels, 'rotate', order, 1)[1], (np.arange(256) + 1) % 256)


def test_a_missing_barrier_is_seen_in_some_order(kernels):
    wrong = [
        order for order in ORDERS if not np.array_equal(launch(kernels, 'rotate', order)[1], (np.arange(256) + 1) % 256)
    ]
    assert 'forward' in wrong and 'shuffled' in wrong


def test_shared_memory_starts_as_not_a_number(kernels):
    assert np.isnan(launch(kernels, 'unwritten')[1].view(np.float32)).all()


def launched_apart(library, name, flag=0, environment=None):
    """The end of a process that launches a kernel on two blocks."""
    code = f"""if True:
        import ctypes
        out, number, three = (ctypes.c_int * 256)(), ctypes.c_int({flag}), ctypes.c_uint * 3
        address = ctypes.c_void_p(ctypes.addressof(out))
        pointers = (ctypes.c_void_p * 2)(ctypes.addressof(address), ctypes.addressof(number))
        run = ctypes.CDLL({str(library)!r}).emulator_launch
        run({name.encode()!r}, three(2, 1, 1), three(256, 1, 1), pointers, 0, 1)
    """
    command = [sys.executable, '-I', '-S', '-c', code]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )


@pytest.mark.parametrize(
    ('variant', 'name', 'right', 'wrong', 'says'),
    [('tsan', 'count', 1, 0, 'data race'), ('asan', 'beyond', 0, 1, 'buffer-overflow')],
)
def test_what_sanitizers_see(variant, name, right, wrong, says, tmp_path):
    """ThreadSanitizer: an access of two blocks to one place. AddressSanitizer: the end of a shared array."""
    try:
        preloaded = preloads(variant)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    source, library = tmp_path / 'kernels.cu', tmp_path / f'{variant}.so'
    source.write_text(KERNELS)
    subprocess.run(['g++', *FLAGS, *VARIANTS[variant], f'-I{SOURCES}', '-x', 'c++', source, '-o', library], check=True)
    environment = {'LD_PRELOAD': preloaded, 'ASAN_OPTIONS': 'detect_leaks=0', 'TSAN_OPTIONS': 'halt_on_error=1'}
    good = launched_apart(library, name, right, environment)
    assert good.returncode == 0, good.stderr
    bad = launched_apart(library, name, wrong, environment)
    assert bad.returncode != 0 and says in bad.stderr


@pytest.mark.parametrize(
    ('name', 'says'), [('leaves_early', 'a barrier that a thread'), ('half_a_warp', 'less than a full warp')]
)
def test_what_a_device_would_not_survive_ends_the_process(kernels, name, says):
    code = f"""if True:
        import ctypes
        out, number, three = (ctypes.c_int * 256)(), ctypes.c_int(0), ctypes.c_uint * 3
        address = ctypes.c_void_p(ctypes.addressof(out))
        pointers = (ctypes.c_void_p * 2)(ctypes.addressof(address), ctypes.addressof(number))
        run = ctypes.CDLL({str(kernels)!r}).emulator_launch
        run({name.encode()!r}, three(1, 1, 1), three(256, 1, 1), pointers, 0, 1)
    """
    ended = subprocess.run([sys.executable, '-I', '-S', '-c', code], capture_output=True, text=True, check=False)
    assert ended.returncode < 0 and says in ended.stderr


def test_functions_of_a_warp(kernels):
    for order in ORDERS:
        assert (launch(kernels, 'lanes', order)[1] == 1).all()


def test_launches_that_a_device_refuses(kernels):
    assert launch(kernels, 'there_is_none')[0] == 1
    assert launch(kernels, 'rotate', threads=512)[0] == 2
