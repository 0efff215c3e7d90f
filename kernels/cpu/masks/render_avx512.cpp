#include "../library.h"
#include "../sparse/element.h"
#include "render.h"

#if defined(DEDELAYED_X86)
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq")

namespace dedelayed::masks {
namespace {

struct Vector {
  using Floats = __m512;
  using Ints = __m512i;
  using Mask = __mmask16;
  static Floats load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Floats a) { _mm512_store_ps(p, a); }
  static Floats set(float a) { return _mm512_set1_ps(a); }
  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats larger(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  static Floats smaller(Floats a, Floats b) { return _mm512_min_ps(a, b); }
  static Mask greater(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  static Mask less(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static bool all(Mask m) { return m == 0xffff; }
  static Floats none_if(Mask m, Floats a) { return _mm512_maskz_mov_ps(static_cast<Mask>(~m), a); }
  static Ints choose(Mask m, Ints a, Ints b) { return _mm512_mask_blend_epi32(m, b, a); }
  static Ints set_ints(int a) { return _mm512_set1_epi32(a); }
  static Ints load_ints(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  static Floats power_of_two(Floats biased) {
    const Ints n = _mm512_slli_epi32(_mm512_castps_si512(biased), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(n, _mm512_set1_epi32(0x3f800000)));
  }

  // Up-sampling reads few input columns a step: one or two registers hold them all, and a permutation picks.
  template <int kWindow>
  static Floats lookup(const float* row, int base, Ints index) {
    if constexpr (kWindow == 0) return _mm512_i32gather_ps(index, row, 4);
    const Ints offset = _mm512_sub_epi32(index, _mm512_set1_epi32(base));
    if constexpr (kWindow == 1) return _mm512_permutexvar_ps(offset, load(row + base));
    return _mm512_permutex2var_ps(load(row + base), offset, load(row + base + kLanes));
  }

  static void finish(Ints winner, Floats sum, Floats worst, std::uint8_t* mask, std::uint8_t* confidence) {
    const Mask bad = _mm512_cmp_ps_mask(sum, sum, _CMP_UNORD_Q) | _mm512_cmp_ps_mask(worst, set(-__builtin_inff()), _CMP_EQ_OQ);
    const Floats level = add(_mm512_div_ps(set(255.0f), sum), set(0.5f));
    const Ints levels = _mm512_maskz_cvttps_epi32(static_cast<Mask>(~bad), level);
    const Ints classes = _mm512_mask_blend_epi32(bad, winner, set_ints(kUnlabelled));
    _mm_store_si128(reinterpret_cast<__m128i*>(mask), _mm512_cvtepi32_epi8(classes));
    _mm_store_si128(reinterpret_cast<__m128i*>(confidence), _mm512_cvtepi32_epi8(levels));
  }
};

#include "render_steps.h"

}  // namespace

void render_rows_avx512(const Job& job, int first, int last, float* scratch) {
  if (job.widest < kLanes) {
    render_rows<Vector, 1>(job, first, last, scratch);
  } else if (job.widest < 2 * kLanes) {
    render_rows<Vector, 2>(job, first, last, scratch);
  } else {
    render_rows<Vector, 0>(job, first, last, scratch);
  }
}

}  // namespace dedelayed::masks
#endif
