// Rectangles of feature maps between four cells of another, and how far apart two are: what following motion is made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "element.h"
#include "placement.h"

namespace dedelayed::sparse {

// A channels-last map: values from a row to the next one.
template <class T>
struct View {
  T* origin;
  std::ptrdiff_t pitch;
  int channels;

  T* at(int y, int x) const { return origin + y * pitch + static_cast<std::ptrdiff_t>(x) * channels; }
};

// Give the cells of every patch their values, in place of theirs in `to`. The two maps are not the same memory.
template <class T>
using Follow = void (*)(const View<const T>& from, const Patch* patches, std::size_t count, const View<T>& to);

// Sum over the cells of a patch, and channels, of how far those values are from the ones in `now`.
template <class T>
using Unexplained = float (*)(const View<const T>& from, const Patch& patch, const View<const T>& now);

template <class T>
struct BlendKernels {
  Follow<T> follow;
  Unexplained<T> unexplained;
};
template <class T>
BlendKernels<T> blend_portable();
template <class T>
BlendKernels<T> blend_avx2();
template <class T>
BlendKernels<T> blend_avx512();
BlendKernels<Bf16> blend_avx512_bf16();
template <class T>
BlendKernels<T> blend_variant(int instruction_set);

}  // namespace dedelayed::sparse
