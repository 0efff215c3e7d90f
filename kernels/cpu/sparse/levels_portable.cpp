#include "levels.h"

#include "../library.h"

namespace dedelayed::sparse {
namespace {

#include "levels_steps.h"

}  // namespace

std::uint64_t unexplained_levels_portable(const View<const std::uint8_t>& from, const Patch& patch,
                                          const View<const std::uint8_t>& now) {
  return unexplained_levels(from, patch, now);
}

UnexplainedLevels levels_variant(int instruction_set) {
#if defined(DEDELAYED_X86)
  if (instruction_set >= kAvx512) return unexplained_levels_avx512;
  if (instruction_set >= kAvx2) return unexplained_levels_avx2;
#endif
  static_cast<void>(instruction_set);
  return unexplained_levels_portable;
}

}  // namespace dedelayed::sparse
