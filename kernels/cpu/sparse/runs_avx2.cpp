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

constexpr Woven<kWide> kWoven;

inline void interleave(Floats (&rows)[3]) {
  const __m256 a = (__m256)rows[0], b = (__m256)rows[1], c = (__m256)rows[2];
  for (int r = 0; r < 3; ++r) {
    const __m256i element = _mm256_loadu_si256((const __m256i*)(kWoven.element + r * kWide));
    const __m256i row = _mm256_loadu_si256((const __m256i*)(kWoven.row + r * kWide));
    const __m256 second = (__m256)_mm256_cmpeq_epi32(row, _mm256_set1_epi32(1));
    const __m256 third = (__m256)_mm256_cmpeq_epi32(row, _mm256_set1_epi32(2));
    const __m256 two = _mm256_blendv_ps(_mm256_permutevar8x32_ps(a, element), _mm256_permutevar8x32_ps(b, element), second);
    rows[r] = (Floats)_mm256_blendv_ps(two, _mm256_permutevar8x32_ps(c, element), third);
  }
}

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
