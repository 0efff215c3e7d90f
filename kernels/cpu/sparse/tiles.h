// Mode::kTiles: which tiles of a frame every layer computes, and how the cells of each grid find their cached values.
// dedelayed_ros/sparse/backends/tiled.py is the specification.
#pragma once

#include <cstdint>
#include <vector>

#include "blend.h"
#include "motion.h"
#include "placement.h"
#include "plan.h"
#include "sets.h"

namespace dedelayed::sparse {

// Cells of a grid that are computed, and how the others are kept.
struct Asked {
  Set set;
  std::vector<std::int32_t> positions;  // of `set`
  bool shifts;                          // most of the others moved alike, by whole cells
  int rows, cols;                       // by so many
  std::vector<Patch> patches;           // of the others, those that did not
};

class Tiles {
 public:
  explicit Tiles(const Plan& plan);

  std::int64_t bytes() const { return static_cast<std::int64_t>((debts_.size() + doubts_.size()) * sizeof(float)); }

  // A frame begins: without a field everything will be computed; with one, debts and doubts move along with their content.
  void begin(const Field* field);
  // Where the values of a grid come from.
  const Placement& placed(int grid);
  // Rows of units, and the first row of a grid that begins in one; of the one after the last, the grid's height.
  int unit_rows() const { return rows_; }
  int first_row(int grid, int unit_row) const { return units_[grid].rows[unit_row]; }
  // Rows of units that lie in one row of tiles, which threads may share out among them.
  int unit_rows_together() const { return plan_.tile / kUnit; }
  // An input follows the vectors: find the patches that cross each row of units.
  void follow(int grid);
  // It owes what they leave unexplained of a row of units. `before` is its last map, `now` the one that is given;
  // `whole` is what 1 amounts to in what `unexplained` gives.
  template <class T, class Measure>
  void owe(int grid, int unit_row, Measure unexplained, const View<const T>& before, const View<const T>& now, float threshold,
           double whole);
  // Rows of units where something was computed: how sure the network is there now, by its logits.
  template <class T>
  void doubt(int unit_row, const View<const T>& logits);
  // The debts are complete: choose tiles. Returns the share of the frame that they cover.
  double choose(bool everything);
  // What is computed of a grid.
  const Asked& asked(int grid);
  const std::vector<std::int32_t>& every(int grid);
  // Of a node that is computed wherever it is read, where that is; all of one whose value is kept for more than its readers.
  const Set& read_of(int node);

 private:
  static constexpr int kUnit = 8;  // frame pixels; alignment.py's UNIT

  // What does not change from frame to frame.
  struct Units {
    std::vector<int> rows, cols;                // first cell of each row or column of units, and one more at the end
    std::vector<int> first_tile, last_tile;     // by row: tiles that it lies over, [first, last)
    std::vector<int> first_cell, last_cell;     // by column of tiles: columns that lie over it, [first, last)
    std::vector<std::int32_t> every;            // positions
  };

  const Plan& plan_;
  int rows_, cols_;                     // units
  std::vector<float> debts_, moved_;    // by unit, in thresholds
  std::vector<float> doubts_;           // by unit: how much of a difference counts; empty: all of it
  std::vector<int> over_[2];            // by unit along an axis: first cell of the logits over it, and the one after the last
  std::vector<std::uint8_t> due_;       // by tile
  std::vector<Units> units_;            // by grid
  MovedBlocks blocks_;
  std::vector<Placement> placements_;
  std::vector<std::vector<Patch>> crossing_;  // by row of units
  std::vector<Asked> asked_;
  std::vector<std::uint8_t> placed_known_, asked_known_, read_known_;  // by grid, grid, node
  const Field* field_ = nullptr;
  struct Reader {
    int node, window;
  };
  std::vector<std::vector<Reader>> readers_;  // by node
  std::vector<Set> read_;                     // likewise, of those that are computed wherever they are read
  std::vector<std::uint8_t> line_;      // scratch
  std::vector<std::uint8_t> as_above_;  // scratch: rows that ask for the same as those over them
  Set tiles_;

  void move(std::vector<float>& held, float unknown);
  void find_set(int grid);
  void find_kept(int grid);
};

}  // namespace dedelayed::sparse
