#include "../library.h"
#include "../sparse/element.h"
#include "render.h"

#if defined(DEDELAYED_X86)
#include <immintrin.h>
#pragma GCC target("avx2")

namespace dedelayed::masks {
namespace {

// A step of 16 pixels is two registers.
struct Vector {
  struct Floats { __m256 a, b; };
  struct Ints { __m256i a, b; };
  using Mask = Floats;
  static Floats load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float* p, Floats v) { _mm256_store_ps(p, v.a), _mm256_store_ps(p + 8, v.b); }
  static Floats set(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
  static Floats add(Floats u, Floats v) { return {_mm256_add_ps(u.a, v.a), _mm256_add_ps(u.b, v.b)}; }
  static Floats subtract(Floats u, Floats v) { return {_mm256_sub_ps(u.a, v.a), _mm256_sub_ps(u.b, v.b)}; }
  static Floats multiply(Floats u, Floats v) { return {_mm256_mul_ps(u.a, v.a), _mm256_mul_ps(u.b, v.b)}; }
  static Floats larger(Floats u, Floats v) { return {_mm256_max_ps(u.a, v.a), _mm256_max_ps(u.b, v.b)}; }
  static Floats smaller(Floats u, Floats v) { return {_mm256_min_ps(u.a, v.a), _mm256_min_ps(u.b, v.b)}; }
  static Mask greater(Floats u, Floats v) {
    return {_mm256_cmp_ps(u.a, v.a, _CMP_GT_OQ), _mm256_cmp_ps(u.b, v.b, _CMP_GT_OQ)};
  }
  static Mask less(Floats u, Floats v) {
    return {_mm256_cmp_ps(u.a, v.a, _CMP_LT_OQ), _mm256_cmp_ps(u.b, v.b, _CMP_LT_OQ)};
  }
  static bool all(Mask m) { return _mm256_movemask_ps(_mm256_and_ps(m.a, m.b)) == 0xff; }
  static Floats none_if(Mask m, Floats v) { return {_mm256_andnot_ps(m.a, v.a), _mm256_andnot_ps(m.b, v.b)}; }
  static Ints choose(Mask m, Ints u, Ints v) {
    return {_mm256_blendv_epi8(v.a, u.a, _mm256_castps_si256(m.a)), _mm256_blendv_epi8(v.b, u.b, _mm256_castps_si256(m.b))};
  }
  static Ints set_ints(int v) { return {_mm256_set1_epi32(v), _mm256_set1_epi32(v)}; }
  static Ints load_ints(const std::int32_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
  }
  static __m256 power_of_two(__m256 biased) {
    const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(biased), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(n, _mm256_set1_epi32(0x3f800000)));
  }
  static Floats power_of_two(Floats biased) { return {power_of_two(biased.a), power_of_two(biased.b)}; }

  // Up-sampling by two or more reads at most eight input columns a step: one register holds them all.
  template <int kWindow>
  static Floats lookup(const float* row, int base, Ints index) {
    if constexpr (kWindow == 0) return {_mm256_i32gather_ps(row, index.a, 4), _mm256_i32gather_ps(row, index.b, 4)};
    const __m256 window = _mm256_loadu_ps(row + base);
    const __m256i first = _mm256_set1_epi32(base);
    return {_mm256_permutevar8x32_ps(window, _mm256_sub_epi32(index.a, first)),
            _mm256_permutevar8x32_ps(window, _mm256_sub_epi32(index.b, first))};
  }

  static __m128i narrow(Ints v) {  // 16 numbers of 0..255 to bytes
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(v.a, v.b), 0xd8);
    return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  }

  static __m256i bad(__m256 sum, __m256 worst) {
    const __m256 infinite = _mm256_cmp_ps(worst, _mm256_set1_ps(-__builtin_inff()), _CMP_EQ_OQ);
    return _mm256_castps_si256(_mm256_or_ps(_mm256_cmp_ps(sum, sum, _CMP_UNORD_Q), infinite));
  }

  static __m256i level(__m256 sum) {
    const __m256 scaled = _mm256_div_ps(_mm256_set1_ps(255.0f), sum);
    return _mm256_cvttps_epi32(_mm256_add_ps(scaled, _mm256_set1_ps(0.5f)));
  }

  static void finish(Ints winner, Floats sum, Floats worst, std::uint8_t* mask, std::uint8_t* confidence) {
    const Ints wrong = {bad(sum.a, worst.a), bad(sum.b, worst.b)};
    const Ints none = set_ints(kUnlabelled);
    const Ints classes = {_mm256_blendv_epi8(winner.a, none.a, wrong.a), _mm256_blendv_epi8(winner.b, none.b, wrong.b)};
    const Ints levels = {_mm256_andnot_si256(wrong.a, level(sum.a)), _mm256_andnot_si256(wrong.b, level(sum.b))};
    _mm_store_si128(reinterpret_cast<__m128i*>(mask), narrow(classes));
    _mm_store_si128(reinterpret_cast<__m128i*>(confidence), narrow(levels));
  }
};

#include "render_steps.h"

}  // namespace

void render_rows_avx2(const Job& job, int first, int last, float* scratch) {
  if (job.widest < 8) {
    render_rows<Vector, 1>(job, first, last, scratch);
  } else {
    render_rows<Vector, 0>(job, first, last, scratch);
  }
}

}  // namespace dedelayed::masks
#endif
