#include "levels.h"

#include "../library.h"

#if defined(DEDELAYED_X86)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq")

namespace dedelayed::sparse {
namespace {

#include "levels_steps.h"

}  // namespace

std::uint64_t unexplained_levels_avx512(const View<const std::uint8_t>& from, const Patch& patch,
                                      const View<const std::uint8_t>& now) {
  return unexplained_levels(from, patch, now);
}

}  // namespace dedelayed::sparse
#endif
