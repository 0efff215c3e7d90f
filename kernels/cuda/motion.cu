// Where the cached value of each position is: dedelayed_ros/sparse/motion.py says what each kernel computes.
#include "plan.h"

constexpr int kQuarters = 4;  // quarter pixels a pixel

__device__ inline long long floor_divide(long long a, long long b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

__device__ inline long long length_of(long long a) { return a < 0 ? -a : a; }

// a / b, rounded half away from zero.
__device__ inline long long round_away(long long a, long long b) {
  const long long size = (2 * length_of(a) + b) / (2 * b);
  return a < 0 ? -size : size;
}

// Blocks of the field under a cell along one axis, and the one under its centre.
struct Cover {
  int first, last, centre;  // [first, last)
};

__device__ inline Cover cover_of(int cell, int num, int den, int frame, int block) {
  long long start = 0, stop = frame;
  if (den) {
    start = static_cast<long long>(cell) * num / den;
    start = start < frame - 1 ? start : frame - 1;
    stop = -floor_divide(-(static_cast<long long>(cell) + 1) * num, den);
    stop = stop > start + 1 ? stop : start + 1;
    stop = stop < frame ? stop : frame;
  }
  return {static_cast<int>(start / block), static_cast<int>((stop + block - 1) / block),
          static_cast<int>((start + stop) / 2 / block)};
}

// Component of a block's vector: axis 0 is rows, and vectors are x then y.
__device__ inline int vector_of(const Field& field, int block, int axis) { return field.vectors[2 * block + 1 - axis]; }

// Whole cells of a grid, or kNowhere if a block's vector is not.
__device__ inline int exact_key(const Field& field, const Slot& slot, int block) {
  if (!field.valid[block]) return kNowhere;
  int cells[2] = {0, 0};
  for (int axis = 0; axis < 2; ++axis) {
    if (!slot.den[axis]) continue;
    const int vector = vector_of(field, block, axis);
    const long long scaled = static_cast<long long>(vector) * slot.den[axis];
    const long long cell = static_cast<long long>(kQuarters) * slot.num[axis];
    if (vector % kQuarters || scaled % cell) return kNowhere;
    cells[axis] = static_cast<int>(scaled / cell);
  }
  return to_key(cells[0], cells[1]);
}

__device__ inline bool is_inside(const Slot& slot, int y, int x) {
  return y >= 0 && y < slot.height && x >= 0 && x < slot.width;
}

// A displacement, or kNowhere where its source is outside of the grid.
__device__ inline int kept_inside(const Slot& slot, int key, int y, int x) {
  return key != kNowhere && is_inside(slot, y - key_rows(key), x - key_cols(key)) ? key : kNowhere;
}

// One displacement where all vectors under the cell are the same, whole pixels, and divisible by its size.
extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) exact(const Field* fields, const Slot* slots, int number) {
  const Field& field = *fields;
  const Slot& slot = slots[number];
  const int cells = slot.height * slot.width;
  for (int p = blockIdx.x * kThreads + threadIdx.x; p < cells; p += gridDim.x * kThreads) {
    const int y = p / slot.width, x = p % slot.width;
    const Cover rows = cover_of(y, slot.num[0], slot.den[0], field.frame_height, field.block);
    const Cover cols = cover_of(x, slot.num[1], slot.den[1], field.frame_width, field.block);
    int common = exact_key(field, slot, rows.first * field.cols + cols.first);
    for (int r = rows.first; r < rows.last; ++r) {
      for (int c = cols.first; c < cols.last; ++c) {
        if (exact_key(field, slot, r * field.cols + c) != common) common = kNowhere;
      }
    }
    slot.key[p] = kept_inside(slot, common, y, x);
  }
}
CU_KERNEL(exact, kThreads)

