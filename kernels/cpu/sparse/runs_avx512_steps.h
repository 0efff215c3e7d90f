// runs_steps.h with AVX-512. Included inside an anonymous namespace, after immintrin.h and the pragma that says which of its
// extensions there are.

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
