"""The structures that Python writes are those that the kernels read; number conversions are the device's."""

from __future__ import annotations

import json
import subprocess

import numpy as np
from emulated import FLAGS, SOURCES

from dedelayed_ros.sparse.backends.cuda.records import STRUCTURES, to_key

RENAMED = {'size_in': 'in', 'size_out': 'out', 'source': 'from'}
PROGRAM = r"""
#include <cstddef>
#include "plan.h"
int main(int argc, char** argv) {
  std::printf("{");
  %s
  std::printf("\"half\": [");
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float value = __half2float(__half{static_cast<unsigned short>(bits)});
    unsigned word;
    __builtin_memcpy(&word, &value, sizeof word);
    std::printf("%%u,%%u,", word, static_cast<unsigned>(__float2half_rn(value).bits));
  }
  for (unsigned n = 0; n < 40000; ++n) {
    const unsigned word = n * 107374u + 17u;
    float value;
    __builtin_memcpy(&value, &word, sizeof value);
    std::printf("%%u,%%u,", word, static_cast<unsigned>(__float2half_rn(value).bits));
  }
  std::printf("0,0]}");
}
"""


def offsets(name: str) -> str:
    record = STRUCTURES[name]
    fields = [RENAMED.get(f, f) if name in ('Axis', 'Slot') else f for f in record.names]
    places = ', '.join(f'offsetof({name}, {f})' for f in fields)
    form = ','.join(['%zu'] * (len(fields) + 1))
    return f'std::printf("\\"{name}\\": [{form}],", sizeof({name}), {places});'


def test_layout_and_half_precision(tmp_path):
    source, program = tmp_path / 'layout.cpp', tmp_path / 'layout'
    source.write_text(PROGRAM % '\n  '.join(offsets(name) for name in STRUCTURES))
    flags = [flag for flag in FLAGS if flag not in ('-shared', '-fPIC', '-Wextra')]
    subprocess.run(['g++', *flags, f'-I{SOURCES}', source, '-o', program, '-Wno-unused'], check=True)
    found = json.loads(subprocess.run([program], capture_output=True, check=True, text=True).stdout)
    for name, record in STRUCTURES.items():
        assert found[name] == [record.itemsize, *(record.fields[f][1] for f in record.names)], name
    words, bits = np.array(found['half'], np.uint32).reshape(-1, 2).T
    values = words.view(np.float32)
    with np.errstate(over='ignore'):
        wanted = values.astype(np.float16)
    assert (np.isnan(bits.astype(np.uint16).view(np.float16)) == np.isnan(values)).all()
    usable = ~np.isnan(values)
    np.testing.assert_array_equal(bits[usable].astype(np.uint16), wanted[usable].view(np.uint16))
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(values[:65536][~np.isnan(every)], every[~np.isnan(every)].astype(np.float32))


def test_displacements_as_one_number():
    assert [to_key(*cells) for cells in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))] == [0, 1, 65536, 65535, -65536]
