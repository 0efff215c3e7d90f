// The motion field under the cells of a grid: dedelayed_ros/sparse/motion.py's CellMotion.
#pragma once

#include <cstdint>
#include <vector>

#include "motion.h"
#include "plan.h"

namespace dedelayed::sparse {

constexpr std::int64_t kQuarters = 4;  // quarter pixels a pixel

std::int64_t round_away(std::int64_t number, std::int64_t divisor);

// Blocks of the field under each cell of a grid along one axis, and the one under its centre.
struct Cover {
  std::vector<int> first, last, centre;  // [first, last)

  Cover(int cells, Stride stride, int frame, int block);
};

// The same along both axes of a grid; one for each grid and size of blocks.
struct Covers {
  Cover rows, cols;

  Covers(const Plan& plan, const Grid& grid, int block)
      : rows(grid.height, grid.stride[0], plan.frame_height, block), cols(grid.width, grid.stride[1], plan.frame_width, block) {}
};

// Vectors under a cell, in quarter pixels; rows, then columns.
struct Vectors {
  int low[2], high[2], centre[2];
  std::int64_t total[2];
  int count;                 // of blocks that `total` is taken over
  bool valid, centre_valid;  // all of them, and the one under the centre
};

// Cells between two boundaries of blocks see the same vectors: they are kept once for all such cells.
struct Cells {
  std::vector<int> row, col;    // kind of each row and column of the grid
  std::vector<int> start, end;  // first column of each kind, and the one after its last
  std::vector<Vectors> kinds;   // [kinds of rows, kinds of columns]
  int columns = 0;              // kinds of columns

  void find(const Covers& covers, const Field& field, const Grid& grid);
  const Vectors& of_kind(int y, int kind) const { return kinds[static_cast<std::size_t>(row[y]) * columns + kind]; }
  const Vectors& at(int y, int x) const { return of_kind(y, col[x]); }
};

}  // namespace dedelayed::sparse
