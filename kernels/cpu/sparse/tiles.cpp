#include "tiles.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace dedelayed::sparse {
namespace {

constexpr int kUnit = 8;  // frame pixels; alignment.py's UNIT

int divide_up(int a, int b) { return (a + b - 1) / b; }

int floor_divide(int a, int b) { return a >= 0 ? a / b : -divide_up(-a, b); }

}  // namespace

Tiles::Tiles(const Plan& plan)
    : plan_(plan),
      kernels_(blend_variant(plan.instruction_set)),
      rows_(divide_up(plan.frame_height, kUnit)),
      cols_(divide_up(plan.frame_width, kUnit)) {
  if (plan.mode != Mode::kTiles) return;
  const std::size_t units = static_cast<std::size_t>(rows_) * cols_;
  debts_.assign(units, 0.0f), owed_.assign(units, 0.0);
  grids_.resize(plan.grids.size()), asked_known_.resize(plan.grids.size());
  tiles_.resize(divide_up(plan.frame_height, plan.tile), divide_up(plan.frame_width, plan.tile));
}

void Tiles::begin(const Field* field) {
  field_ = field;
  for (Placed& placed : grids_) placed.known = false;
  std::fill(asked_known_.begin(), asked_known_.end(), 0);
  if (!field) {
    std::fill(debts_.begin(), debts_.end(), 0.0f);
    return;
  }
  if (field->still) return;
  moved_.resize(debts_.size());
  for (int r = 0; r < rows_; ++r) {
    const int y = std::min(r * kUnit + kUnit / 2, plan_.frame_height - 1);
    for (int c = 0; c < cols_; ++c) {
      const int x = std::min(c * kUnit + kUnit / 2, plan_.frame_width - 1);
      const int block = y / field->block * field->cols + x / field->block, quarters = static_cast<int>(kQuarters);
      const int row = floor_divide(quarters * y - vector_of(*field, block, 0), quarters * kUnit);
      const int col = floor_divide(quarters * x - vector_of(*field, block, 1), quarters * kUnit);
      const int from = std::clamp(row, 0, rows_ - 1) * cols_ + std::clamp(col, 0, cols_ - 1);
      moved_[static_cast<std::size_t>(r) * cols_ + c] = field->valid[block] ? debts_[from] : 0.0f;
    }
  }
  debts_.swap(moved_);
}

const Placed& Tiles::placed(int number) {
  Placed& placed = grids_[number];
  if (placed.known) return placed;
  placed.known = true;
  const Grid& grid = plan_.grids[number];
  placed.still = !field_ || field_->still || grid.cells() == 1;
  if (placed.still) return placed;
  placed.cells.find(plan_, *field_, grid);
  placed.first.assign(1, 0), placed.stretches.clear();
  const int kinds = placed.cells.columns ? static_cast<int>(placed.cells.kinds.size()) / placed.cells.columns : 0;
  for (int kind = 0; kind < kinds; ++kind) {
    for (int c = 0; c < placed.cells.columns; ++c) {
      const Vectors& v = placed.cells.kinds[static_cast<std::size_t>(kind) * placed.cells.columns + c];
      Stretch stretch{placed.cells.start[c], placed.cells.end[c], v.valid, {0, 0}, {0, 0}, {0, 0}};
      for (int axis = 0; axis < 2; ++axis) {
        const Stride& stride = grid.stride[axis];
        if (!stride.den) continue;
        stretch.cells[axis] = static_cast<float>(v.total[axis] * stride.den) / static_cast<float>(v.count * kQuarters * stride.num);
        const float whole = std::floor(-stretch.cells[axis]);
        stretch.whole[axis] = static_cast<int>(whole);
        stretch.part[axis] = -stretch.cells[axis] - whole;
      }
      const auto alike = [&](const Stretch& a) {
        return a.valid == stretch.valid && a.cells[0] == stretch.cells[0] && a.cells[1] == stretch.cells[1];
      };
      if (static_cast<int>(placed.stretches.size()) > placed.first.back() && alike(placed.stretches.back())) {
        placed.stretches.back().end = stretch.end;
      } else {
        placed.stretches.push_back(stretch);
      }
    }
    placed.first.push_back(static_cast<int>(placed.stretches.size()));
  }
  return placed;
}

