// Direct convolution of any list of pixels, from a padded channels-last map: the kernel that all the time is spent in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "aligned.h"
#include "element.h"
#include "plan.h"

namespace dedelayed::sparse {

// How a variant reads weights: output channels that it computes together, and one vector of them; of the depth, so many
// positions that it multiplies together. More than one: weights are bfloat16.
struct Blocks {
  int block, wide, together = 1;
  bool by_segment = false;  // each segment is filled up to a multiple of that, and not the whole depth
};
constexpr Blocks kBlocksPortable{16, 4}, kBlocksAvx2{16, 8}, kBlocksAvx512{32, 16}, kBlocksAvx512Bf16{32, 16, 2, true},
    kBlocksAmx{16, 16, 32};

// One node's convolution. Each pixel is computed by itself, in the order of the weights, whatever it is computed
// together with: a recomputed pixel has the bits that a dense pass gives it.
struct ConvJob {
  const float* weight;            // packed for the variant
  const float* bias;              // alike
  const std::int64_t* offsets;    // [segments] values from a pixel's first tap
  const int* lengths;             // [segments] values; their sum is the depth
  int segments, depth, channels;  // output channels
  const std::int32_t* places;     // [pixels] where in the output each pixel's result goes; null: one after the other
  std::ptrdiff_t pitch;           // values from one place to the next
  float low, high;                // between which results are kept; what is not a number stays none
  std::ptrdiff_t step;            // values from a pixel to its neighbour in the row
  void* scratch;                  // as much as the variant asks for
};

// Compute `count` pixels: pixels[i] is the first tap of pixel i, its result goes to out + its place · pitch.
template <class T>
using Convolve = void (*)(const ConvJob&, const T* const* pixels, int count, T* out);
void convolve_portable(const ConvJob&, const float* const* pixels, int count, float* out);
void convolve_portable(const ConvJob&, const Bf16* const* pixels, int count, Bf16* out);
void convolve_avx2(const ConvJob&, const float* const* pixels, int count, float* out);
void convolve_avx2(const ConvJob&, const Bf16* const* pixels, int count, Bf16* out);
void convolve_avx512(const ConvJob&, const float* const* pixels, int count, float* out);
void convolve_avx512(const ConvJob&, const Bf16* const* pixels, int count, Bf16* out);
void convolve_avx512_bf16(const ConvJob&, const Bf16* const* pixels, int count, Bf16* out);
void convolve_amx(const ConvJob&, const Bf16* const* pixels, int count, Bf16* out);
std::size_t scratch_amx(int depth, int segments);

// A kernel, the blocks that it reads, and the bytes of scratch that it asks for; null: none.
template <class T>
struct Variant {
  Convolve<T> convolve;
  Blocks blocks;
  std::size_t (*scratch)(int depth, int segments) = nullptr;
};
template <class T>
Variant<T> convolve_variant(int instruction_set);
Blocks convolve_blocks(const Plan& plan);

// Pixels beyond the last one that a kernel may read, in steps.
constexpr int kStepsBeyond = 15;

// weight [depth, channels] in the form that the variant's kernel reads: block by block [depth, lanes], of the last block as
// many vectors as hold channels. Where positions are multiplied together, in pairs: [depth / 2, lanes, 2] bfloat16, filled up
// with zeros. `lengths` of the segments, whose sum is the depth. A bias is padded alike.
Aligned<float> packed(const float* weight, const std::vector<int>& lengths, int channels, Blocks blocks);
void pad_bias(Aligned<float>& bias, Blocks blocks);

}  // namespace dedelayed::sparse
