// How the cells of a grid move in Mode::kTiles: rectangles of them that find their cached values alike.
// dedelayed_ros/sparse/backends/tiled.py's `placed` is the specification.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "motion.h"
#include "plan.h"

namespace dedelayed::sparse {

// Cells [top, bottom) x [left, right).
struct Area {
  int top, left, bottom, right;
  std::int64_t cells() const { return static_cast<std::int64_t>(bottom - top) * (right - left); }
};

// Cells that find their cached values between four others, at one distance.
struct Patch {
  Area to;
  int rows, cols;      // from a cell to the first of the four
  float down, right;   // and how far from that one to the next, 0 to 1
  bool below, beside;  // whether the next row, and column, is another one: at the border it is the same

  bool is_whole() const { return down == 0.0f && right == 0.0f; }
};

class Placement {
 public:
  bool still = true;
  std::vector<Patch> patches;   // of the cells that have a source
  std::vector<Area> uncovered;  // the others

  // No field, or one that does not move: each cell is its own source.
  void find(const Plan& plan, const Field* field, const Grid& grid);

 private:
  // Cells along an axis that lie over the same blocks.
  struct Kinds {
    std::vector<int> start, first, last;  // of each kind: its first cell, and one more; its blocks [first, last)

    void find(int cells, Stride stride, int frame, int block);
    int count() const { return static_cast<int>(first.size()); }
  };
  // A rectangle of cells with the same mean vector.
  struct Stretch {
    Area area;
    bool valid;
    float cells[2];
    bool moves_as(const Stretch& other) const {
      return valid == other.valid && cells[0] == other.cells[0] && cells[1] == other.cells[1];
    }
  };

  int block_ = 0;
  Kinds rows_, cols_;
  std::vector<Stretch> stretches_;
  std::vector<std::size_t> open_, next_;  // stretches that reach down to the row of kinds above, and to this one

  Stretch stretch(const Field& field, const Grid& grid, int row, int col) const;
  void add(const Stretch& stretch, std::size_t& above);
  void place(const Grid& grid, const Stretch& stretch);
};

}  // namespace dedelayed::sparse
