#include "levels.h"

#include "../library.h"

#if defined(DEDELAYED_X86)
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq")
#define DEDELAYED_LEVELS_AVX512

namespace dedelayed::sparse {
namespace {

#include "levels_steps.h"

// A table of 256 halves is 8 registers, of which an instruction looks up in two: the upper bits of a level say in which.
inline void look_up_halves(const std::uint8_t* levels, std::ptrdiff_t count, const Bf16* table, Bf16* to) {
  constexpr int kTogether = 32;
  __m512i part[8];
  for (int k = 0; k < 8; ++k) part[k] = _mm512_loadu_si512(table + k * kTogether);
  for (std::ptrdiff_t i = 0; i < count; i += kTogether) {
    const __mmask32 some = count - i < kTogether ? (1u << (count - i)) - 1u : ~0u;
    const __m512i level = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(some, levels + i));
    const __mmask32 second = _mm512_test_epi16_mask(level, _mm512_set1_epi16(64));
    const __mmask32 upper = _mm512_test_epi16_mask(level, _mm512_set1_epi16(128));
    const auto in_quarter = [&](int k) { return _mm512_permutex2var_epi16(part[2 * k], level, part[2 * k + 1]); };
    const __m512i below = _mm512_mask_blend_epi16(second, in_quarter(0), in_quarter(1));
    const __m512i above = _mm512_mask_blend_epi16(second, in_quarter(2), in_quarter(3));
    _mm512_mask_storeu_epi16(to + i, some, _mm512_mask_blend_epi16(upper, below, above));
  }
}

}  // namespace

LevelKernels levels_avx512() { return {unexplained, values_of, look_up<float>, look_up_halves, differ}; }

}  // namespace dedelayed::sparse
#endif
