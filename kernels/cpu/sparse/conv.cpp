#include "conv.h"

#include <algorithm>

#include "../library.h"
#include "runs.h"

namespace dedelayed::sparse {
namespace {

// What both number formats have; kernels are overloaded by theirs.
template <class T>
Variant<T> in_floats(int instruction_set) {
  const Variant<T> portable{convolve_portable, kBlocksPortable};
  switch (instruction_set) {
#if defined(DEDELAYED_X86)
    case kAmx:
    case kAvx512: return {convolve_avx512, kBlocksAvx512};
    case kAvx2: return __builtin_cpu_supports("fma") ? Variant<T>{convolve_avx2, kBlocksAvx2} : portable;
#endif
    default: return portable;
  }
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
#endif
  return in_floats<Bf16>(instruction_set);
}

Blocks convolve_blocks(const Plan& plan) {
  return plan.element == Element::kBf16 ? convolve_variant<Bf16>(plan.instruction_set).blocks
                                        : convolve_variant<float>(plan.instruction_set).blocks;
}

Aligned<float> packed(const float* weight, int depth, int channels, Blocks blocks) {
  Aligned<float> result;
  const int whole = (depth + blocks.together - 1) / blocks.together * blocks.together;
  for (int first = 0; first < channels; first += blocks.block) {
    const int used = std::min(blocks.block, channels - first), lanes = (used + blocks.wide - 1) / blocks.wide * blocks.wide;
    const std::size_t begin = result.size();
    const auto from = [&](int d) { return weight + static_cast<std::size_t>(d) * channels + first; };
    if (blocks.together == 1) {
      result.resize(begin + static_cast<std::size_t>(depth) * lanes, 0.0f);
      for (int d = 0; d < depth; ++d) std::copy_n(from(d), used, result.begin() + begin + static_cast<std::ptrdiff_t>(d) * lanes);
      continue;
    }
    std::vector<float> pairs(static_cast<std::size_t>(whole) * lanes, 0.0f);
    for (int d = 0; d < depth; ++d) {
      for (int c = 0; c < used; ++c) pairs[(static_cast<std::size_t>(d / 2) * lanes + c) * 2 + d % 2] = from(d)[c];
    }
    result.resize(begin + pairs.size() / 2);
    round_all(pairs.data(), static_cast<std::ptrdiff_t>(pairs.size()), reinterpret_cast<Bf16*>(result.data() + begin));
  }
  return result;
}

void pad_bias(Aligned<float>& bias, Blocks blocks) {
  bias.resize((bias.size() + blocks.wide - 1) / blocks.wide * blocks.wide, 0.0f);
}

}  // namespace dedelayed::sparse
