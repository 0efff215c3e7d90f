#include "../library.h"
#include "conv.h"

#if defined(DEDELAYED_AMX)
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#define DEDELAYED_ROUND_AVX512_BF16  // g++ defines no macro for what a pragma allows

namespace dedelayed::sparse {
namespace {

// Two products a lane at a time.
struct Vector {
  using Floats = __m512;
  static constexpr int kWide = kBlocksAvx512Bf16.wide, kBlock = kBlocksAvx512Bf16.block, kSums = 24;
  static constexpr bool kPairs = true;
  static Floats load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Floats a) { _mm512_storeu_ps(p, a); }
  static Floats set(float a) { return _mm512_set1_ps(a); }
  static Floats minimum(Floats a, Floats b) { return _mm512_min_ps(a, b); }
  static Floats maximum(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  static Floats multiply_add(Floats a, Floats b, Floats sum) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
  static Floats spread_pair(const Bf16* p) {
    int pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return _mm512_castsi512_ps(_mm512_set1_epi32(pair));
  }
  static Floats spread_one(const Bf16* p) { return _mm512_castsi512_ps(_mm512_set1_epi32(p->bits)); }
};

constexpr int kWide = Vector::kWide;
#include "conv_steps.h"

}  // namespace

void convolve_avx512_bf16(const ConvJob& job, const Bf16* const* pixels, int count, Bf16* out) {
  convolve<Vector>(job, pixels, count, out);
}

}  // namespace dedelayed::sparse
#endif
