#include "../library.h"
#include "blend.h"

#if defined(DEDELAYED_X86)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq")

namespace dedelayed::sparse {
namespace {

constexpr int kWide = 16;
#include "vector_steps.h"

#include "blend_steps.h"

}  // namespace

template <class T>
BlendKernels<T> blend_avx512() {
  return {follow<T>, blend_avx2<T>().unexplained};
}
template BlendKernels<float> blend_avx512();
template BlendKernels<Bf16> blend_avx512();

}  // namespace dedelayed::sparse
#endif
