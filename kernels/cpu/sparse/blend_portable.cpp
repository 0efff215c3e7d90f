#include "../library.h"
#include "blend.h"

namespace dedelayed::sparse {
namespace {

#include "blend_steps.h"

}  // namespace

void follow_portable(const View<const float>& from, const Patch* patches, std::size_t count, const View<float>& to) {
  follow(from, patches, count, to);
}

float unexplained_portable(const View<const float>& from, const Patch& patch, const View<const float>& now) {
  return unexplained(from, patch, now);
}

BlendKernels blend_variant(int instruction_set) {
#if defined(DEDELAYED_X86)
  if (instruction_set == kAvx2 || instruction_set == kAvx512) return {follow_avx2, unexplained_avx2};
#endif
  static_cast<void>(instruction_set);
  return {follow_portable, unexplained_portable};
}

}  // namespace dedelayed::sparse
