#include "../library.h"
#include "blend.h"

namespace dedelayed::sparse {
namespace {

constexpr int kWide = 8;  // two registers where they hold four floats
#include "vector_steps.h"

#include "blend_steps.h"
#include "unexplained_steps.h"

}  // namespace

template <class T>
BlendKernels<T> blend_portable() {
  return {follow<T>, unexplained<T>};
}
template BlendKernels<float> blend_portable();
template BlendKernels<Bf16> blend_portable();

template <class T>
BlendKernels<T> blend_variant(int instruction_set) {
#if defined(DEDELAYED_AMX)
  if constexpr (std::is_same_v<T, Bf16>) {
    if (instruction_set >= kAvx512Bf16) return blend_avx512_bf16();
  }
#endif
#if defined(DEDELAYED_X86)
  if (instruction_set >= kAvx512) return blend_avx512<T>();
  if (instruction_set >= kAvx2) return blend_avx2<T>();
#endif
  static_cast<void>(instruction_set);
  return blend_portable<T>();
}
template BlendKernels<float> blend_variant(int);
template BlendKernels<Bf16> blend_variant(int);

}  // namespace dedelayed::sparse
