#include "../library.h"
#include "runs.h"

#if defined(DEDELAYED_X86)
#include <immintrin.h>
#pragma GCC target("avx2")

namespace dedelayed::sparse {
namespace {

constexpr int kWide = 8;
#include "vector_steps.h"

inline bool any(const Words& words) { return !_mm256_testz_si256((__m256i)words, (__m256i)words); }

#include "runs_steps.h"

}  // namespace

template <class T>
RunKernels<T> runs_avx2() {
  return kernels<T>();
}
template RunKernels<float> runs_avx2();
template RunKernels<Bf16> runs_avx2();

}  // namespace dedelayed::sparse
#endif
