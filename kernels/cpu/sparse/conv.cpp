#include "conv.h"

#include "../library.h"

namespace dedelayed::sparse {

Convolve convolve_variant(int instruction_set) {
  switch (instruction_set) {
#if defined(DEDELAYED_X86)
    case kAvx512: return convolve_avx512;
    case kAvx2: return __builtin_cpu_supports("fma") ? convolve_avx2 : convolve_portable;
#endif
    default: return convolve_portable;
  }
}

std::vector<float> packed(const float* weight, int depth, int channels) {
  const int lanes = (channels + kLanes - 1) / kLanes;
  std::vector<float> result(static_cast<std::size_t>(lanes) * kLanes * depth, 0.0f);
  float* to = result.data();
  for (int lane = 0; lane < lanes; lane += block_width(lanes - lane)) {
    const int first = lane * kLanes, width = block_width(lanes - lane) * kLanes;
    for (int d = 0; d < depth; ++d, to += width) {
      for (int c = 0; c < width && first + c < channels; ++c) {
        to[c] = weight[static_cast<std::size_t>(d) * channels + first + c];
      }
    }
  }
  return result;
}

void pad_bias(std::vector<float>& bias) { bias.resize((bias.size() + kLanes - 1) / kLanes * kLanes, 0.0f); }

}  // namespace dedelayed::sparse
