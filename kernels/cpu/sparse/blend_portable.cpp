#include "../library.h"
#include "blend.h"

namespace dedelayed::sparse {
namespace {

#include "blend_steps.h"

}  // namespace

void blend_portable(const float* top, const float* top_right, const float* bottom, const float* bottom_right,
                    float right, float down, int count, float* out) {
  blend_row(top, top_right, bottom, bottom_right, right, down, count, out);
}

float distance_portable(const float* a, const float* b, int count) { return distance_of(a, b, count); }

BlendKernels blend_variant(int instruction_set) {
#if defined(DEDELAYED_X86)
  if (instruction_set == kAvx2 || instruction_set == kAvx512) return {blend_avx2, distance_avx2};
#endif
  static_cast<void>(instruction_set);
  return {blend_portable, distance_portable};
}

}  // namespace dedelayed::sparse
