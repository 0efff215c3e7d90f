#include "../library.h"
#include "runs.h"

#if defined(DEDELAYED_X86)
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq")

namespace dedelayed::sparse {
namespace {

constexpr int kWide = 16;
#include "vector_steps.h"

inline bool any(const Words& words) { return _mm512_test_epi32_mask((__m512i)words, (__m512i)words) != 0; }

constexpr Woven<kWide> kWoven;

inline void interleave(Floats (&rows)[3]) {
  const __m512 a = (__m512)rows[0], b = (__m512)rows[1], c = (__m512)rows[2];
  for (int r = 0; r < 3; ++r) {
    const __m512i element = _mm512_loadu_si512(kWoven.element + r * kWide);
    const __m512i row = _mm512_loadu_si512(kWoven.row + r * kWide);
    const __m512 one = _mm512_permutexvar_ps(element, a);
    const __m512 two = _mm512_mask_permutexvar_ps(one, _mm512_cmpeq_epi32_mask(row, _mm512_set1_epi32(1)), element, b);
    rows[r] = (Floats)_mm512_mask_permutexvar_ps(two, _mm512_cmpeq_epi32_mask(row, _mm512_set1_epi32(2)), element, c);
  }
}

#include "runs_steps.h"

}  // namespace

template <class T>
RunKernels<T> runs_avx512() {
  return kernels<T>();
}
template RunKernels<float> runs_avx512();
template RunKernels<Bf16> runs_avx512();

}  // namespace dedelayed::sparse
#endif
