// Rectangles of feature maps between four cells of another, and how far apart two are: what following motion is made of.
#pragma once

#include <cstddef>
#include <cstdint>

#include "placement.h"

namespace dedelayed::sparse {

// A channels-last map: floats from a row to the next one.
template <class Float>
struct View {
  Float* origin;
  std::ptrdiff_t pitch;
  int channels;

  Float* at(int y, int x) const { return origin + y * pitch + static_cast<std::ptrdiff_t>(x) * channels; }
};

// Give the cells of every patch their values, in place of theirs in `to`. The two maps are not the same memory.
using Follow = void (*)(const View<const float>& from, const Patch* patches, std::size_t count, const View<float>& to);
void follow_portable(const View<const float>&, const Patch*, std::size_t, const View<float>&);
void follow_avx2(const View<const float>&, const Patch*, std::size_t, const View<float>&);

// Sum over the cells of a patch, and channels, of how far those values are from the ones in `now`.
using Unexplained = float (*)(const View<const float>& from, const Patch& patch, const View<const float>& now);
float unexplained_portable(const View<const float>&, const Patch&, const View<const float>&);
float unexplained_avx2(const View<const float>&, const Patch&, const View<const float>&);

struct BlendKernels {
  Follow follow;
  Unexplained unexplained;
};
BlendKernels blend_variant(int instruction_set);

}  // namespace dedelayed::sparse
