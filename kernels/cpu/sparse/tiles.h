// Mode::kTiles: which tiles of a frame every layer computes, and caches that are interpolated at where vectors point.
// dedelayed_ros/sparse/backends/tiled.py is the specification.
#pragma once

#include <cstdint>
#include <vector>

#include "blend.h"
#include "cells.h"
#include "maps.h"
#include "motion.h"
#include "plan.h"
#include "sets.h"

namespace dedelayed::sparse {

// Cells of a row that find their cached values in the same way.
struct Stretch {
  int start, end;
  bool valid;       // the vectors under them are
  float cells[2];   // displacement
  int whole[2];     // rows and columns from a cell to the first of the four that it lies between
  float part[2];    // and how far from that one to the next, 0 to 1
};

// How the cells of one grid move, and which of them are computed.
struct Placed {
  bool still = true, known = false;
  Cells cells;                          // rows of one kind have the same stretches
  std::vector<int> first;               // by kind of row: its first stretch, and one more at the end
  std::vector<Stretch> stretches;
  Set asked;
  std::vector<std::int32_t> positions;  // of `asked`
  std::vector<std::int32_t> all;        // every position
};

class Tiles {
 public:
  explicit Tiles(const Plan& plan);

  std::int64_t bytes() const { return static_cast<std::int64_t>(debts_.size() * sizeof(float)); }

  // A frame begins: without a field everything will be computed; with one, debts move along with their content.
  void begin(const Field* field);
  // Where the values of a grid come from.
  const Placed& placed(int grid);
  // A row of a map at the sources of its cells, channels-last. `computed`: cells that may be left as they are, or null.
  void interpolate(const Placed& placed, const Map& map, int y, const std::uint8_t* computed, float* out) const;
  // Cells [first, last) of a stretch in row y whose source lies on the grid.
  void inside(const Grid& grid, const Stretch& stretch, int y, int& first, int& last) const;
  // Zeros where a cell of row y has no source.
  void blank_outside(const Placed& placed, const Grid& grid, int y, int channels, float* row) const;
  // An input owes for each row of its grid what vectors leave unexplained; `finish_input` adds that to the debts.
  void begin_input();
  void owe_row(const Placed& placed, const Grid& grid, int y, int channels, const float* fresh, const float* before);
  void finish_input(const Grid& grid, int channels, float threshold);
  // The debts are complete: choose tiles. Returns the share of the frame that they cover.
  double choose(bool everything);
  // Cells of a grid that are computed.
  const Placed& asked(int grid);
  const std::vector<std::int32_t>& every(int grid);

 private:
  const Plan& plan_;
  BlendKernels kernels_;
  int rows_, cols_;                   // units
  std::vector<float> debts_, moved_;  // by unit, in thresholds
  std::vector<double> owed_;
  std::vector<Placed> grids_;
  std::vector<std::uint8_t> asked_known_;
  const Field* field_ = nullptr;
  Set tiles_;
};

}  // namespace dedelayed::sparse
