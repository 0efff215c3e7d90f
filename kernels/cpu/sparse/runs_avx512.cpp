#include "../library.h"
#include "runs.h"

#if defined(DEDELAYED_X86)
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq")

namespace dedelayed::sparse {
namespace {

#include "runs_avx512_steps.h"

}  // namespace

template <class T>
RunKernels<T> runs_avx512() {
  return kernels<T>();
}
template RunKernels<float> runs_avx512();
template RunKernels<Bf16> runs_avx512();

}  // namespace dedelayed::sparse
#endif
