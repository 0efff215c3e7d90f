#include "conv.h"

#include <algorithm>

#include "../library.h"
#include "runs.h"

namespace dedelayed::sparse {
namespace {

// What both number formats have; kernels are overloaded by theirs.
template <class T>
Variant<T> in_floats(int instruction_set) {
#if defined(DEDELAYED_X86)
  if (instruction_set >= kAvx512) return {convolve_avx512, kBlocksAvx512};
  if (instruction_set >= kAvx2 && __builtin_cpu_supports("fma")) return {convolve_avx2, kBlocksAvx2};
#endif
  static_cast<void>(instruction_set);
  return {convolve_portable, kBlocksPortable};
}

}  // namespace

template <>
Variant<float> convolve_variant(int instruction_set) {
  return in_floats<float>(instruction_set);
}

template <>
Variant<Bf16> convolve_variant(int instruction_set) {
#if defined(DEDELAYED_AMX)
  if (instruction_set == kAmx) return {convolve_amx, kBlocksAmx, scratch_amx};
  if (instruction_set == kAvx512Bf16) return {convolve_avx512_bf16, kBlocksAvx512Bf16};
#endif
  return in_floats<Bf16>(instruction_set);
}

Blocks convolve_blocks(const Plan& plan) {
  return plan.element == Element::kBf16 ? convolve_variant<Bf16>(plan.instruction_set).blocks
                                        : convolve_variant<float>(plan.instruction_set).blocks;
}

Aligned<float> packed(const float* weight, const std::vector<int>& lengths, int channels, Blocks blocks) {
  std::vector<int> depth;  // positions in their order, -1 for zeros
  const auto fill_up = [&] {
    while (depth.size() % static_cast<std::size_t>(blocks.together)) depth.push_back(-1);
  };
  int next = 0;
  for (const int length : lengths) {
    for (int i = 0; i < length; ++i) depth.push_back(next++);
    if (blocks.by_segment) fill_up();
  }
  fill_up();
  Aligned<float> result;
  for (int first = 0; first < channels; first += blocks.block) {
    const int used = std::min(blocks.block, channels - first);
    const std::size_t lanes = static_cast<std::size_t>((used + blocks.wide - 1) / blocks.wide) * blocks.wide;
    const std::size_t pair = blocks.together > 1 ? 2 : 1, begin = result.size();
    std::vector<float> values(depth.size() * lanes, 0.0f);
    for (std::size_t d = 0; d < depth.size(); ++d) {
      if (depth[d] < 0) continue;
      const float* from = weight + static_cast<std::size_t>(depth[d]) * channels + first;
      for (int c = 0; c < used; ++c) values[(d / pair * lanes + static_cast<std::size_t>(c)) * pair + d % pair] = from[c];
    }
    result.resize(begin + values.size() / pair);
    if (pair == 1) {
      std::copy(values.begin(), values.end(), result.begin() + static_cast<std::ptrdiff_t>(begin));
    } else {
      Bf16* pairs = reinterpret_cast<Bf16*>(result.data() + begin);
      runs_portable<Bf16>().keep(values.data(), static_cast<std::ptrdiff_t>(values.size()), nullptr, 0, pairs);
    }
  }
  return result;
}

void pad_bias(Aligned<float>& bias, Blocks blocks) {
  bias.resize((bias.size() + blocks.wide - 1) / blocks.wide * blocks.wide, 0.0f);
}

}  // namespace dedelayed::sparse