void Tiles::interpolate(const Placed& placed, const Map& map, int y, const std::uint8_t* computed, float* out) const {
  const int channels = map.channels, w = map.width;
  if (placed.still) {
    std::copy_n(map.at(y, 0), static_cast<std::ptrdiff_t>(w) * channels, out);
    return;
  }
  const int kind = placed.cells.row[y];
  for (int k = placed.first[kind]; k < placed.first[kind + 1]; ++k) {
    const Stretch& s = placed.stretches[k];
    if (computed && !std::memchr(computed + s.start, 0, static_cast<std::size_t>(s.end - s.start))) continue;
    const int top = std::clamp(y + s.whole[0], 0, map.height - 1), bottom = std::clamp(y + s.whole[0] + 1, 0, map.height - 1);
    const auto blend = [&](int x, int cells, int left, int right) {
      float* to = out + static_cast<std::ptrdiff_t>(x) * channels;
      const int floats = cells * channels;
      if (s.part[0] == 0.0f && s.part[1] == 0.0f) {
        std::copy_n(map.at(top, left), floats, to);
      } else {
        kernels_.blend(map.at(top, left), map.at(top, right), map.at(bottom, left), map.at(bottom, right), s.part[1],
                       s.part[0], floats, to);
      }
    };
    // Cells of which both columns are on the grid, and those before and after them.
    const int first = std::clamp(-s.whole[1], s.start, s.end), last = std::clamp(w - 1 - s.whole[1], first, s.end);
    const auto clamped = [&](int x) {
      blend(x, 1, std::clamp(x + s.whole[1], 0, w - 1), std::clamp(x + s.whole[1] + 1, 0, w - 1));
    };
    for (int x = s.start; x < first; ++x) clamped(x);
    if (first < last) blend(first, last - first, first + s.whole[1], first + s.whole[1] + 1);
    for (int x = last; x < s.end; ++x) clamped(x);
  }
}

void Tiles::inside(const Grid& grid, const Stretch& s, int y, int& first, int& last) const {
  const auto within = [](int p, float cells, int n) {
    const float source = static_cast<float>(p) - cells;
    return source >= -0.5f && source <= static_cast<float>(n) - 0.5f;
  };
  first = s.start, last = s.valid && within(y, s.cells[0], grid.height) ? s.end : s.start;
  while (first < last && !within(first, s.cells[1], grid.width)) ++first;
  while (first < last && !within(last - 1, s.cells[1], grid.width)) --last;
}

void Tiles::begin_input() { std::fill(owed_.begin(), owed_.end(), 0.0); }

void Tiles::owe_row(const Placed& placed, const Grid& grid, int y, int channels, const float* fresh, const float* before) {
  const auto first_unit = [](int cell, Stride stride, int frame) {
    return stride.den ? static_cast<int>(std::min<std::int64_t>(cell * stride.num / stride.den, frame - 1)) / kUnit : 0;
  };
  const int row = first_unit(y, grid.stride[0], plan_.frame_height);
  const auto unit_of = [&](int x) { return first_unit(x, grid.stride[1], plan_.frame_width); };
  const auto add = [&](int first, int last) {
    while (first < last) {
      const int unit = unit_of(first);
      int end = first + 1;
      while (end < last && unit_of(end) == unit) ++end;
      const std::ptrdiff_t start = static_cast<std::ptrdiff_t>(first) * channels;
      owed_[static_cast<std::size_t>(row) * cols_ + unit] += kernels_.distance(fresh + start, before + start, (end - first) * channels);
      first = end;
    }
  };
  if (placed.still) return add(0, grid.width);
  const int kind = placed.cells.row[y];
  for (int k = placed.first[kind]; k < placed.first[kind + 1]; ++k) {
    int first, last;
    inside(grid, placed.stretches[k], y, first, last);
    add(first, last);
  }
}

void Tiles::blank_outside(const Placed& placed, const Grid& grid, int y, int channels, float* row) const {
  if (placed.still) return;
  const int kind = placed.cells.row[y];
  const auto blank = [&](int start, int end) { std::fill_n(row + static_cast<std::ptrdiff_t>(start) * channels, (end - start) * channels, 0.0f); };
  for (int k = placed.first[kind]; k < placed.first[kind + 1]; ++k) {
    int first, last;
    inside(grid, placed.stretches[k], y, first, last);
    blank(placed.stretches[k].start, first), blank(last, placed.stretches[k].end);
  }
}

