// Element-wise work on runs of values, compiled for each instruction set. Every variant has the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "element.h"
#include "plan.h"

namespace dedelayed::sparse {

// Four runs of cells and their weights: row by row, then one row with the other.
template <class T>
struct Corners {
  const T *up_left, *up_right, *down_left, *down_right;
  float left, right, up, down;
};

template <class T>
struct RunKernels {
  // Three rows of floats as one of cells.
  void (*weave)(const float* const rows[3], std::ptrdiff_t count, float* to);
  void (*widen)(const T* from, std::ptrdiff_t count, float* to);
  // Keep results, after the element-wise functions that follow an operation, in the maps' number format. `from` is scratch
  // then, and may be `to`.
  void (*keep)(float* from, std::ptrdiff_t count, const Function* functions, std::size_t function_count, T* to);
  // The same of values that are kept already.
  void (*refine)(T* values, std::ptrdiff_t count, const Function* functions, std::size_t function_count);
  // Of each cell, 0 or 1: whether any channel differs from the cached one by more than the threshold, or is not a number.
  void (*differ)(const T* fresh, const T* cached, int channels, int cells, float threshold, std::uint8_t* on);
  void (*add)(const T* a, const T* b, float alpha, std::ptrdiff_t count, float* to);
  void (*mix)(const Corners<T>& corners, std::ptrdiff_t count, float* to);
};
template <class T>
RunKernels<T> runs_portable();
template <class T>
RunKernels<T> runs_avx2();
template <class T>
RunKernels<T> runs_avx512();
template <class T>
RunKernels<T> run_variant(int instruction_set);

}  // namespace dedelayed::sparse
