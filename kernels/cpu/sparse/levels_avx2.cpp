#include "levels.h"

#include "../library.h"

#if defined(DEDELAYED_X86)
#pragma GCC target("avx2")

namespace dedelayed::sparse {
namespace {

#include "levels_steps.h"

}  // namespace

LevelKernels levels_avx2() { return {unexplained, values_of, look_up<float>, look_up<Bf16>, differ}; }

}  // namespace dedelayed::sparse
#endif
