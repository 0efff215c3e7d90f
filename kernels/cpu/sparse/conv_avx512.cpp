#include "../library.h"
#include "conv.h"

#if defined(DEDELAYED_X86)
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq")

namespace dedelayed::sparse {
namespace {

struct Vector {
  using Floats = __m512;
  static constexpr int kWide = kBlocksAvx512.wide, kBlock = kBlocksAvx512.block, kSums = 24;
  static constexpr bool kPairs = false;
  static Floats load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Floats a) { _mm512_storeu_ps(p, a); }
  static Floats set(float a) { return _mm512_set1_ps(a); }
  static Floats multiply_add(Floats a, Floats b, Floats sum) { return _mm512_fmadd_ps(a, b, sum); }
  static Floats minimum(Floats a, Floats b) { return _mm512_min_ps(a, b); }
  static Floats maximum(Floats a, Floats b) { return _mm512_max_ps(a, b); }
};

constexpr int kWide = Vector::kWide;
#include "conv_steps.h"

}  // namespace

void convolve_avx512(const ConvJob& job, const float* const* pixels, int count, float* out) {
  convolve<Vector>(job, pixels, count, out);
}
void convolve_avx512(const ConvJob& job, const Bf16* const* pixels, int count, Bf16* out) {
  convolve<Vector>(job, pixels, count, out);
}

}  // namespace dedelayed::sparse
#endif