void Tiles::finish_input(const Grid& grid, int channels, float threshold) {
  const auto first_units = [](int cells, Stride stride, int frame) {
    return Cover(cells, stride, frame, kUnit).first;
  };
  std::vector<int> rows(static_cast<std::size_t>(rows_), 0), cols(static_cast<std::size_t>(cols_), 0);
  for (const int r : first_units(grid.height, grid.stride[0], plan_.frame_height)) ++rows[r];
  for (const int c : first_units(grid.width, grid.stride[1], plan_.frame_width)) ++cols[c];
  for (int r = 0; r < rows_; ++r) {
    for (int c = 0; c < cols_; ++c) {
      const std::size_t unit = static_cast<std::size_t>(r) * cols_ + c;
      const double count = std::max<double>(1, static_cast<double>(rows[r]) * cols[c] * channels);
      const float mean = static_cast<float>(owed_[unit] / count);
      if (mean > 0.0f) debts_[unit] += mean / threshold;
    }
  }
}

double Tiles::choose(bool everything) {
  const int many = plan_.tile / kUnit;
  tiles_.clear();
  double pixels = 0;
  for (int r = 0; r < tiles_.height; ++r) {
    for (int c = 0; c < tiles_.width; ++c) {
      const int top = r * many, left = c * many, bottom = std::min(top + many, rows_), right = std::min(left + many, cols_);
      bool due = everything;
      for (int y = top; y < bottom && !due; ++y) {
        for (int x = left; x < right; ++x) due |= debts_[static_cast<std::size_t>(y) * cols_ + x] > 1.0f;
      }
      if (!due) continue;
      for (int y = top; y < bottom; ++y) {
        std::fill_n(debts_.begin() + static_cast<std::ptrdiff_t>(y) * cols_ + left, right - left, 0.0f);
      }
      tiles_.row(r)[c] = tiles_.rows[r] = 1;
      pixels += static_cast<double>(std::min(plan_.tile, plan_.frame_height - r * plan_.tile)) *
                std::min(plan_.tile, plan_.frame_width - c * plan_.tile);
    }
  }
  return pixels / (static_cast<double>(plan_.frame_height) * plan_.frame_width);
}

const Placed& Tiles::asked(int number) {
  Placed& found = grids_[number];
  if (asked_known_[number]) return found;
  asked_known_[number] = 1;
  placed(number);
  const Grid& grid = plan_.grids[number];
  const Cover rows(grid.height, grid.stride[0], plan_.frame_height, plan_.tile);
  const Cover cols(grid.width, grid.stride[1], plan_.frame_width, plan_.tile);
  found.asked.resize(grid.height, grid.width);
  for (int y = 0; y < grid.height; ++y) {
    std::uint8_t* on = found.asked.row(y);
    const bool as_before = y && rows.first[y] == rows.first[y - 1] && rows.last[y] == rows.last[y - 1];
    if (as_before) std::memcpy(on, on - grid.width, static_cast<std::size_t>(grid.width));
    for (int r = rows.first[y]; r < rows.last[y] && !as_before; ++r) {
      if (!tiles_.rows[r]) continue;
      for (int x = 0; x < grid.width; ++x) {
        for (int c = cols.first[x]; c < cols.last[x]; ++c) on[x] |= tiles_.row(r)[c];
      }
    }
  }
  for (int y = 0; y < grid.height; ++y) {
    std::uint8_t* on = found.asked.row(y);
    const int kind = found.still ? 0 : found.cells.row[y];
    for (int k = found.still ? 0 : found.first[kind]; !found.still && k < found.first[kind + 1]; ++k) {
      int first, last;
      inside(grid, found.stretches[k], y, first, last);
      std::fill(on + found.stretches[k].start, on + first, 1), std::fill(on + last, on + found.stretches[k].end, 1);
    }
    found.asked.rows[y] = std::memchr(on, 1, static_cast<std::size_t>(grid.width)) != nullptr;
  }
  list(found.asked, found.positions);
  return found;
}

const std::vector<std::int32_t>& Tiles::every(int number) {
  Placed& found = grids_[number];
  const std::size_t cells = static_cast<std::size_t>(plan_.grids[number].cells());
  while (found.all.size() < cells) found.all.push_back(static_cast<std::int32_t>(found.all.size()));
  return found.all;
}

}  // namespace dedelayed::sparse
