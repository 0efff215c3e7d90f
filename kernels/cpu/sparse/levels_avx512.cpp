#include "levels.h"

#include "../library.h"

#if defined(DEDELAYED_X86)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq")

namespace dedelayed::sparse {
namespace {

#include "levels_steps.h"

}  // namespace

LevelKernels levels_avx512() { return {unexplained, values_of}; }

}  // namespace dedelayed::sparse
#endif
