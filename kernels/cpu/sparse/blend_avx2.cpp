#include "../library.h"
#include "blend.h"

#if defined(DEDELAYED_X86)
#pragma GCC target("avx2")

namespace dedelayed::sparse {
namespace {

#include "blend_steps.h"

}  // namespace

void follow_avx2(const View<const float>& from, const Patch* patches, std::size_t count, const View<float>& to) {
  follow(from, patches, count, to);
}

float unexplained_avx2(const View<const float>& from, const Patch& patch, const View<const float>& now) {
  return unexplained(from, patch, now);
}

}  // namespace dedelayed::sparse
#endif
