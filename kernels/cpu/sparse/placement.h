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

// Rectangles with the same mean vector, found row by row: neighbours in a row become one, and then what lies below it.
class Stretches {
 public:
  struct Stretch {
    Area area;
    bool valid;
    float moved[2];  // rows, then columns
    bool moves_as(const Stretch& other) const {
      return valid == other.valid && moved[0] == other.moved[0] && moved[1] == other.moved[1];
    }
  };
  std::vector<Stretch> found;

  // stretch_of(row, col) is what there is of it of a table of rows and columns.
  template <class StretchOf>
  void find(int rows, int cols, StretchOf stretch_of);

 private:
  std::vector<std::size_t> open_, next_;  // stretches that reach down to the row above, and to this one

  void add(const Stretch& stretch, std::size_t& above);
};

// The blocks of a field that lie over the frame; `moved` is in quarter pixels.
class MovedBlocks {
 public:
  int rows = 0, cols = 0;
  Stretches alike;

  void find(const Plan& plan, const Field& field);
};

class Placement {
 public:
  bool still = true;
  std::vector<Patch> patches;   // of the cells that have a source
  std::vector<Area> uncovered;  // the others

  // No field, or one that does not move: each cell is its own source. `blocks` are the field's.
  void find(const Plan& plan, const Field* field, const MovedBlocks& blocks, const Grid& grid);

 private:
  // Cells along an axis that lie over the same blocks.
  struct Kinds {
    std::vector<int> start, first, last;  // of each kind: its first cell, and one more; its blocks [first, last)

    void find(int cells, Stride stride, int frame, int block);
    int count() const { return static_cast<int>(first.size()); }
    // Whether each kind is of the cells over one block, and there is one for each of so many.
    bool are_blocks(int blocks) const;
  };

  int block_ = 0;
  Kinds rows_, cols_;
  bool by_blocks_ = false;  // the kinds are the blocks
  Stretches stretches_;

  Stretches::Stretch stretch(const Field& field, const Grid& grid, int row, int col) const;
  void place(const Grid& grid, const Stretches::Stretch& stretch);
};

}  // namespace dedelayed::sparse
