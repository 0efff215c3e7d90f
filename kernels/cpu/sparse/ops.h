// What each operation computes at a list of positions. Python's backends/evaluate.py is the specification.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "conv.h"
#include "maps.h"
#include "plan.h"
#include "runs.h"

namespace dedelayed::sparse {

// Tables of a plan's operations that are worked out once a stream, and scratch.
template <class T>
struct Workspace {
  Variant<T> conv{};
  RunKernels<T> runs{};
  std::vector<std::byte> scratch;
  std::vector<const T*> pixels;
  std::vector<std::int64_t> offsets;
  std::vector<int> lengths;
  std::vector<float> line;
  // The positions that one tap makes, by their places in the list of all, and the pixels that it makes them of.
  struct Tap {
    int count = 0;
    std::vector<std::int32_t> places;
    std::vector<const T*> pixels;

    void begin(std::size_t most) {
      count = 0;
      if (places.size() < most) places.resize(most), pixels.resize(most);
    }
    void add(std::int32_t place, const T* pixel) {
      places[static_cast<std::size_t>(count)] = place;
      pixels[static_cast<std::size_t>(count++)] = pixel;
    }
  };
  std::vector<Tap> by_tap;
  std::vector<T> cells;

  // What the convolution needs beside registers.
  void* scratch_for(int depth, int segments) {
    const std::size_t bytes = conv.scratch ? conv.scratch(depth, segments) : 0;
    if (scratch.size() < bytes) scratch.resize(bytes);
    return scratch.data();
  }
};

// Whether a node is a convolution whose results go directly to where they are kept, rounded and clamped.
bool is_direct(const Node& node);

// Results of `count` positions of such a node: that of position i goes to out + places[i] · channels, or without places to
// i · channels. Returns how many functions of the epilogue have been applied.
template <class T>
std::size_t compute_direct(const Plan& plan, const Node& node, const std::vector<Map<T>>& maps, const std::int32_t* positions,
                    int count, const std::int32_t* places, Workspace<T>& work, T* out);

// Results of `count` positions of any other node, one after the other, before the epilogue.
template <class T>
void compute(const Plan& plan, const Node& node, const std::vector<Map<T>>& maps, const std::int32_t* positions, int count,
             Workspace<T>& work, float* out);

// Whether a node is its only input with the epilogue applied, position by position.
template <class T>
bool is_copy(const Plan& plan, const Node& node, const std::vector<Map<T>>& maps);

// How many of the positions, from the first on, are neighbours in one row.
inline int run_length(const std::int32_t* positions, int count, int width) {
  const int most = std::min(count, width - positions[0] % width);
  int n = 1;
  while (n < most && positions[n] == positions[0] + n) ++n;
  return n;
}

}  // namespace dedelayed::sparse
