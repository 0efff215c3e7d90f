#include "../library.h"
#include "blend.h"

#if defined(DEDELAYED_AMX)
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#define DEDELAYED_ROUND_AVX512_BF16  // g++ defines no macro for what a pragma allows

namespace dedelayed::sparse {
namespace {

constexpr int kWide = 16;
#include "vector_steps.h"

#include "blend_steps.h"

}  // namespace

BlendKernels<Bf16> blend_avx512_bf16() { return {follow<Bf16>, blend_avx2<Bf16>().unexplained}; }

}  // namespace dedelayed::sparse
#endif
