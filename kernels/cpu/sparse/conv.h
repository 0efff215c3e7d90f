// Direct convolution of any list of pixels, from a padded channels-last map: the kernel that all the time is spent in.
#pragma once

#include <cstdint>
#include <vector>

#include "plan.h"

namespace dedelayed::sparse {

// Output channels that each variant computes together, and one vector of them.
struct Blocks {
  int block, wide;
};
constexpr Blocks kBlocksPortable{16, 4}, kBlocksAvx2{16, 8}, kBlocksAvx512{32, 16};

// One node's convolution. Each pixel is computed by itself, in the order of the weights, whatever it is computed
// together with: a recomputed pixel has the bits that a dense pass gives it.
struct ConvJob {
  const float* weight;            // packed for the variant
  const float* bias;              // alike
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

// A kernel, and the blocks that it reads.
struct Variant {
  Convolve convolve;
  Blocks blocks;
};
Variant convolve_variant(int instruction_set);

// weight [depth, channels] in the form that the variant's kernel reads: block by block [depth, lanes], of the last block as
// many vectors as hold channels. A bias is padded alike.
std::vector<float> packed(const float* weight, int depth, int channels, Blocks blocks);
void pad_bias(std::vector<float>& bias, Blocks blocks);

}  // namespace dedelayed::sparse
