#include "levels.h"

#include "../library.h"

#if defined(DEDELAYED_X86)
#pragma GCC target("avx2")

namespace dedelayed::sparse {
namespace {

#include "levels_steps.h"

}  // namespace

std::uint64_t unexplained_levels_avx2(const View<const std::uint8_t>& from, const Patch& patch,
                                      const View<const std::uint8_t>& now) {
  return unexplained_levels(from, patch, now);
}

}  // namespace dedelayed::sparse
#endif
