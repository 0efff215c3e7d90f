"""Faults for the CUDA kernels, for scripts/mutate_kernels.py: what a wrong kernel looks like."""

# ruff: noqa: E501 (a text of the kernels stays on one line)

from __future__ import annotations

from dataclasses import dataclass

ENGINE, MOTION, SETS = 'test_engine.py', 'test_motion.py', 'test_sets.py'
OPS, MASKS, FEATURES = 'test_ops.py', 'test_masks.py', 'test_features.py'
# Sources that a file of tests needs, where that is not all of them.
NEEDED = {
    MOTION: ['motion.cu', 'sets.cu'],
    SETS: ['sets.cu'],
    OPS: ['sets.cu', 'maps.cu', 'conv.cu', 'ops.cu'],
    MASKS: ['masks.cu'],
    FEATURES: ['features.cu'],
}


@dataclass(frozen=True)
class Fault:
    """A text in a file that is replaced once by another, and the test file that should notice (with a -k choice)."""

    what: str
    file: str
    text: str
    instead: str
    tests: str
    choice: str = ''


@dataclass(frozen=True)
class Equivalent:
    """A change that no test can notice, and why."""

    what: str
    file: str
    why: str


EQUIVALENT = (
    Equivalent('positions beyond the list computed', 'conv.cu', 'their sums are not kept: only time is lost'),
)
BARRIER = '__syncthreads();'
FAULTS = (
    Fault('a tie given to the higher class', 'masks.cu', 'if (value > best) best', 'if (value >= best) best', MASKS, 'tie'),
    Fault('rows and columns of the logits swapped', 'masks.cu', 'between(p / width, in_height, height)',
          'between(p % width, in_height, height)', MASKS, 'render'),
    Fault('index beyond the last row not clamped', 'masks.cu', 'low + 1 < length ? low + 1 : length - 1', 'low + 1', MASKS,
          'render'),
    Fault('unlabelled pixels painted', 'masks.cu', 'shown == kUnlabelled ? 0 : weight);\n    }\n  }\n}\nCU_KERNEL(paint',
          'weight);\n    }\n  }\n}\nCU_KERNEL(paint', MASKS, 'paint'),
    Fault('division of a negative place rounded up', 'features.cu', '-((divisor - 1 - value) / divisor)', 'value / divisor',
          FEATURES),
    Fault('scale of another channel', 'features.cu', 'scales[c])', 'scales[c ? c - 1 : c])', FEATURES),
    Fault('barrier before the starts of the list dropped', 'sets.cu',
          f'if (lane == 0) sizes[warp] = __popc(word);\n    {BARRIER}',
          'if (lane == 0) sizes[warp] = __popc(word);', SETS, 'candidates and point/point'),
    Fault('barrier after the starts of the list dropped', 'sets.cu',
          f'starts[n] += first;\n    }}\n    {BARRIER}', 'starts[n] += first;\n    }', SETS, 'candidates and point/point'),
    Fault('bits beyond the last column kept', 'sets.cu',
          'if (layer.width - x < 32) word &= (1u << (layer.width - x)) - 1u;', '', SETS, 'candidates and point/point'),
    Fault('last frame’s set not cleared', 'sets.cu', 'if (lane == 0) layer.dirty[w] = 0;', '', SETS,
          'candidates and point/point'),
    Fault('lane’s place in its word off by one', 'sets.cu', '__popc(word & ((1u << lane) - 1u))] = y',
          '__popc(word & ((2u << lane) - 1u))] = y', SETS, 'candidates and point/point'),
    Fault('footprint a tap short', 'sets.cu', 't < source.rows.taps * source.cols.taps',
          't < source.rows.taps * source.cols.taps - 1', SETS, 'candidates and three/three'),
    Fault('counter of the list not atomic', 'sets.cu',
          'size ? static_cast<int>(atomicAdd(layer.count, static_cast<unsigned>(size))) : 0',
          'static_cast<int>(*layer.count); *layer.count = static_cast<unsigned>(size)', SETS, 'candidates and point/point'),
    Fault('padding crossed by what moves', 'sets.cu', 'return axis.inside[p] && axis.inside[source] &&', 'return', SETS,
          'test_misaligned and dilated/dilated'),
    Fault('phase of the weights ignored', 'sets.cu', ' && axis.phase[p] == axis.phase[source]', '', SETS,
          'test_misaligned and transposed/transposed'),
    Fault('x and y of a displacement swapped', 'sets.cu', '!moves(reach.rows, y, key_rows(key), key_rows(expected), tapped)',
          '!moves(reach.rows, y, key_cols(key), key_cols(expected), tapped)', SETS, 'test_misaligned and strided/strided'),
    Fault('tap without a cached value believed', 'sets.cu', 'if (key != expected || key == kNowhere) return true;',
          'if (key != expected && key != kNowhere) return true;', SETS, 'test_misaligned and three/three'),
    Fault('wrong rounding: half towards zero', 'motion.cu', '(2 * length_of(a) + b) / (2 * b)',
          '(2 * length_of(a) + b - 1) / (2 * b)', MOTION, 'compose or carried'),
    Fault('x and y of the motion vector swapped', 'motion.cu', 'field.vectors[2 * block + 1 - axis]',
          'field.vectors[2 * block + axis]', MOTION, 'exact'),
    Fault('part of a pixel accepted as exact', 'motion.cu', 'if (vector % kQuarters || scaled % cell) return kNowhere;',
          'if (scaled % cell) return kNowhere;', MOTION, 'exact'),
    Fault('source outside of the grid accepted', 'motion.cu', 'return key != kNowhere && is_inside(slot, y - key_rows(key), x - key_cols(key)) ? key : kNowhere;', 'return key;',
          MOTION, 'exact or propagated'),
    Fault('last block under a cell forgotten', 'motion.cu', 'static_cast<int>((stop + block - 1) / block)',
          'static_cast<int>(stop / block > start / block ? stop / block : start / block + 1)', MOTION, 'exact or ranges'),
    Fault('remainder read where the cell is, not where it was', 'motion.cu', 'slot.remainder[axis * cells + source]',
          'slot.remainder[axis * cells + p]', MOTION, 'carried'),
    Fault('larger remainder than is tolerated', 'motion.cu', '<= slot.share[axis]', '<= 2 * slot.share[axis] + 1', MOTION,
          'tolerant'),
    Fault('composed motion read at the newer place', 'motion.cu', 'const int from = y / block * cols + x / block;',
          'const int from = b;', MOTION, 'compose'),
    Fault('strays counted without an atomic', 'sets.cu',
          'start = static_cast<int>(atomicAdd(slot.stray_count, static_cast<unsigned>(__popc(word))));',
          'start = static_cast<int>(*slot.stray_count), *slot.stray_count = static_cast<unsigned>(__popc(word));', MOTION,
          'strays'),
    Fault('off-by-one halo: a row beyond the input read', 'conv.cu', 'if (row < in.height && col < in.width) {',
          'if (row <= in.height && col < in.width) {', OPS, 'convolutions'),
    Fault('wrong stride of the weights', 'conv.cu', '(depth + e / kColumns) * layer.weight_pitch',
          '(depth + e / kColumns) * layer.channels', OPS, 'convolutions'),
    Fault('barrier between fetching and multiplying dropped', 'conv.cu',
          f'      {BARRIER}\n      place.advance', '      place.advance', OPS, 'convolutions'),
    Fault('barrier after multiplying dropped', 'conv.cu', f'      sums.multiply();\n      {BARRIER}',
          '      sums.multiply();', OPS, 'convolutions'),
    Fault('barrier before the results are kept dropped', 'conv.cu', f'    sums.store(room);\n    {BARRIER}',
          '    sums.store(room);', OPS, 'convolutions'),
    Fault('positions beyond the list kept', 'conv.cu', 'count - start < kTileRows ? count - start : kTileRows',
          'kTileRows', ENGINE, 'padding and forward'),
    Fault('last step of the depth left out', 'conv.cu', 'depth < layer.depth; depth += Sums::kDepth',
          'depth + Sums::kDepth < layer.depth; depth += Sums::kDepth', OPS, 'convolutions'),
    Fault('fragment from the wrong columns', 'tile.h', 'b + k * kPitchB + column, kPitchB', 'b + k * kPitchB, kPitchB', OPS,
          'convolutions'),
    Fault('lane writes beyond the channels', 'commit.h', 'if (lane + 32 * j < channels) to[lane + 32 * j] = value[j];',
          'to[lane + 32 * j] = value[j];', OPS, 'convolutions'),
    Fault('bias forgotten', 'commit.h', '(bias ? bias[first + c] : 0.0f)', '0.0f', OPS, 'convolutions'),
    Fault('other part of a sum forgotten', 'commit.h', 'x + added<T>(layer, function, at + c)', 'x', ENGINE,
          'test_networks_are and forward and mode1'),
    Fault('other part of a sum read at another channel', 'commit.h', 'added<T>(layer, function, at + c)',
          'added<T>(layer, function, at)', ENGINE, 'test_networks_are and forward and mode1'),
    Fault('group of the channel mistaken', 'ops.cu', 'channel / (layer.channels / layer.groups) * inputs',
          'channel % layer.groups * inputs', OPS, 'convolutions'),
    Fault('padding pooled', 'ops.cu', 'if (taps.col[c] == in.width) continue;\n        const float other',
          'const float other', OPS, 'operations'),
    Fault('mean over the wrong axis', 'ops.cu', 'h = layer.factors[0][y], w = layer.factors[1][x]',
          'h = layer.factors[0][y], w = layer.factors[0][y]', OPS, 'operations'),
    Fault('mean over as many columns as the neighbour has', 'ops.cu', 'h = layer.factors[0][y], w = layer.factors[1][x]',
          'h = layer.factors[0][y], w = layer.factors[1][x > 0 ? x - 1 : x]', OPS, 'operations'),
    Fault('weights of the columns used for rows', 'ops.cu', 'layer.factors[0][y * taps.rows + r] * line',
          'layer.factors[1][y * taps.rows + r] * line', OPS, 'operations'),
    Fault('barrier before the results are computed dropped', 'ops.cu',
          f'positions[i] = layer.list[start + i];\n    {BARRIER}', 'positions[i] = layer.list[start + i];', OPS, 'operations'),
    Fault('what is not a number loses', 'ops.cu', 'other > sum || other != other ? other : sum', 'other > sum ? other : sum',
          OPS, 'not_a_number'),
    Fault('new value kept where the cached one agrees', 'commit.h', 'fabsf(fresh - cached) <= threshold',
          'fabsf(fresh - cached) < threshold', ENGINE, 'test_truncation'),
    Fault('channels of several blocks decided apart', 'commit.h', 'if (layer.staged) {', 'if (false) {', ENGINE,
          'several_blocks and forward'),
    Fault('flags of sticky forgotten', 'commit.h', '&& usable && !flagged', '&& usable', ENGINE,
          'flags and forward'),
    Fault('position without a cached value kept', 'commit.h', '&& usable && !flagged', '&& !flagged', ENGINE,
          'poison and forward'),
    Fault('remainder not cleared where it is new', 'commit.h',
          'if (layer.remainder) layer.remainder[position] =', 'if (false) layer.remainder[position] =', ENGINE,
          'test_networks_are and forward and mode1'),
    Fault('strays read from the new map', 'maps.cu', 'static_cast<long long>(layer.shift) * layer.channels', '0', ENGINE,
          'apart and forward'),
    Fault('strays gathered from ahead, not behind', 'maps.cu', 'position - key_rows(key) * layer.width - key_cols(key)',
          'position + key_rows(key) * layer.width + key_cols(key)', ENGINE, 'networks_are'),
    Fault('features of a carried input not zero where nothing comes from', 'maps.cu', ': from_float<T>(0.0f);',
          ': cell[c];', ENGINE, 'features and forward'),
)  # fmt: skip
