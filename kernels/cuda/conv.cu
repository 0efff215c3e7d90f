// Convolution of the positions of a list, as a product of gathered inputs and weights.
//
// A block takes 64 positions and up to 64 output channels. The inputs that a position reads lie row after row in its
// footprint; steps of `kDepth` of them are fetched while the step before is multiplied. A position's sum has one order,
// whatever it is computed with, so a recomputed position has the bits that a dense pass gives it.
#include "commit.h"
#include "tile.h"

// Place of a thread in the footprint: a tap, and the input channel from which it takes four.
struct Place {
  int row, col, channel;

  __device__ void advance(int steps, int channels, int kernel_cols) {
    channel += steps;
    while (channel >= channels) {
      channel -= channels;
      if (++col == kernel_cols) col = 0, ++row;
    }
  }
};

template <class T>
__device__ inline void fetch_inputs(const Source& in, const int kernel[2], int y, int x, Place place, bool inside, T* quad) {
  for (int j = 0; j < 4; ++j) {
    quad[j] = from_float<T>(0.0f);
    if (inside && place.row < kernel[0]) {
      const int row = in.rows.tap[y * kernel[0] + place.row], col = in.cols.tap[x * kernel[1] + place.col];
      if (row < in.height && col < in.width) {
        const long long cell = static_cast<long long>(row) * in.width + col;
        quad[j] = static_cast<const T*>(in.origin)[cell * in.channels + place.channel];
      }
    }
    place.advance(1, in.channels, kernel[1]);
  }
}

// The same where the channels of a cell come in fours: one look at the footprint.
template <class T>
__device__ inline void fetch_four(const Source& in, const int kernel[2], int y, int x, Place place, bool inside, T* quad) {
  for (int j = 0; j < 4; ++j) quad[j] = from_float<T>(0.0f);
  if (!inside || place.row >= kernel[0]) return;
  const int row = in.rows.tap[y * kernel[0] + place.row], col = in.cols.tap[x * kernel[1] + place.col];
  if (row >= in.height || col >= in.width) return;
  const long long cell = static_cast<long long>(row) * in.width + col;
  const T* from = static_cast<const T*>(in.origin) + cell * in.channels + place.channel;
  for (int j = 0; j < 4; ++j) quad[j] = from[j];
}

template <class T, int kColumns>
__device__ void convolve(const Layer& layer) {
  using Sums = Tile<T, kColumns>;
  constexpr int kInputs = Sums::kRoomA + Sums::kRoomB, kResults = kTileRows * kColumns;
  constexpr int kQuads = kTileRows * Sums::kDepth / 4 / kThreads, kWeights = Sums::kDepth * kColumns / kThreads;
  CU_SHARED(float, room, [kInputs > kResults ? kInputs : kResults]);
  CU_SHARED(int, positions, [kTileRows]);

  const Source& in = layer.sources[0];
  const int count = static_cast<int>(*layer.count), first = blockIdx.y * kColumns;
  const int left = layer.channels - first, channels = left < kColumns ? left : kColumns;
  const bool in_fours = in.channels % 4 == 0;
  const T* weight = static_cast<const T*>(layer.weight);
  constexpr int kAcross = Sums::kDepth / 4;  // threads that share a position
  const int k = threadIdx.x % kAcross * 4;

  for (int start = blockIdx.x * kTileRows; start < count; start += gridDim.x * kTileRows) {
    for (int i = threadIdx.x; i < kTileRows; i += kThreads) {
      positions[i] = start + i < count ? layer.list[start + i] : -1;
    }
    __syncthreads();
    Sums sums(room);
    int y[kQuads], x[kQuads];
    bool inside[kQuads];
    for (int q = 0; q < kQuads; ++q) {
      const int position = positions[threadIdx.x / kAcross + q * (kThreads / kAcross)];
      inside[q] = position >= 0;
      y[q] = inside[q] ? position / layer.width : 0;
      x[q] = inside[q] ? position % layer.width : 0;
    }
    Place place{0, 0, 0};
    place.advance(k, in.channels, layer.kernel[1]);
    T inputs[kQuads][4], weights[kWeights];
    const auto fetch = [&](int depth) {
      for (int q = 0; q < kQuads; ++q) {
        if (in_fours) {
          fetch_four(in, layer.kernel, y[q], x[q], place, inside[q], inputs[q]);
        } else {
          fetch_inputs(in, layer.kernel, y[q], x[q], place, inside[q], inputs[q]);
        }
      }
      for (int j = 0; j < kWeights; ++j) {
        const int e = threadIdx.x + j * kThreads;
        weights[j] = weight[static_cast<long long>(depth + e / kColumns) * layer.weight_pitch + first + e % kColumns];
      }
    };
    fetch(0);
    for (int depth = 0; depth < layer.depth; depth += Sums::kDepth) {
      for (int q = 0; q < kQuads; ++q) {
        for (int j = 0; j < 4; ++j) sums.put_a(threadIdx.x / kAcross + q * (kThreads / kAcross), k + j, inputs[q][j]);
      }
      for (int j = 0; j < kWeights; ++j) {
        const int e = threadIdx.x + j * kThreads;
        sums.put_b(e / kColumns, e % kColumns, weights[j]);
      }
      __syncthreads();
      place.advance(Sums::kDepth, in.channels, layer.kernel[1]);
      if (depth + Sums::kDepth < layer.depth) fetch(depth + Sums::kDepth);
      sums.multiply();
      __syncthreads();
    }
    sums.store(room);
    __syncthreads();
    const int here = count - start < kTileRows ? count - start : kTileRows;
    commit_tile<T>(layer, positions, room, kColumns, here, start, first, channels, layer.bias);
    __syncthreads();
  }
}

#define CONV_KERNEL(name, type, columns)                                                                 \
  extern "C" __global__ void __launch_bounds__(kThreads, kConvBlocks) name(const Layer* layers, int number) {         \
    convolve<type, columns>(layers[number]);                                                             \
  }                                                                                                      \
  CU_KERNEL(name, kThreads)

CONV_KERNEL(conv16_f32, float, 16)
CONV_KERNEL(conv32_f32, float, 32)
CONV_KERNEL(conv64_f32, float, 64)
CONV_KERNEL(conv16_f16, __half, 16)
CONV_KERNEL(conv32_f16, __half, 32)
CONV_KERNEL(conv64_f16, __half, 64)
