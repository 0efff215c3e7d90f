// The number formats that feature maps are kept in. All arithmetic is in float; a result is rounded once, when it is kept.
#pragma once

#include <cstdint>
#include <cstring>

namespace dedelayed::sparse {

// bfloat16: the upper half of a float.
struct Bf16 {
  std::uint16_t bits;
};

inline float widened(float x) { return x; }
inline float widened(Bf16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

}  // namespace dedelayed::sparse
