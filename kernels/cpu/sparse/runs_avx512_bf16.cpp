#include "../library.h"
#include "runs.h"

#if defined(DEDELAYED_AMX)
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#define DEDELAYED_ROUND_AVX512_BF16  // g++ defines no macro for what a pragma allows

namespace dedelayed::sparse {
namespace {

#include "runs_avx512_steps.h"

}  // namespace

RunKernels<Bf16> runs_avx512_bf16() { return kernels<Bf16>(); }

}  // namespace dedelayed::sparse
#endif
