// Direct convolution of any list of pixels, from a padded channels-last map: the kernel that all the time is spent in.
#pragma once

#include <cstdint>
#include <vector>

#include "plan.h"

namespace dedelayed::sparse {

constexpr int kLanes = 16;  // output channels are computed in blocks of this many, in every variant

// One node's convolution. Each pixel is computed by itself, in the order of the weights, whatever it is computed
// together with: a recomputed pixel has the bits that a dense pass gives it.
struct ConvJob {
  const float* weight;            // [blocks, depth, kLanes · width of the block]
  const float* bias;              // [channels rounded up to kLanes]
  const std::int64_t* offsets;    // [segments] floats from a pixel's first tap
  const int* lengths;             // [segments] floats; their sum is the depth
  int segments, depth, channels;  // output channels
  const std::int32_t* places;     // [pixels] where in the output each pixel's result goes; null: one after the other
};

// Compute `count` pixels: pixels[i] is the first tap of pixel i, its result goes to out + its place · channels.
using Convolve = void (*)(const ConvJob&, const float* const* pixels, int count, float* out);
void convolve_portable(const ConvJob&, const float* const* pixels, int count, float* out);
void convolve_avx2(const ConvJob&, const float* const* pixels, int count, float* out);
void convolve_avx512(const ConvJob&, const float* const* pixels, int count, float* out);

Convolve convolve_variant(int instruction_set);

// Blocks of a packed weight, widest first: two of kLanes side by side while there are as many, then one.
constexpr int block_width(int lanes_left) { return lanes_left > 1 ? 2 : 1; }

// weight [depth, channels] in the form that the kernels read, and a bias padded alike.
std::vector<float> packed(const float* weight, int depth, int channels);
void pad_bias(std::vector<float>& bias);

}  // namespace dedelayed::sparse
