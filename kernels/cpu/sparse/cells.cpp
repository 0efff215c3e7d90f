#include "cells.h"

#include <algorithm>
#include <cstdlib>

namespace dedelayed::sparse {
namespace {

std::int64_t floor_divide(std::int64_t a, std::int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

// Number each cell by the blocks that it covers; `first_of` has the first cell of each number.
std::vector<int> kinds_of(const Cover& cover, std::vector<int>& first_of) {
  std::vector<int> kind(cover.first.size());
  for (std::size_t p = 0; p < kind.size(); ++p) {
    const bool same = p && cover.first[p] == cover.first[p - 1] && cover.last[p] == cover.last[p - 1] &&
                      cover.centre[p] == cover.centre[p - 1];
    if (!same) first_of.push_back(static_cast<int>(p));
    kind[p] = static_cast<int>(first_of.size()) - 1;
  }
  return kind;
}

}  // namespace

std::int64_t round_away(std::int64_t number, std::int64_t divisor) {
  const std::int64_t size = (2 * std::llabs(number) + divisor) / (2 * divisor);
  return number < 0 ? -size : size;
}

Cover::Cover(int cells, Stride stride, int frame, int block) : first(cells), last(cells), centre(cells) {
  for (int p = 0; p < cells; ++p) {
    std::int64_t start = 0, stop = frame;
    if (stride.den) {
      start = std::clamp<std::int64_t>(p * stride.num / stride.den, 0, frame - 1);
      stop = -floor_divide(-(p + 1) * stride.num, stride.den);
      stop = std::min<std::int64_t>(std::max(stop, start + 1), frame);
    }
    first[p] = static_cast<int>(start / block);
    last[p] = static_cast<int>((stop + block - 1) / block);
    centre[p] = static_cast<int>((start + stop) / 2 / block);
  }
}

void Cells::find(const Covers& covers, const Field& field, const Grid& grid) {
  const auto& [rows, cols] = covers;
  std::vector<int> row_of;
  start.clear(), kinds.clear();
  row = kinds_of(rows, row_of);
  col = kinds_of(cols, start);
  columns = static_cast<int>(start.size());
  end.assign(start.begin() + 1, start.end());
  end.push_back(grid.width);
  for (const int y : row_of) {
    for (const int x : start) {
      Vectors v{};
      v.valid = true;
      for (int r = rows.first[y]; r < rows.last[y]; ++r) {
        for (int c = cols.first[x]; c < cols.last[x]; ++c) {
          const int block = r * field.cols + c;
          v.valid &= field.valid[block] != 0;
          ++v.count;
          const bool is_first = r == rows.first[y] && c == cols.first[x];
          for (int axis = 0; axis < 2; ++axis) {
            const int vector = vector_of(field, block, axis);
            v.total[axis] += vector;
            v.low[axis] = is_first ? vector : std::min(v.low[axis], vector);
            v.high[axis] = is_first ? vector : std::max(v.high[axis], vector);
          }
        }
      }
      const int centre = rows.centre[y] * field.cols + cols.centre[x];
      for (int axis = 0; axis < 2; ++axis) v.centre[axis] = vector_of(field, centre, axis);
      v.centre_valid = field.valid[centre] != 0;
      kinds.push_back(v);
    }
  }
}

}  // namespace dedelayed::sparse
