#include "../library.h"
#include "conv.h"

#if defined(DEDELAYED_X86)
#include <immintrin.h>
#pragma GCC target("avx2,fma")

namespace dedelayed::sparse {
namespace {

struct Vector {
  using Floats = __m256;
  static constexpr int kWide = kBlocksAvx2.wide, kBlock = kBlocksAvx2.block, kSums = 12;
  static constexpr bool kPairs = false;
  static Floats load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Floats a) { _mm256_storeu_ps(p, a); }
  static Floats set(float a) { return _mm256_set1_ps(a); }
  static Floats multiply_add(Floats a, Floats b, Floats sum) { return _mm256_fmadd_ps(a, b, sum); }
  static Floats minimum(Floats a, Floats b) { return _mm256_min_ps(a, b); }
  static Floats maximum(Floats a, Floats b) { return _mm256_max_ps(a, b); }
};

constexpr int kWide = Vector::kWide;
#include "conv_steps.h"

}  // namespace

void convolve_avx2(const ConvJob& job, const float* const* pixels, int count, float* out) {
  convolve<Vector>(job, pixels, count, out);
}
void convolve_avx2(const ConvJob& job, const Bf16* const* pixels, int count, Bf16* out) {
  convolve<Vector>(job, pixels, count, out);
}

}  // namespace dedelayed::sparse
#endif
