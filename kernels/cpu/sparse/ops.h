// What each operation computes at a list of positions. Python's backends/evaluate.py is the specification.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "conv.h"
#include "maps.h"
#include "plan.h"

namespace dedelayed::sparse {

// Tables of a plan's operations that are worked out once a stream, and scratch.
struct Workspace {
  Convolve convolve = nullptr;
  std::vector<const float*> pixels;
  std::vector<std::int64_t> offsets;
  std::vector<int> lengths;
  std::vector<float> line;
  // The positions that one tap makes, by their places in the list of all, and the pixels that it makes them of.
  struct Tap {
    int count = 0;
    std::vector<std::int32_t> places;
    std::vector<const float*> pixels;

    void begin(std::size_t most) {
      count = 0;
      if (places.size() < most) places.resize(most), pixels.resize(most);
    }
  };
  std::vector<Tap> by_tap;
};

// Results of `count` positions before the epilogue: that of position i goes to out + places[i] · channels, or without
// places to i · channels.
void compute(const Plan& plan, const Node& node, const std::vector<Map>& maps, const std::int32_t* positions, int count,
             const std::int32_t* places, Workspace& work, float* out);

// Whether a node's results can go anywhere; others only know one place after the other.
bool takes_places(const Node& node);

// Whether a node is its only input with the epilogue applied, position by position.
bool is_copy(const Plan& plan, const Node& node, const std::vector<Map>& maps);

// How many of the positions, from the first on, are neighbours in one row.
inline int run_length(const std::int32_t* positions, int count, int width) {
  const int most = std::min(count, width - positions[0] % width);
  int n = 1;
  while (n < most && positions[n] == positions[0] + n) ++n;
  return n;
}

// Apply the element-wise functions that follow an operation.
void apply(const std::vector<Function>& epilogue, float* values, std::int64_t count);

}  // namespace dedelayed::sparse
