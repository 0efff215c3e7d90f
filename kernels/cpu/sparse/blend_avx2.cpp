#include "../library.h"
#include "blend.h"

#if defined(DEDELAYED_X86)
#pragma GCC target("avx2")

namespace dedelayed::sparse {
namespace {

constexpr int kWide = 8;
#include "vector_steps.h"

#include "blend_steps.h"
#include "unexplained_steps.h"

}  // namespace

template <class T>
BlendKernels<T> blend_avx2() {
  return {follow<T>, unexplained<T>};
}
template BlendKernels<float> blend_avx2();
template BlendKernels<Bf16> blend_avx2();

}  // namespace dedelayed::sparse
#endif
