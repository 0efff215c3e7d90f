#include "tiles.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "cells.h"
#include "levels.h"

namespace dedelayed::sparse {
namespace {

int divide_up(int a, int b) { return (a + b - 1) / b; }

int floor_divide(int a, int b) { return a >= 0 ? a / b : -divide_up(-a, b); }

// First cell of each of `units` units along an axis, and one more at the end.
std::vector<int> first_cells(int cells, Stride stride, int frame, int unit, int units) {
  const std::vector<int> unit_of = Cover(cells, stride, frame, unit).first;
  std::vector<int> first(static_cast<std::size_t>(units) + 1, cells);
  for (int p = cells - 1; p >= 0; --p) first[unit_of[p]] = p;
  for (int u = units - 1; u >= 0; --u) first[u] = std::min(first[u], first[u + 1]);
  return first;
}

// First cell over each of `units` units along an axis, and the one after the last, in turn; the same where there is none.
std::vector<int> cells_over(const Cover& cover, int units) {
  std::vector<int> spans(2 * static_cast<std::size_t>(units), 0);
  for (int p = static_cast<int>(cover.first.size()) - 1; p >= 0; --p) {
    for (int u = cover.first[p]; u < cover.last[p]; ++u) {
      spans[2 * u] = p;
      spans[2 * u + 1] = std::max(spans[2 * u + 1], p + 1);
    }
  }
  return spans;
}

constexpr int kCells = 4;

// How much a difference counts at each of so many cells: backends/doubt.py. Several at once, since at one each class has to
// wait for the one before it.
template <class T>
void doubts_at(const T* const (&logits)[kCells], int classes, float margin, float (&doubts)[kCells]) {
  constexpr float kLeast = 0.25f, kLowest = -std::numeric_limits<float>::infinity();
  float first[kCells] = {kLowest, kLowest, kLowest, kLowest}, second[kCells] = {kLowest, kLowest, kLowest, kLowest};
  int numbers[kCells] = {1, 1, 1, 1};
  for (int c = 0; c < classes; ++c) {
    for (int k = 0; k < kCells; ++k) {
      const float value = widened(logits[k][c]);
      numbers[k] &= value == value;
      second[k] = std::max(second[k], std::min(first[k], value));
      first[k] = std::max(first[k], value);
    }
  }
  for (int k = 0; k < kCells; ++k) {
    const float lead = first[k] - second[k];
    doubts[k] = numbers[k] && lead >= 0.0f ? std::max(margin / (margin + lead), kLeast) : 1.0f;
  }
}

}  // namespace

Tiles::Tiles(const Plan& plan)
    : plan_(plan),
      rows_(divide_up(plan.frame_height, kUnit)),
      cols_(divide_up(plan.frame_width, kUnit)) {
  if (plan.mode != Mode::kTiles) return;
  const std::size_t grids = plan.grids.size();
  debts_.assign(static_cast<std::size_t>(rows_) * cols_, 0.0f);
  crossing_.resize(static_cast<std::size_t>(rows_));
  units_.resize(grids), placements_.resize(grids), asked_.resize(grids);
  placed_known_.resize(grids), asked_known_.resize(grids);
  tiles_.resize(divide_up(plan.frame_height, plan.tile), divide_up(plan.frame_width, plan.tile));
  due_.resize(tiles_.on.size());
  readers_.resize(plan.nodes.size()), read_.resize(plan.nodes.size()), read_known_.resize(plan.nodes.size());
  for (std::size_t n = 0; n < plan.nodes.size(); ++n) {
    const Node& node = plan.nodes[n];
    for (std::size_t k = 0; k < node.inputs.size(); ++k) readers_[node.inputs[k]].push_back({static_cast<int>(n), node.windows[k]});
  }
  if (plan.logits >= 0) {
    const Grid& grid = plan.grids[plan.nodes[plan.logits].grid];
    doubts_.assign(debts_.size(), 1.0f);
    over_[0] = cells_over(Cover(grid.height, grid.stride[0], plan.frame_height, kUnit), rows_);
    over_[1] = cells_over(Cover(grid.width, grid.stride[1], plan.frame_width, kUnit), cols_);
  }
  for (std::size_t g = 0; g < grids; ++g) {
    const Grid& grid = plan.grids[g];
    Units& units = units_[g];
    units.rows = first_cells(grid.height, grid.stride[0], plan.frame_height, kUnit, rows_);
    units.cols = first_cells(grid.width, grid.stride[1], plan.frame_width, kUnit, cols_);
    const Cover rows(grid.height, grid.stride[0], plan.frame_height, plan.tile);
    const Cover cols(grid.width, grid.stride[1], plan.frame_width, plan.tile);
    units.first_tile = rows.first, units.last_tile = rows.last;
    units.first_cell.assign(static_cast<std::size_t>(tiles_.width), grid.width);
    units.last_cell = units.first_cell;  // a grid may leave tiles out
    for (int x = 0; x < grid.width; ++x) {
      for (int c = cols.first[x]; c < cols.last[x]; ++c) {
        units.first_cell[c] = std::min(units.first_cell[c], x), units.last_cell[c] = x + 1;
      }
    }
  }
}

void Tiles::begin(const Field* field) {
  field_ = field;
  std::fill(placed_known_.begin(), placed_known_.end(), 0);
  std::fill(asked_known_.begin(), asked_known_.end(), 0);
  std::fill(read_known_.begin(), read_known_.end(), 0);
  std::fill(due_.begin(), due_.end(), 0);
  if (!field) {
    std::fill(debts_.begin(), debts_.end(), 0.0f);
    std::fill(doubts_.begin(), doubts_.end(), 1.0f);
    return;
  }
  if (field->still) return;
  blocks_.find(plan_, *field);
  move(debts_, 0.0f);
  if (!doubts_.empty()) move(doubts_, 1.0f);
}

// What units hold moves along with their content; `unknown` where nothing says where that comes from.
void Tiles::move(std::vector<float>& held, float unknown) {
  moved_.resize(held.size());
  for (int r = 0; r < rows_; ++r) {
    const int y = std::min(r * kUnit + kUnit / 2, plan_.frame_height - 1);
    for (int c = 0; c < cols_; ++c) {
      const int x = std::min(c * kUnit + kUnit / 2, plan_.frame_width - 1);
      const int block = y / field_->block * field_->cols + x / field_->block, quarters = static_cast<int>(kQuarters);
      const int row = floor_divide(quarters * y - vector_of(*field_, block, 0), quarters * kUnit);
      const int col = floor_divide(quarters * x - vector_of(*field_, block, 1), quarters * kUnit);
      const int from = std::clamp(row, 0, rows_ - 1) * cols_ + std::clamp(col, 0, cols_ - 1);
      moved_[static_cast<std::size_t>(r) * cols_ + c] = field_->valid[block] ? held[from] : unknown;
    }
  }
  held.swap(moved_);
}

const Placement& Tiles::placed(int grid) {
  if (!placed_known_[grid]) placements_[grid].find(plan_, field_, blocks_, plan_.grids[grid]);
  placed_known_[grid] = 1;
  return placements_[grid];
}

void Tiles::follow(int grid) {
  const Units& units = units_[grid];
  for (std::vector<Patch>& crossing : crossing_) crossing.clear();
  for (const Patch& patch : placed(grid).patches) {
    const auto after = std::upper_bound(units.rows.begin(), units.rows.end(), patch.to.top);
    for (int u = static_cast<int>(after - units.rows.begin()) - 1; u < rows_ && units.rows[u] < patch.to.bottom; ++u) {
      Patch part = patch;
      part.to.top = std::max(patch.to.top, units.rows[u]), part.to.bottom = std::min(patch.to.bottom, units.rows[u + 1]);
      if (part.to.top < part.to.bottom) crossing_[u].push_back(part);
    }
  }
}

template <class T, class Measure>
void Tiles::owe(int grid, int unit_row, Measure unexplained, const View<const T>& before, const View<const T>& now,
                float threshold, double whole) {
  const Units& units = units_[grid];
  const int top = units.rows[unit_row], bottom = units.rows[unit_row + 1], many = unit_rows_together();
  std::uint8_t* due = due_.data() + static_cast<std::ptrdiff_t>(unit_row / many) * tiles_.width;
  std::vector<double> owed(static_cast<std::size_t>(cols_), 0.0);
  for (Patch patch : crossing_[unit_row]) {
    const Area whole = patch.to;
    const auto after = std::upper_bound(units.cols.begin(), units.cols.end(), whole.left);
    for (int u = static_cast<int>(after - units.cols.begin()) - 1; u < cols_ && units.cols[u] < whole.right; ++u) {
      patch.to.left = std::max(whole.left, units.cols[u]), patch.to.right = std::min(whole.right, units.cols[u + 1]);
      // A tile that is due as it is owes enough.
      if (patch.to.left < patch.to.right && !due[u / many]) owed[u] += static_cast<double>(unexplained(before, patch, now));
    }
  }
  for (int u = 0; u < cols_; ++u) {
    const double count = static_cast<double>(bottom - top) * (units.cols[u + 1] - units.cols[u]) * now.channels;
    const float mean = static_cast<float>(owed[u] / (whole * std::max(1.0, count)));
    if (!(mean > 0.0f)) continue;
    const std::size_t unit = static_cast<std::size_t>(unit_row) * cols_ + u;
    float& debt = debts_[unit];
    const float owing = mean / threshold;
    debt += doubts_.empty() ? owing : doubts_[unit] * owing;
    due[u / many] |= debt > 1.0f;
  }
}

template void Tiles::owe(int, int, Unexplained<float>, const View<const float>&, const View<const float>&, float, double);
template void Tiles::owe(int, int, Unexplained<Bf16>, const View<const Bf16>&, const View<const Bf16>&, float, double);
template void Tiles::owe(int, int, UnexplainedLevels, const View<const std::uint8_t>&, const View<const std::uint8_t>&, float,
                         double);

template <class T>
void Tiles::doubt(int unit_row, const View<const T>& logits) {
  const int many = unit_rows_together();
  const std::uint8_t* chosen = tiles_.row(unit_row / many);
  const float margin = static_cast<float>(plan_.margin);
  const int top = over_[0][2 * unit_row], bottom = over_[0][2 * unit_row + 1], down = std::max(1, (bottom - top) / 2);
  for (int u = 0; u < cols_; ++u) {
    if (!chosen[u / many]) continue;
    const int left = over_[1][2 * u], right = over_[1][2 * u + 1], along = std::max(1, (right - left) / 2);
    double total = 0.0;
    int count = 0, waiting = 0;
    const T* cells[kCells];
    float doubts[kCells];
    const auto add = [&] {
      std::fill(cells + waiting, cells + kCells, cells[0]);
      doubts_at(cells, logits.channels, margin, doubts);
      for (int k = 0; k < waiting; ++k) total += doubts[k];
      waiting = 0;
    };
    for (int y = top; y < bottom; y += down) {
      for (int x = left; x < right; x += along, ++count) {
        cells[waiting++] = logits.at(y, x);
        if (waiting == kCells) add();
      }
    }
    if (waiting) add();
    doubts_[static_cast<std::size_t>(unit_row) * cols_ + u] = count ? static_cast<float>(total / count) : 1.0f;
  }
}

template void Tiles::doubt(int, const View<const float>&);
template void Tiles::doubt(int, const View<const Bf16>&);

double Tiles::choose(bool everything) {
  const int many = plan_.tile / kUnit;
  tiles_.clear();
  double pixels = 0;
  for (int r = 0; r < tiles_.height; ++r) {
    for (int c = 0; c < tiles_.width; ++c) {
      if (!everything && !due_[static_cast<std::size_t>(r) * tiles_.width + c]) continue;
      const int top = r * many, left = c * many, bottom = std::min(top + many, rows_), right = std::min(left + many, cols_);
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

const Asked& Tiles::asked(int grid) {
  if (!asked_known_[grid]) {
    placed(grid);
    find_set(grid);
    find_kept(grid);
    asked_known_[grid] = 1;
  }
  return asked_[grid];
}

// Cells over chosen tiles, and cells without a source.
void Tiles::find_set(int number) {
  const Grid& grid = plan_.grids[number];
  const Units& units = units_[number];
  Set& set = asked_[number].set;
  set.resize(grid.height, grid.width);
  for (int y = 0; y < grid.height; ++y) {
    std::uint8_t* on = set.row(y);
    if (y && units.first_tile[y] == units.first_tile[y - 1] && units.last_tile[y] == units.last_tile[y - 1]) {
      std::memcpy(on, on - grid.width, static_cast<std::size_t>(grid.width));
      set.rows[y] = set.rows[y - 1];
      continue;
    }
    for (int r = units.first_tile[y]; r < units.last_tile[y]; ++r) {
      if (!tiles_.rows[r]) continue;
      set.rows[y] = 1;
      for (int c = 0; c < tiles_.width; ++c) {
        if (tiles_.row(r)[c]) std::fill(on + units.first_cell[c], on + units.last_cell[c], 1);
      }
    }
  }
  for (const Area& area : placements_[number].uncovered) {
    for (int y = area.top; y < area.bottom; ++y) {
      std::fill(set.row(y) + area.left, set.row(y) + area.right, 1);
      set.rows[y] = 1;
    }
  }
  list(set, asked_[number].positions);
}

// What is left of the patches, and whether it is worth to move the whole map along with most of them.
void Tiles::find_kept(int number) {
  Asked& asked = asked_[number];
  const Set& set = asked.set;
  asked.patches.clear();
  as_above_.assign(static_cast<std::size_t>(set.height), 0);
  for (int y = 1; y < set.height; ++y) {
    as_above_[y] = std::memcmp(set.row(y), set.row(y - 1), static_cast<std::size_t>(set.width)) == 0;
  }
  for (const Patch& patch : placements_[number].patches) {
    const Area& to = patch.to;
    const std::size_t width = static_cast<std::size_t>(to.right - to.left);
    for (int top = to.top; top < to.bottom;) {
      const std::uint8_t *on = set.row(top) + to.left, *end = on + width;
      int bottom = top + 1;
      while (bottom < to.bottom && (as_above_[bottom] || std::memcmp(on, set.row(bottom) + to.left, width) == 0)) ++bottom;
      for (const std::uint8_t* start = on; start != end && (start = find(start, end, 0)) != end;) {
        const std::uint8_t* stop = find(start, end, 1);
        Patch kept = patch;
        kept.to = {top, to.left + static_cast<int>(start - on), bottom, to.left + static_cast<int>(stop - on)};
        asked.patches.push_back(kept);
        start = stop;
      }
      top = bottom;
    }
  }
  // The displacement that more than half of them share, if there is one.
  std::int64_t votes = 0, kept = 0, alike = 0;
  asked.rows = asked.cols = 0;
  const auto with_the_rest = [&](const Patch& patch) {
    return patch.is_whole() && patch.rows == -asked.rows && patch.cols == -asked.cols;
  };
  for (const Patch& patch : asked.patches) {
    const std::int64_t cells = patch.to.cells();
    kept += cells;
    if (votes == 0 && patch.is_whole()) asked.rows = -patch.rows, asked.cols = -patch.cols;
    votes += with_the_rest(patch) ? cells : -std::min(cells, votes);
  }
  for (const Patch& patch : asked.patches) alike += with_the_rest(patch) ? patch.to.cells() : 0;
  asked.shifts = 2 * alike >= kept;
  if (!asked.shifts) return;
  asked.patches.erase(std::remove_if(asked.patches.begin(), asked.patches.end(), with_the_rest), asked.patches.end());
}

const std::vector<std::int32_t>& Tiles::every(int grid) {
  std::vector<std::int32_t>& every = units_[grid].every;
  const std::size_t cells = static_cast<std::size_t>(plan_.grids[grid].cells());
  while (every.size() < cells) every.push_back(static_cast<std::int32_t>(every.size()));
  return every;
}

const Set& Tiles::read_of(int number) {
  Set& set = read_[number];
  if (read_known_[number]) return set;
  read_known_[number] = 1;
  const Node& node = plan_.nodes[number];
  if (set.on.empty()) set.resize(plan_.grids[node.grid].height, plan_.grids[node.grid].width);
  set.clear();
  if (node.kept) {
    set.fill();
    return set;
  }
  for (const Reader& reader : readers_[number]) {
    const Node& other = plan_.nodes[reader.node];
    const Set& theirs = other.where_read ? read_of(reader.node) : asked(other.grid).set;
    add_read(set, theirs, plan_.rows(reader.window), plan_.cols(reader.window), line_);
  }
  return set;
}

}  // namespace dedelayed::sparse
