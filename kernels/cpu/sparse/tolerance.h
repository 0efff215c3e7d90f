// Reuse that is not exact: displacements that are rounded, vectors that nearly agree, and FluxShard's compacted check.
// dedelayed_ros/sparse/motion.py and alignment.py say what each function computes; these give the same sets.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cells.h"
#include "motion.h"
#include "plan.h"
#include "sets.h"

namespace dedelayed::sparse {

// How cells with the same vectors find their cached values.
struct Way {
  bool usable;
  int start[2];          // displacement of the vector alone, in cells
  std::int32_t over[2];  // what of the vector it leaves, in parts of a quarter pixel
  int steps[9], count;   // which of kSteps can be nearest at all
  int likely;            // how many of these if the vector's own displacement has a source

  bool same_as(const Way& other) const {
    return usable == other.usable && start[0] == other.start[0] && start[1] == other.start[1] && over[0] == other.over[0] &&
           over[1] == other.over[1];
  }
};

// The ways of a grid, in stretches of a row; the same for every node on it.
struct Ways {
  struct Stretch {
    int start, end;
    Way way;
  };
  std::vector<std::array<int, 2>> rows;  // of each row: its first stretch, and the one after its last
  std::vector<Stretch> stretches;

  void find(const Plan& plan, const Cells& cells, const Grid& grid);
};

// By the vector at each cell's centre, rounded half away from zero (`FrameMotion.sampled`).
void find_sampled(const Cells& cells, const Field& field, const Grid& grid, Moved& moved);

// Within the plan's tolerances; what remains of the motion is kept (`tolerant`). `rest` is scratch.
void find_tolerant(const Plan& plan, const Ways& ways, const Field& field, const Grid& grid, Remainder& remainder,
                   Remainder& rest, Moved& moved);

// Outputs of a node on `grid` that read vectors which differ by more than the plan's `spread`; `far` is replaced.
void find_spread(const Plan& plan, const Cells& cells, const Grid& grid, const Window& window, Set& far);

// Add to `bad` the outputs whose inputs moved otherwise than they did, by more than rounding explains
// (`misaligned_within`, without the spread).
void add_misaligned_within(const Plan& plan, const Grid& grid, const Window& window, const Moved& out,
                           const Moved& source, Set& bad);

// FluxShard's check at the input, vectors uniform within r_max and divisible by s_max; `bad` is replaced (`compacted`).
void find_compacted(const Plan& plan, const Cells& cells, const Field& field, const Grid& grid, Set& bad);

}  // namespace dedelayed::sparse
