// The end of every operation: what follows it element by element, and what of it is really new.
#pragma once

#include "plan.h"

// Clamping that lets through what is not a number.
__device__ inline float clamped(float x, float low, float high) {
  const float above = x < low ? low : x;
  return above > high ? high : above;
}

constexpr int kAddend = 23;  // not a function of one number: the input number `a` is added

// The functions of backends/unary.py, in its order.
__device__ inline float apply(const Function& f, float x) {
  switch (f.code) {
    case 0: return clamped(x, f.a, f.b);
    case 1: return x > 0.0f ? x : x * f.a;
    case 2: return x * clamped(x + 3.0f, 0.0f, 6.0f) / 6.0f;
    case 3: return clamped(x + 3.0f, 0.0f, 6.0f) / 6.0f;
    case 4: return 1.0f / (1.0f + expf(-x));
    case 5: return x / (1.0f + expf(-x));
    case 6: return tanhf(x);
    case 7: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case 8: return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case 9: return x > 0.0f ? x * f.b : expm1f(x * f.c) * f.a * f.b;
    case 10: return expf(x);
    case 11: return logf(x);
    case 12: return sqrtf(x);
    case 13: return fabsf(x);
    case 14: return -x;
    case 15: return floorf(x);
    case 16: return ceilf(x);
    case 17: return rintf(x);
    case 18: return x + f.a;
    case 19: return x * f.a;
    case 20: return x / f.a;
    case 21: return f.a - x;
    default: return x * x;
  }
}

// Of a node's addend the value at that place, which is the same in both maps.
template <class T>
__device__ inline float added(const Layer& layer, const Function& function, long long at) {
  return to_float(static_cast<const T*>(layer.sources[static_cast<int>(function.a)].origin)[at]);
}

__device__ inline bool agrees(float fresh, float cached, float threshold) {
  return threshold == 0.0f ? fresh == cached : fabsf(fresh - cached) <= threshold;
}

// Whether a position with these values keeps its cached ones. Said by the whole warp.
__device__ inline bool is_kept(const Layer& layer, int position, bool unlike) {
  const bool usable = layer.key[position] != kNowhere;
  const bool flagged = layer.flags && contains(layer.flags, layer.width, position / layer.width, position % layer.width);
  return !__any_sync(kFullWarp, unlike) && usable && !flagged;
}

// By one lane: the position is new, and lies where it belongs. `count` + 1 is how many are.
__device__ inline void mark(const Layer& layer, int position) {
  const int y = position / layer.width, x = position % layer.width;
  const unsigned bit = 1u << (x % 32);
  const unsigned before = atomicOr(layer.dirty + y * words_of(layer.width) + x / 32, bit);
  if (!(before & bit)) atomicAdd(layer.count + 1, 1u);
  if (layer.remainder) layer.remainder[position] = layer.remainder[layer.height * layer.width + position] = 0;
}

// Channels first … first + channels of `count` positions, a warp a position. fresh [count, pitch] is what the operation
// computed, shared by the block; the entry behind positions[i] is number[0] + i of the layer's list.
//
// With a threshold, all channels of a position are kept or none: where a block has only some of them it leaves them to
// the kernel `commit` (layer.staged). Without one it may decide alone, since what it keeps is equal.
template <class T>
__device__ void commit_tile(const Layer& layer, const int* positions, const float* fresh, int pitch, int count,
                            int first_number, int first, int channels, const float* bias) {
  const int lane = threadIdx.x % 32;
  for (int i = threadIdx.x / 32; i < count; i += kWarps) {
    const int position = positions[i];
    const long long at = static_cast<long long>(position) * layer.channels + first;
    T* cell = static_cast<T*>(layer.origin) + at;
    const bool usable = layer.key[position] != kNowhere;
    T value[2];
    bool unlike = false;
    for (int j = 0; j < 2; ++j) {
      const int c = lane + 32 * j;
      if (c >= channels) continue;
      float x = fresh[i * pitch + c] + (bias ? bias[first + c] : 0.0f);
      for (int f = 0; f < layer.function_count; ++f) {
        const Function& function = layer.functions[f];
        x = function.code == kAddend ? x + added<T>(layer, function, at + c) : apply(function, x);
      }
      value[j] = from_float<T>(x);
      if (usable && !layer.staged) unlike |= !agrees(to_float(value[j]), to_float(cell[c]), layer.threshold);
    }
    T* to = cell;
    if (layer.staged) {
      to = static_cast<T*>(layer.fresh) + static_cast<long long>(first_number + i) * layer.channels + first;
    } else if (is_kept(layer, position, unlike)) {
      continue;
    } else if (lane == 0) {
      mark(layer, position);
    }
    for (int j = 0; j < 2; ++j) {
      if (lane + 32 * j < channels) to[lane + 32 * j] = value[j];
    }
  }
}
