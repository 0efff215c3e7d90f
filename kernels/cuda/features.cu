// Remote features as they come from the link, brought to now: dequantised, carried along motion, added.
// dedelayed_ros/link/features.py (a scale a channel) and frames/warping.py (bilinear) are the specification.
#include "device.h"

// As torch.lerp has it.
__device__ inline float interpolated(float a, float b, float weight) {
  const float step = __fadd_rn(b, -a);
  return weight < 0.5f ? __fadd_rn(a, __fmul_rn(weight, step)) : __fadd_rn(b, -__fmul_rn(step, __fadd_rn(1.0f, -weight)));
}

__device__ inline int clamped_to(int value, int length) { return value < 0 ? 0 : value < length ? value : length - 1; }

__device__ inline int divided(int value, int divisor) {  // rounded down
  return value >= 0 ? value / divisor : -((divisor - 1 - value) / divisor);
}

// quantised int8 [channels, height, width] · scales [channels], at p − m(p) / stride, plus base or nothing (null).
// vectors int16 [rows, cols, 2], x then y, quarter pixels, of blocks of `block` pixels, a multiple of the `stride` pixels
// that a cell covers; null: nothing moved. Where there is no source, the features are zero.
template <class T>
__device__ void carry_features(const signed char* quantised, const float* scales, const short* vectors,
                               const unsigned char* valid, int cols, int block, int stride, const T* base, T* out,
                               int channels, int height, int width) {
  const int cells = height * width, unit = 4 * stride, half = unit / 2;
  for (int e = blockIdx.x * kThreads + threadIdx.x; e < channels * cells; e += gridDim.x * kThreads) {
    const int c = e / cells, p = e % cells, py = p / width, px = p % width;
    const int b = vectors ? py * stride / block * cols + px * stride / block : 0;
    const int y = py * unit - (vectors ? vectors[2 * b + 1] : 0), x = px * unit - (vectors ? vectors[2 * b] : 0);
    const bool inside = (!vectors || valid[b]) && y >= -half && y < height * unit - half && x >= -half && x < width * unit - half;
    float value = 0.0f;
    if (inside) {
      const int row = divided(y, unit), col = divided(x, unit);
      const float down = static_cast<float>(y - row * unit) / static_cast<float>(unit);
      const float right = static_cast<float>(x - col * unit) / static_cast<float>(unit);
      const signed char* plane = quantised + static_cast<long long>(c) * cells;
      float corner[2][2];
      for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 2; ++j) {
          const int at = clamped_to(row + i, height) * width + clamped_to(col + j, width);
          corner[i][j] = __fmul_rn(static_cast<float>(plane[at]), scales[c]);
        }
      }
      value = interpolated(interpolated(corner[0][0], corner[0][1], right), interpolated(corner[1][0], corner[1][1], right), down);
    }
    out[e] = from_float<T>(base ? to_float(base[e]) + value : value);
  }
}

#define FEATURE_KERNEL(name, type)                                                                                       \
  extern "C" __global__ void __launch_bounds__(kThreads, kBlocks)                                                        \
      name(const signed char* quantised, const float* scales, const short* vectors, const unsigned char* valid,         \
           int cols, int block, int stride, const type* base, type* out, int channels, int height, int width) {         \
    carry_features<type>(quantised, scales, vectors, valid, cols, block, stride, base, out, channels, height, width);   \
  }                                                                                                                      \
  CU_KERNEL(name, kThreads)

FEATURE_KERNEL(features_f32, float)
FEATURE_KERNEL(features_f16, __half)
