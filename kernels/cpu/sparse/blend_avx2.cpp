#include "../library.h"
#include "blend.h"

#if defined(DEDELAYED_X86)
#pragma GCC target("avx2")

namespace dedelayed::sparse {
namespace {

#include "blend_steps.h"

}  // namespace

void blend_avx2(const float* top, const float* top_right, const float* bottom, const float* bottom_right, float right,
                float down, int count, float* out) {
  blend_row(top, top_right, bottom, bottom_right, right, down, count, out);
}

float distance_avx2(const float* a, const float* b, int count) { return distance_of(a, b, count); }

}  // namespace dedelayed::sparse
#endif
