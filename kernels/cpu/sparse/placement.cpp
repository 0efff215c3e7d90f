#include "placement.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "cells.h"

namespace dedelayed::sparse {
namespace {

// Cells by which quarter pixels move a grid, of which `total` are the sum over so many blocks.
float cells_of(std::int64_t total, std::int64_t count, const Stride& stride) {
  if (!stride.den) return 0.0f;
  return static_cast<float>(total * stride.den) / static_cast<float>(count * kQuarters * stride.num);
}

// Cells of [start, end) along an axis of n whose source, `cells` before them, lies on the grid.
void inside(int start, int end, float cells, int n, int& first, int& last) {
  const auto within = [&](int p) {
    const float source = static_cast<float>(p) - cells;
    return source >= -0.5f && source <= static_cast<float>(n) - 0.5f;
  };
  first = start, last = end;
  while (first < last && !within(first)) ++first;
  while (first < last && !within(last - 1)) --last;
}

// Part of an axis in which each cell lies between two others, or at a border beside one.
struct Band {
  int first, last, whole;
  bool next;
};

int split(int first, int last, int whole, float part, int n, Band* bands) {
  int count = 0;
  const auto add = [&](int from, int to, int by, bool next) {
    if (from < to) bands[count++] = {from, to, by, next};
  };
  if (part == 0.0f) {
    add(first, last, whole, false);
    return count;
  }
  const int low = std::clamp(-whole, first, last), high = std::clamp(n - 1 - whole, low, last);
  add(first, low, whole + 1, false);
  add(low, high, whole, true);
  add(high, last, whole, false);
  return count;
}

}  // namespace

void Placement::Kinds::find(int cells, Stride stride, int frame, int block) {
  const Cover cover(cells, stride, frame, block);
  start.clear(), first.clear(), last.clear();
  for (int p = 0; p < cells; ++p) {
    if (p && cover.first[p] == first.back() && cover.last[p] == last.back()) continue;
    start.push_back(p), first.push_back(cover.first[p]), last.push_back(cover.last[p]);
  }
  start.push_back(cells);
}

bool Placement::Kinds::are_blocks(int blocks) const {
  if (count() != blocks) return false;
  for (int k = 0; k < blocks; ++k) {
    if (first[k] != k || last[k] != k + 1) return false;
  }
  return true;
}

template <class StretchOf>
void Stretches::find(int rows, int cols, StretchOf stretch_of) {
  found.clear(), open_.clear();
  for (int r = 0; r < rows; ++r) {
    next_.clear();
    std::size_t above = 0;
    Stretch now = stretch_of(r, 0);
    for (int c = 1; c < cols; ++c) {
      const Stretch beside = stretch_of(r, c);
      if (beside.moves_as(now)) {
        now.area.right = beside.area.right;
      } else {
        add(now, above);
        now = beside;
      }
    }
    add(now, above);
    open_.swap(next_);
  }
}

// `above`: the first of the open stretches that may lie over this one or further to the right.
void Stretches::add(const Stretch& stretch, std::size_t& above) {
  while (above < open_.size() && found[open_[above]].area.left < stretch.area.left) ++above;
  if (above < open_.size()) {
    Stretch& over = found[open_[above]];
    if (over.area.left == stretch.area.left && over.area.right == stretch.area.right && over.moves_as(stretch)) {
      over.area.bottom = stretch.area.bottom;
      next_.push_back(open_[above]);
      return;
    }
  }
  next_.push_back(found.size());
  found.push_back(stretch);
}

void MovedBlocks::find(const Plan& plan, const Field& field) {
  rows = (plan.frame_height + field.block - 1) / field.block, cols = (plan.frame_width + field.block - 1) / field.block;
  alike.find(rows, cols, [&](int row, int col) {
    const int block = row * field.cols + col;
    const auto vector = [&](int axis) { return static_cast<float>(vector_of(field, block, axis)); };
    return Stretches::Stretch{{row, col, row + 1, col + 1}, field.valid[block] != 0, {vector(0), vector(1)}};
  });
}

void Placement::find(const Plan& plan, const Field* field, const MovedBlocks& blocks, const Grid& grid) {
  patches.clear(), uncovered.clear();
  still = !field || field->still || grid.cells() == 1;
  if (still) {
    patches.push_back({{0, 0, grid.height, grid.width}, 0, 0, 0.0f, 0.0f, false, false});
    return;
  }
  if (block_ != field->block) {
    block_ = field->block;
    rows_.find(grid.height, grid.stride[0], plan.frame_height, block_);
    cols_.find(grid.width, grid.stride[1], plan.frame_width, block_);
    by_blocks_ = rows_.are_blocks(blocks.rows) && cols_.are_blocks(blocks.cols);
  }
  if (by_blocks_) {  // most grids: what moves alike is the same for all of them
    for (const Stretches::Stretch& alike : blocks.alike.found) {
      const Area& over = alike.area;
      Stretches::Stretch stretch{
          {rows_.start[over.top], cols_.start[over.left], rows_.start[over.bottom], cols_.start[over.right]}, alike.valid, {}};
      for (int axis = 0; axis < 2 && alike.valid; ++axis) {
        stretch.moved[axis] = cells_of(static_cast<std::int64_t>(alike.moved[axis]), 1, grid.stride[axis]);
      }
      place(grid, stretch);
    }
    return;
  }
  stretches_.find(rows_.count(), cols_.count(), [&](int row, int col) { return stretch(*field, grid, row, col); });
  for (const Stretches::Stretch& found : stretches_.found) place(grid, found);
}

// Cells over the same blocks, and the mean of the vectors there.
Stretches::Stretch Placement::stretch(const Field& field, const Grid& grid, int row, int col) const {
  Stretches::Stretch found{{rows_.start[row], cols_.start[col], rows_.start[row + 1], cols_.start[col + 1]}, true, {0.0f, 0.0f}};
  std::int64_t total[2] = {0, 0};
  for (int y = rows_.first[row]; y < rows_.last[row]; ++y) {
    for (int x = cols_.first[col]; x < cols_.last[col]; ++x) {
      const int block = y * field.cols + x;
      found.valid &= field.valid[block] != 0;
      for (int axis = 0; axis < 2; ++axis) total[axis] += vector_of(field, block, axis);
    }
  }
  const std::int64_t count = static_cast<std::int64_t>(rows_.last[row] - rows_.first[row]) * (cols_.last[col] - cols_.first[col]);
  for (int axis = 0; axis < 2 && found.valid; ++axis) found.moved[axis] = cells_of(total[axis], count, grid.stride[axis]);
  return found;
}

void Placement::place(const Grid& grid, const Stretches::Stretch& stretch) {
  const Area& area = stretch.area;
  int whole[2];
  float part[2];
  for (int axis = 0; axis < 2; ++axis) {
    const float before = std::floor(-stretch.moved[axis]);
    whole[axis] = static_cast<int>(before), part[axis] = -stretch.moved[axis] - before;
  }
  const bool amid = area.top + whole[0] >= 0 && area.bottom + whole[0] < grid.height && area.left + whole[1] >= 0 &&
                    area.right + whole[1] < grid.width;
  if (stretch.valid && amid) {  // nearly all of them
    patches.push_back({area, whole[0], whole[1], part[0], part[1], true, true});
    return;
  }
  int top = area.top, bottom = area.top, left = area.left, right = area.right;
  if (stretch.valid) {
    inside(area.top, area.bottom, stretch.moved[0], grid.height, top, bottom);
    inside(area.left, area.right, stretch.moved[1], grid.width, left, right);
  }
  const auto uncover = [this](const Area& part) {
    if (part.cells() > 0) uncovered.push_back(part);
  };
  uncover({area.top, area.left, top, area.right});
  uncover({bottom, area.left, area.bottom, area.right});
  uncover({top, area.left, bottom, left});
  uncover({top, right, bottom, area.right});
  Band rows[3], cols[3];
  const int row_bands = split(top, bottom, whole[0], part[0], grid.height, rows);
  const int col_bands = split(left, right, whole[1], part[1], grid.width, cols);
  for (int r = 0; r < row_bands; ++r) {
    for (int c = 0; c < col_bands; ++c) {
      patches.push_back({{rows[r].first, cols[c].first, rows[r].last, cols[c].last}, rows[r].whole, cols[c].whole, part[0],
                         part[1], rows[r].next, cols[c].next});
    }
  }
}

}  // namespace dedelayed::sparse
