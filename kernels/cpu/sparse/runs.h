// Element-wise work on runs of values, compiled for each instruction set. Every variant has the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "element.h"
#include "plan.h"

namespace dedelayed::sparse {

// Cells between two rows of another map, each between two columns of these; the weights of columns go first, then those of rows.
template <class T>
struct Between {
  const T *upper, *lower;
  float up, down;
  const std::int32_t* columns;  // [cells, 2]
  const float* weights;         // [cells, 2]
  int channels;
};

template <class T>
struct RunKernels {
  // Three rows of floats as one of cells.
  void (*weave)(const float* const rows[3], std::ptrdiff_t count, T* to);
  void (*widen)(const T* from, std::ptrdiff_t count, float* to);
  // Keep results, after the element-wise functions that follow an operation, in the maps' number format. `from` is scratch
  // then, and may be `to`.
  void (*keep)(float* from, std::ptrdiff_t count, const Function* functions, std::size_t function_count, T* to);
  // The same of values that are kept already.
  void (*refine)(T* values, std::ptrdiff_t count, const Function* functions, std::size_t function_count);
  // Of each cell, 0 or 1: whether any channel differs from the cached one by more than the threshold, or is not a number.
  void (*differ)(const T* fresh, const T* cached, int channels, int cells, float threshold, std::uint8_t* on);
  void (*add)(const T* a, const T* b, float alpha, std::ptrdiff_t count, float* to);
  void (*mix)(const Between<T>& rows, int cells, float* to);
};
// Of the values of kWide cells of three: which element of a row each is, and of which row.
template <int kWide>
struct Woven {
  std::uint32_t element[3 * kWide], row[3 * kWide];

  constexpr Woven() : element(), row() {
    for (int k = 0; k < 3 * kWide; ++k) element[k] = k / 3, row[k] = k % 3;
  }
};

template <class T>
RunKernels<T> runs_portable();
template <class T>
RunKernels<T> runs_avx2();
template <class T>
RunKernels<T> runs_avx512();
RunKernels<Bf16> runs_avx512_bf16();
template <class T>
RunKernels<T> run_variant(int instruction_set);

}  // namespace dedelayed::sparse