// Vectors of the blocks under a cell; false where one of them is not valid.
__device__ inline bool find_range(const Field& field, const Cover& rows, const Cover& cols, Range& range) {
  bool valid = true;
  const int first = rows.first * field.cols + cols.first;
  for (int axis = 0; axis < 2; ++axis) range.low[axis] = range.high[axis] = static_cast<short>(vector_of(field, first, axis));
  for (int r = rows.first; r < rows.last; ++r) {
    for (int c = cols.first; c < cols.last; ++c) {
      const int block = r * field.cols + c;
      valid = valid && field.valid[block];
      for (int axis = 0; axis < 2; ++axis) {
        const short vector = static_cast<short>(vector_of(field, block, axis));
        range.low[axis] = vector < range.low[axis] ? vector : range.low[axis];
        range.high[axis] = vector > range.high[axis] ? vector : range.high[axis];
      }
    }
  }
  return valid;
}

// Displacement by whole cells that brings each position the cached value that belongs nearest to it, and what remains.
// kTolerant: only where little remains and vectors under the cell hardly differ.
template <bool kTolerant>
__device__ void find_carried(const Field& field, const Slot& slot) {
  const int cells = slot.height * slot.width;
  for (int p = blockIdx.x * kThreads + threadIdx.x; p < cells; p += gridDim.x * kThreads) {
    const int y = p / slot.width, x = p % slot.width;
    const Cover rows = cover_of(y, slot.num[0], slot.den[0], field.frame_height, field.block);
    const Cover cols = cover_of(x, slot.num[1], slot.den[1], field.frame_width, field.block);
    const int block = rows.centre * field.cols + cols.centre;
    int key = kNowhere, rest[2] = {0, 0};
    if (field.valid[block]) {
      int start[2] = {0, 0};
      for (int axis = 0; axis < 2; ++axis) {
        const long long vector = vector_of(field, block, axis);
        if (slot.den[axis]) {
          start[axis] = static_cast<int>(
              round_away(vector * slot.den[axis], static_cast<long long>(kQuarters) * slot.num[axis]));
        }
      }
      // The cell itself, those beside it, the corners: of two that are equally near, the first is taken.
      constexpr int kDown[9] = {0, -1, 1, 0, 0, -1, -1, 1, 1}, kRight[9] = {0, 0, 0, -1, 1, -1, 1, -1, 1};
      float best = 0.5f;
#pragma unroll
      for (int neighbour = 0; neighbour < 9; ++neighbour) {
        const int tried[2] = {start[0] + kDown[neighbour], start[1] + kRight[neighbour]};
        if (!is_inside(slot, y - tried[0], x - tried[1])) continue;
        const int source = (y - tried[0]) * slot.width + x - tried[1];
        float distance = 0.0f;
        int left[2] = {0, 0};
        for (int axis = 0; axis < 2; ++axis) {
          if (!slot.den[axis]) continue;
          const long long total = vector_of(field, block, axis) + slot.remainder[axis * cells + source];
          const long long cell = static_cast<long long>(kQuarters) * slot.num[axis];
          const long long scaled = total * slot.den[axis] - tried[axis] * cell;
          left[axis] = static_cast<int>(scaled / slot.den[axis]);
          const float length = static_cast<float>(length_of(scaled)) / static_cast<float>(cell);
          distance = length > distance ? length : distance;
        }
        if (distance < best || (key == kNowhere && distance == best)) {
          best = distance;
          key = to_key(tried[0], tried[1]);
          rest[0] = left[0], rest[1] = left[1];
        }
      }
    }
    if (kTolerant && key != kNowhere) {
      Range range;
      bool within = find_range(field, rows, cols, range);
      for (int axis = 0; axis < 2; ++axis) {
        if (!slot.den[axis]) continue;
        within = within && static_cast<float>(length_of(rest[axis])) <= slot.share[axis] &&
                 static_cast<float>(range.high[axis] - range.low[axis]) <= slot.spread[axis];
      }
      if (!within) key = kNowhere;
    }
    slot.key[p] = key;
    slot.rest[p] = rest[0];
    slot.rest[cells + p] = rest[1];
  }
}

extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) carried(const Field* fields, const Slot* slots, int number) {
  find_carried<false>(*fields, slots[number]);
}
CU_KERNEL(carried, kThreads)

extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) tolerant(const Field* fields, const Slot* slots, int number) {
  find_carried<true>(*fields, slots[number]);
}
CU_KERNEL(tolerant, kThreads)

// Vectors under every cell of a grid, for the footprints that read it.
extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) ranges(const Field* fields, const Cells* grids, int number) {
  const Field& field = *fields;
  const Cells& grid = grids[number];
  const int cells = grid.height * grid.width;
  for (int p = blockIdx.x * kThreads + threadIdx.x; p < cells; p += gridDim.x * kThreads) {
    const Cover rows = cover_of(p / grid.width, grid.num[0], grid.den[0], field.frame_height, field.block);
    const Cover cols = cover_of(p % grid.width, grid.num[1], grid.den[1], field.frame_width, field.block);
    Range range;
    find_range(field, rows, cols, range);
    grid.range[p] = range;
  }
}
CU_KERNEL(ranges, kThreads)

// Displacement of what is computed from a carried input alone: that of the first value it reads, in its own cells.
extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) propagated(const Slot* slots, int number) {
  const Slot& slot = slots[number];
  const int cells = slot.height * slot.width;
  for (int p = blockIdx.x * kThreads + threadIdx.x; p < cells; p += gridDim.x * kThreads) {
    const int y = p / slot.width, x = p % slot.width;
    const int key = slot.from[slot.rows.base[y] * slot.cols.in + slot.cols.base[x]];
    int result = kNowhere;
    if (key != kNowhere && slot.rows.tapped[y] && slot.cols.tapped[x]) {
      const long long r = static_cast<long long>(key_rows(key)) * slot.ratio_num[0];
      const long long c = static_cast<long long>(key_cols(key)) * slot.ratio_num[1];
      if (r % slot.ratio_den[0] == 0 && c % slot.ratio_den[1] == 0) {
        result = to_key(static_cast<int>(r / slot.ratio_den[0]), static_cast<int>(c / slot.ratio_den[1]));
      }
    }
    slot.key[p] = kept_inside(slot, result, y, x);
  }
}
CU_KERNEL(propagated, kThreads)

__device__ inline int centre_of(int block_number, int block, int length) {
  const int start = block_number * block, left = length - start;
  return start + (left < block ? left : block) / 2;
}

// Motion over two steps (MotionField.compose): out(p) = older(p − newer(p)) + newer(p), p the centre of each block.
// vectors int16 [rows, cols, 2], x then y, quarter pixels; valid [rows, cols].
extern "C" __global__ void __launch_bounds__(kThreads, kBlocks)
    compose(const short* older, const unsigned char* older_valid, const short* newer, const unsigned char* newer_valid,
            short* out, unsigned char* out_valid, int height, int width, int block) {
  const int rows = (height + block - 1) / block, cols = (width + block - 1) / block;
  for (int b = blockIdx.x * kThreads + threadIdx.x; b < rows * cols; b += gridDim.x * kThreads) {
    const int centre_y = centre_of(b / cols, block, height), centre_x = centre_of(b % cols, block, width);
    const int x = centre_x - static_cast<int>(round_away(newer[2 * b], kQuarters));
    const int y = centre_y - static_cast<int>(round_away(newer[2 * b + 1], kQuarters));
    int total[2] = {0, 0};
    bool valid = newer_valid[b] && x >= 0 && x < width && y >= 0 && y < height;
    if (valid) {
      const int from = y / block * cols + x / block;
      valid = older_valid[from];
      total[0] = valid ? older[2 * from] + newer[2 * b] : 0;
      total[1] = valid ? older[2 * from + 1] + newer[2 * b + 1] : 0;
      const int end_x = centre_x - static_cast<int>(round_away(total[0], kQuarters));
      const int end_y = centre_y - static_cast<int>(round_away(total[1], kQuarters));
      valid = valid && end_x >= 0 && end_x < width && end_y >= 0 && end_y < height;
    }
    out[2 * b] = static_cast<short>(total[0]);
    out[2 * b + 1] = static_cast<short>(total[1]);
    out_valid[b] = valid;
  }
}
CU_KERNEL(compose, kThreads)
