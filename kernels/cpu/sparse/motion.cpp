#include "motion.h"

#include <algorithm>
#include <cstdlib>

#include "cells.h"

namespace dedelayed::sparse {
namespace {

// Whole cells of a grid, or kNowhere if a block's vector is not.
std::int32_t exact_key(const Field& field, int block, const Grid& grid) {
  if (!field.valid[block]) return kNowhere;
  int cells[2] = {0, 0};
  for (int axis = 0; axis < 2; ++axis) {
    const Stride& stride = grid.stride[axis];
    if (!stride.den) continue;
    const std::int64_t vector = vector_of(field, block, axis), cell = kQuarters * stride.num;
    if (vector % kQuarters || vector * stride.den % cell) return kNowhere;
    cells[axis] = static_cast<int>(vector * stride.den / cell);
  }
  return to_key(cells[0], cells[1]);
}

// Row y of a grid, which moves as these runs do: positions whose source is outside of the grid have none.
void write_inside(const Grid& grid, int y, const std::vector<Run>& runs, std::int32_t* key) {
  for (const Run& run : runs) {
    const int x = run.x, end = run.x + run.length, row = y - key_rows(run.key), cols = key_cols(run.key);
    const bool inside = row >= 0 && row < grid.height;
    const int first = inside ? std::clamp(cols, x, end) : end, last = std::clamp(grid.width + cols, first, end);
    std::fill(key + x, key + first, kNowhere);
    std::fill(key + first, key + last, run.key);
    std::fill(key + last, key + end, kNowhere);
  }
}

}  // namespace

void find_runs(const std::int32_t* keys, int width, std::vector<Run>& runs) {
  runs.clear();
  for (int x = 0, end; x < width; x = end) {
    end = end_of_run(keys, x, width);
    runs.push_back({0, x, end - x, keys[x]});
  }
}

void keep_inside(const Grid& grid, Moved& moved) {
  std::vector<Run> runs;
  for (int y = 0; y < grid.height; ++y) {
    std::int32_t* key = moved.key.data() + static_cast<std::size_t>(y) * grid.width;
    find_runs(key, grid.width, runs);
    write_inside(grid, y, runs, key);
  }
}

void Moved::find_runs(int height, int width) {
  std::vector<Run> runs;
  runs.swap(others);  // its memory
  runs.clear();
  alike.resize(static_cast<std::size_t>(height));
  std::int64_t votes = 0;
  common = 0;
  std::size_t above = 0;  // where the runs of the row above begin
  for (int y = 0; y < height; ++y) {
    const std::int32_t* line = key.data() + static_cast<std::size_t>(y) * width;
    const std::size_t first = runs.size();
    const bool same = y && std::equal(line, line + width, line - width);
    alike[y] = same ? alike[y - 1] : y;
    for (std::size_t k = above; same && k < first; ++k) {
      runs.push_back(runs[k]);
      runs.back().y = y;
    }
    for (int x = 0, end; !same && x < width; x = end) {
      end = end_of_run(line, x, width);
      if (line[x] != kNowhere) runs.push_back({y, x, end - x, line[x]});
    }
    for (std::size_t k = first; k < runs.size(); ++k) {
      if (votes == 0) common = runs[k].key;
      votes += runs[k].key == common ? runs[k].length : -std::min<std::int64_t>(runs[k].length, votes);
    }
    above = first;
  }
  runs.erase(std::remove_if(runs.begin(), runs.end(), [&](const Run& run) { return run.key == common; }), runs.end());
  others.swap(runs);
}

Field Field::of(const std::int16_t* vectors, const std::uint8_t* valid, int rows, int cols, int block) {
  Field field{vectors, valid, rows, cols, block, true};
  for (int b = 0; b < rows * cols; ++b) field.still &= valid[b] && !vectors[2 * b] && !vectors[2 * b + 1];
  return field;
}

void find_exact(const Covers& covers, const Field& field, const Grid& grid, Moved& moved) {
  moved.still = field.still;
  if (field.still) return;
  moved.key.resize(static_cast<std::size_t>(grid.cells()));
  const auto& [rows, cols] = covers;
  std::vector<std::int32_t> block(static_cast<std::size_t>(field.rows) * field.cols);
  for (int b = 0; b < field.rows * field.cols; ++b) {
    const auto as_before = [&] {  // blocks beside each other mostly are, and divisions take long
      const std::int16_t* vector = field.vectors + 2 * b;
      return field.valid[b] == field.valid[b - 1] && vector[0] == vector[-2] && vector[1] == vector[-1];
    };
    block[b] = b && as_before() ? block[b - 1] : exact_key(field, b, grid);
  }
  std::vector<Run> runs;
  for (int y = 0; y < grid.height; ++y) {
    std::int32_t* key = moved.key.data() + static_cast<std::size_t>(y) * grid.width;
    if (y == 0 || rows.first[y] != rows.first[y - 1] || rows.last[y] != rows.last[y - 1]) {
      for (int x = 0; x < grid.width; ++x) {
        std::int32_t common = block[rows.first[y] * field.cols + cols.first[x]];
        for (int r = rows.first[y]; r < rows.last[y]; ++r) {
          for (int c = cols.first[x]; c < cols.last[x]; ++c) {
            if (block[r * field.cols + c] != common) common = kNowhere;
          }
        }
        key[x] = common;
      }
      find_runs(key, grid.width, runs);
    }
    write_inside(grid, y, runs, key);
  }
}

void find_carried(const Covers& covers, const Field& field, const Grid& grid, Remainder& remainder, Moved& moved) {
  static constexpr int kNeighbours[9][2] = {{0, 0}, {-1, 0}, {1, 0}, {0, -1}, {0, 1}, {-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
  const int cells = grid.cells();
  moved.still = field.still && std::all_of(remainder.begin(), remainder.end(), [](int r) { return r == 0; });
  if (moved.still) return;
  moved.key.assign(static_cast<std::size_t>(cells), kNowhere);
  const auto& [rows, cols] = covers;
  Remainder rest(remainder.size(), 0);
  for (int y = 0; y < grid.height; ++y) {
    for (int x = 0; x < grid.width; ++x) {
      const int block = rows.centre[y] * field.cols + cols.centre[x], here = y * grid.width + x;
      if (!field.valid[block]) continue;
      const int vector[2] = {vector_of(field, block, 0), vector_of(field, block, 1)};
      int start[2] = {0, 0};
      for (int axis = 0; axis < 2; ++axis) {
        const Stride& stride = grid.stride[axis];
        if (stride.den) start[axis] = static_cast<int>(round_away(vector[axis] * stride.den, kQuarters * stride.num));
      }
      double best = 0.5;
      bool found = false;
      for (const auto& step : kNeighbours) {
        const int tried[2] = {start[0] + step[0], start[1] + step[1]};
        const int row = y - tried[0], col = x - tried[1];
        if (row < 0 || row >= grid.height || col < 0 || col >= grid.width) continue;
        double distance = 0;
        std::int32_t left[2] = {0, 0};
        for (int axis = 0; axis < 2; ++axis) {
          const Stride& stride = grid.stride[axis];
          if (!stride.den) continue;
          const std::int64_t total = vector[axis] + remainder[static_cast<std::size_t>(axis) * cells + row * grid.width + col];
          const std::int64_t scaled = total * stride.den - tried[axis] * kQuarters * stride.num;
          left[axis] = static_cast<std::int32_t>(scaled / stride.den);
          // In single precision, like the reference: which of two equally near ones is taken depends on it.
          const float length = static_cast<float>(std::llabs(scaled)) / static_cast<float>(kQuarters * stride.num);
          distance = std::max(distance, static_cast<double>(length));
        }
        if (distance < best || (!found && distance == best)) {
          best = distance, found = true;
          moved.key[here] = to_key(tried[0], tried[1]);
          rest[here] = static_cast<std::int16_t>(left[0]);
          rest[static_cast<std::size_t>(cells) + here] = static_cast<std::int16_t>(left[1]);
        }
      }
    }
  }
  remainder.swap(rest);
}

void find_propagated(const Plan& plan, const Node& node, const Moved& source, Moved& moved) {
  moved.still = source.still;
  if (source.still) return;
  const Grid& to = plan.grids[node.grid];
  const Grid& from = plan.grids[plan.nodes[node.inputs[node.carrier]].grid];
  const Axis &rows = plan.rows(node.windows[node.carrier]), &cols = plan.cols(node.windows[node.carrier]);
  moved.key.resize(static_cast<std::size_t>(to.cells()));
  std::int64_t num[2] = {0, 0}, den[2] = {1, 1};
  for (int axis = 0; axis < 2; ++axis) {
    const Stride &a = from.stride[axis], &b = to.stride[axis];
    if (a.den && b.den) num[axis] = a.num * b.den, den[axis] = a.den * b.num;
  }
  for (int y = 0; y < to.height; ++y) {
    for (int x = 0; x < to.width; ++x) {
      const std::int32_t key = source.key[static_cast<std::size_t>(rows.base[y]) * from.width + cols.base[x]];
      std::int32_t& result = moved.key[static_cast<std::size_t>(y) * to.width + x];
      const std::int64_t r = key_rows(key) * num[0], c = key_cols(key) * num[1];
      const bool usable = key != kNowhere && rows.tapped[y] && cols.tapped[x] && r % den[0] == 0 && c % den[1] == 0;
      result = usable ? to_key(static_cast<int>(r / den[0]), static_cast<int>(c / den[1])) : kNowhere;
    }
  }
  keep_inside(to, moved);
}

}  // namespace dedelayed::sparse
