#include "conv.h"

#include <algorithm>

#include "../library.h"

namespace dedelayed::sparse {

Variant convolve_variant(int instruction_set) {
  constexpr Variant kPortable{convolve_portable, kBlocksPortable};
  switch (instruction_set) {
#if defined(DEDELAYED_X86)
    case kAvx512: return {convolve_avx512, kBlocksAvx512};
    case kAvx2: return __builtin_cpu_supports("fma") ? Variant{convolve_avx2, kBlocksAvx2} : kPortable;
#endif
    default: return kPortable;
  }
}

std::vector<float> packed(const float* weight, int depth, int channels, Blocks blocks) {
  std::vector<float> result;
  for (int first = 0; first < channels; first += blocks.block) {
    const int used = std::min(blocks.block, channels - first), lanes = (used + blocks.wide - 1) / blocks.wide * blocks.wide;
    std::size_t to = result.size();
    result.resize(to + static_cast<std::size_t>(depth) * lanes, 0.0f);
    for (int d = 0; d < depth; ++d, to += lanes) {
      std::copy_n(weight + static_cast<std::size_t>(d) * channels + first, used, result.begin() + to);
    }
  }
  return result;
}

void pad_bias(std::vector<float>& bias, Blocks blocks) {
  bias.resize((bias.size() + blocks.wide - 1) / blocks.wide * blocks.wide, 0.0f);
}

}  // namespace dedelayed::sparse
