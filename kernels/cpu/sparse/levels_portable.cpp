#include "levels.h"

#include "../library.h"

namespace dedelayed::sparse {
namespace {

#include "levels_steps.h"

}  // namespace

LevelKernels levels_portable() { return {unexplained, values_of, look_up<float>, look_up<Bf16>, differ}; }

LevelKernels levels_variant(int instruction_set) {
#if defined(DEDELAYED_X86)
  if (instruction_set >= kAvx512) return levels_avx512();
  if (instruction_set >= kAvx2) return levels_avx2();
#endif
  static_cast<void>(instruction_set);
  return levels_portable();
}

}  // namespace dedelayed::sparse
