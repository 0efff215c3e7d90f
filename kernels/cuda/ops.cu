// Operations whose outputs are computed one by one: a thread has a channel of a position. backends/evaluate.py is the
// specification.
#include "commit.h"

constexpr int kValues = 2048;  // results of a block at a time

// Taps of one position along both axes.
struct Footprint {
  const int *row, *col;
  int rows, cols;

  __device__ Footprint(const Source& in, int y, int x)
      : row(in.rows.tap + y * in.rows.taps), col(in.cols.tap + x * in.cols.taps), rows(in.rows.taps), cols(in.cols.taps) {}
};

template <class T>
__device__ inline float read(const Source& in, int row, int col, int channel) {
  const long long cell = static_cast<long long>(row) * in.width + col;
  return to_float(static_cast<const T*>(in.origin)[cell * in.channels + channel]);
}

// Convolution in groups and transposed: tap by tap, by the tables of the footprint. weight [taps, inputs of a group, out].
template <class T>
struct Taps {
  static __device__ float value(const Layer& layer, int y, int x, int channel) {
    const Source& in = layer.sources[0];
    const Footprint taps(in, y, x);
    const int inputs = in.channels / layer.groups, first = channel / (layer.channels / layer.groups) * inputs;
    float sum = layer.bias[channel];
    for (int r = 0; r < taps.rows; ++r) {
      if (taps.row[r] == in.height) continue;
      for (int c = 0; c < taps.cols; ++c) {
        if (taps.col[c] == in.width) continue;
        const T* weight = static_cast<const T*>(layer.weight) +
                          static_cast<long long>(r * taps.cols + c) * inputs * layer.channels + channel;
        for (int k = 0; k < inputs; ++k) {
          sum += read<T>(in, taps.row[r], taps.col[c], first + k) * to_float(weight[static_cast<long long>(k) * layer.channels]);
        }
      }
    }
    return sum;
  }
};

// mode: 0 largest, 1 smallest, 2 sum, 3 mean, 4 mean of rows of means. What is not a number wins, as in torch.
template <class T>
struct Pool {
  static __device__ float value(const Layer& layer, int y, int x, int channel) {
    const Source& in = layer.sources[0];
    const Footprint taps(in, y, x);
    float sum = layer.mode == 0 ? -infinity() : layer.mode == 1 ? infinity() : 0.0f;
    for (int r = 0; r < taps.rows; ++r) {
      if (taps.row[r] == in.height) continue;
      for (int c = 0; c < taps.cols; ++c) {
        if (taps.col[c] == in.width) continue;
        const float other = read<T>(in, taps.row[r], taps.col[c], channel);
        if (layer.mode == 0) {
          sum = other > sum || other != other ? other : sum;
        } else if (layer.mode == 1) {
          sum = other < sum || other != other ? other : sum;
        } else {
          sum += other;
        }
      }
    }
    const float h = layer.factors[0][y], w = layer.factors[1][x];
    return layer.mode == 3 ? sum / (h * w) : layer.mode == 4 ? sum / h / w : sum;
  }
};

// Linear resampling: factors hold the weight of every tap.
template <class T>
struct Resize {
  static __device__ float value(const Layer& layer, int y, int x, int channel) {
    const Source& in = layer.sources[0];
    const Footprint taps(in, y, x);
    float sum = 0.0f;
    for (int r = 0; r < taps.rows; ++r) {
      if (taps.row[r] == in.height) continue;
      float line = 0.0f;
      for (int c = 0; c < taps.cols; ++c) {
        if (taps.col[c] == in.width) continue;
        line += layer.factors[1][x * taps.cols + c] * read<T>(in, taps.row[r], taps.col[c], channel);
      }
      sum += layer.factors[0][y * taps.rows + r] * line;
    }
    return sum;
  }
};

// What an operand of a channel is: a channel of an input at the position that it reads, a constant, or padding.
template <class T>
__device__ inline float picked(const Layer& layer, const Pick& pick, int y, int x) {
  if (pick.input < 0) return pick.constant;
  const Source& in = layer.sources[pick.input];
  const int row = in.rows.tap[y * in.rows.taps], col = in.cols.tap[x * in.cols.taps];
  return row == in.height || col == in.width ? layer.fill : read<T>(in, row, col, pick.channel);
}

template <class T>
struct Move {
  static __device__ float value(const Layer& layer, int y, int x, int channel) {
    return picked<T>(layer, layer.picks[channel], y, x);
  }
};

// mode: 0 add, 1 subtract, 2 multiply, 3 divide, 4 maximum, 5 minimum, 6 PReLU.
template <class T>
struct Binary {
  static __device__ float value(const Layer& layer, int y, int x, int channel) {
    const float a = picked<T>(layer, layer.picks[channel], y, x);
    const float b = picked<T>(layer, layer.picks[layer.channels + channel], y, x);
    switch (layer.mode) {
      case 0: return a + layer.alpha * b;
      case 1: return a - layer.alpha * b;
      case 2: return a * b;
      case 3: return a / b;
      case 4: return a > b || a != a ? a : b;
      case 5: return a < b || a != a ? a : b;
      default: return a > 0.0f ? a : a * b;
    }
  }
};

// layer.lanes channels, a power of two from 8 to 64, of as many positions as there is room for.
template <class T, class Operation>
__device__ void run(const Layer& layer) {
  CU_SHARED(float, fresh, [kValues]);
  CU_SHARED(int, positions, [kValues / 8]);
  const int lanes = layer.lanes, rows = kValues / lanes, count = static_cast<int>(*layer.count);
  const int first = blockIdx.y * lanes, left = layer.channels - first, channels = left < lanes ? left : lanes;
  for (int start = blockIdx.x * rows; start < count; start += gridDim.x * rows) {
    const int here = count - start < rows ? count - start : rows;
    for (int i = threadIdx.x; i < here; i += kThreads) positions[i] = layer.list[start + i];
    __syncthreads();
    for (int e = threadIdx.x; e < here * lanes; e += kThreads) {
      const int position = positions[e / lanes], c = e % lanes;
      if (c < channels) fresh[e] = Operation::value(layer, position / layer.width, position % layer.width, first + c);
    }
    __syncthreads();
    commit_tile<T>(layer, positions, fresh, lanes, here, start, first, channels, nullptr);
    __syncthreads();
  }
}

#define OP_KERNEL(name, type, operation)                                                                 \
  extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) name(const Layer* layers, int number) {         \
    run<type, operation<type>>(layers[number]);                                                          \
  }                                                                                                      \
  CU_KERNEL(name, kThreads)

OP_KERNEL(taps_f32, float, Taps)
OP_KERNEL(taps_f16, __half, Taps)
OP_KERNEL(pool_f32, float, Pool)
OP_KERNEL(pool_f16, __half, Pool)
OP_KERNEL(resize_f32, float, Resize)
OP_KERNEL(resize_f16, __half, Resize)
OP_KERNEL(move_f32, float, Move)
OP_KERNEL(move_f16, __half, Move)
OP_KERNEL(binary_f32, float, Binary)
OP_KERNEL(binary_f16, __half, Binary)
