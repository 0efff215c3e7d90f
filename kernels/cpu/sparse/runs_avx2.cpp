#include "../library.h"
#include "runs.h"

#if defined(DEDELAYED_X86)
#include <immintrin.h>
#pragma GCC target("avx2")

namespace dedelayed::sparse {
namespace {

constexpr int kWide = 8;
#include "round_steps.h"

inline bool any(const Words& words) { return !_mm256_testz_si256((__m256i)words, (__m256i)words); }
inline void load(const Bf16* from, Floats& value) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  value = (Floats)_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16);
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
