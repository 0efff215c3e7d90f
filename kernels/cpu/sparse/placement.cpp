#include "placement.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "cells.h"

namespace dedelayed::sparse {
namespace {

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

void Placement::find(const Plan& plan, const Field* field, const Grid& grid) {
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
  }
  stretches_.clear(), open_.clear();
  for (int r = 0; r < rows_.count(); ++r) {
    next_.clear();
    std::size_t above = 0;
    Stretch now = stretch(*field, grid, r, 0);
    for (int c = 1; c < cols_.count(); ++c) {
      const Stretch beside = stretch(*field, grid, r, c);
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
  for (const Stretch& found : stretches_) place(grid, found);
}

// Cells over the same blocks, and the mean of the vectors there.
Placement::Stretch Placement::stretch(const Field& field, const Grid& grid, int row, int col) const {
  Stretch found{{rows_.start[row], cols_.start[col], rows_.start[row + 1], cols_.start[col + 1]}, true, {0.0f, 0.0f}};
  std::int64_t total[2] = {0, 0};
  for (int y = rows_.first[row]; y < rows_.last[row]; ++y) {
    for (int x = cols_.first[col]; x < cols_.last[col]; ++x) {
      const int block = y * field.cols + x;
      found.valid &= field.valid[block] != 0;
      for (int axis = 0; axis < 2; ++axis) total[axis] += vector_of(field, block, axis);
    }
  }
  const std::int64_t count = static_cast<std::int64_t>(rows_.last[row] - rows_.first[row]) * (cols_.last[col] - cols_.first[col]);
  for (int axis = 0; axis < 2; ++axis) {
    const Stride& stride = grid.stride[axis];
    if (!stride.den || !found.valid) continue;
    found.cells[axis] = static_cast<float>(total[axis] * stride.den) / static_cast<float>(count * kQuarters * stride.num);
  }
  return found;
}

// `above`: the first of the open stretches that may lie over this one or further to the right.
void Placement::add(const Stretch& stretch, std::size_t& above) {
  while (above < open_.size() && stretches_[open_[above]].area.left < stretch.area.left) ++above;
  if (above < open_.size()) {
    Stretch& over = stretches_[open_[above]];
    if (over.area.left == stretch.area.left && over.area.right == stretch.area.right && over.moves_as(stretch)) {
      over.area.bottom = stretch.area.bottom;
      next_.push_back(open_[above]);
      return;
    }
  }
  next_.push_back(stretches_.size());
  stretches_.push_back(stretch);
}

void Placement::place(const Grid& grid, const Stretch& stretch) {
  const Area& area = stretch.area;
  int whole[2];
  float part[2];
  for (int axis = 0; axis < 2; ++axis) {
    const float before = std::floor(-stretch.cells[axis]);
    whole[axis] = static_cast<int>(before), part[axis] = -stretch.cells[axis] - before;
  }
  const bool amid = area.top + whole[0] >= 0 && area.bottom + whole[0] < grid.height && area.left + whole[1] >= 0 &&
                    area.right + whole[1] < grid.width;
  if (stretch.valid && amid) {  // nearly all of them
    patches.push_back({area, whole[0], whole[1], part[0], part[1], true, true});
    return;
  }
  int top = area.top, bottom = area.top, left = area.left, right = area.right;
  if (stretch.valid) {
    inside(area.top, area.bottom, stretch.cells[0], grid.height, top, bottom);
    inside(area.left, area.right, stretch.cells[1], grid.width, left, right);
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
