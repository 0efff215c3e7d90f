#include "tolerance.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace dedelayed::sparse {
namespace {

// Steps beside the displacement that a vector alone gives, in the order in which they are preferred.
constexpr int kSteps[9][2] = {{0, 0}, {-1, 0}, {1, 0}, {0, -1}, {0, 1}, {-1, -1}, {-1, 1}, {1, -1}, {1, 1}};

// Eight cells of a row at once.
typedef std::int16_t Eight __attribute__((vector_size(16)));
constexpr int kEight = 8;

Eight load(const std::int16_t* from) {
  Eight v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
void store(std::int16_t* to, Eight v) { __builtin_memcpy(to, &v, sizeof v); }
Eight all(int value) { return Eight{} + static_cast<std::int16_t>(value); }
Eight chosen(Eight mask, Eight a, Eight b) { return (mask & a) | (~mask & b); }
Eight larger(Eight a, Eight b) { return chosen(a > b, a, b); }

// A grid and its tolerances. It is simple where a cell is a whole number of pixels, the same on both axes: distances are
// whole numbers of quarter pixels then. Elsewhere they are compared in single precision, like in the reference.
class Tolerance {
 public:
  Tolerance(const Plan& plan, const Grid& grid) : grid_(grid) {
    for (int axis = 0; axis < 2; ++axis) {
      const Stride& stride = grid.stride[axis];
      placed_[axis] = stride.den != 0;
      den_[axis] = placed_[axis] ? static_cast<std::int32_t>(stride.den) : 1;
      unit_[axis] = placed_[axis] ? static_cast<std::int32_t>(kQuarters * stride.num) : 1;
      const double cell = placed_[axis] ? kQuarters * (static_cast<double>(stride.num) / static_cast<double>(stride.den)) : 0;
      share_[axis] = static_cast<float>(plan.remainder * cell);
      spread_[axis] = static_cast<float>(plan.spread * cell);
    }
    halfway_ = plan.remainder >= 0.5;
    simple_ = placed_[0] && placed_[1] && den_[0] == 1 && den_[1] == 1 && unit_[0] == unit_[1] && unit_[0] < 8192;
    whole_share_ = static_cast<std::int32_t>(share_[0]);
  }

  bool simple() const { return simple_; }

  Way way(const Vectors& v) const {
    Way way{};
    way.usable = v.valid && v.centre_valid;
    for (int axis = 0; axis < 2; ++axis) {
      if (!placed_[axis]) continue;
      way.usable &= static_cast<float>(v.high[axis] - v.low[axis]) <= spread_[axis];
      const std::int64_t scaled = static_cast<std::int64_t>(v.centre[axis]) * den_[axis];
      way.start[axis] = static_cast<int>(round_away(scaled, unit_[axis]));
      way.over[axis] = static_cast<std::int32_t>(scaled - static_cast<std::int64_t>(way.start[axis]) * unit_[axis]);
    }
    for (int k = 0; k < 9; ++k) {
      bool possible = true;
      // A step against the vector's own rest leaves more than half a cell. Without a rest it leaves half a cell at least.
      for (int axis = 0; axis < 2; ++axis) possible &= way.over[axis] ? kSteps[k][axis] * way.over[axis] >= 0 : !kSteps[k][axis] || halfway_;
      if (possible) way.steps[way.count++] = k;
    }
    way.likely = way.over[0] || way.over[1] ? way.count : 1;
    return way;
  }

  // The displacement of cell (y, x), or kNowhere; `left` is what remains then, in quarter pixels.
  std::int32_t find(const Way& way, const std::int16_t* remainder, int y, int x, std::int32_t left[2]) const {
    return simple_ ? find<true>(way, remainder, y, x, left) : find<false>(way, remainder, y, x, left);
  }

  // Columns [first, last) of those from `start` to `end` from which every likely displacement of row y has a source.
  void reach(const Way& way, int y, int start, int end, int& first, int& last) const {
    int top = 0, bottom = 0, left = 0, right = 0;  // of the steps
    for (int k = 0; k < way.likely; ++k) {
      const int* step = kSteps[way.steps[k]];
      top = std::min(top, step[0]), bottom = std::max(bottom, step[0]);
      left = std::min(left, step[1]), right = std::max(right, step[1]);
    }
    if (y - way.start[0] - bottom < 0 || y - way.start[0] - top >= grid_.height) return;
    first = std::clamp(way.start[1] + right, start, end);
    last = std::clamp(grid_.width + way.start[1] + left, first, end);
  }

  // The same for eight cells of row y of a simple grid, from column x on, where every likely displacement has a source.
  void find_eight(const Way& way, const std::int16_t* remainder, int y, int x, std::int32_t* key, std::int16_t* rest_rows,
                  std::int16_t* rest_cols) const {
    Eight best = all(unit_[0] / 2 + 1), rows{}, cols{}, key_r{}, key_c{};
    for (int k = 0; k < way.likely; ++k) {
      const int* step = kSteps[way.steps[k]];
      const int r = way.start[0] + step[0], c = way.start[1] + step[1];
      const std::int16_t* kept = remainder + static_cast<std::ptrdiff_t>(y - r) * grid_.width + x - c;
      const Eight left_r = load(kept) + all(way.over[0] - step[0] * unit_[0]);
      const Eight left_c = load(kept + grid_.cells()) + all(way.over[1] - step[1] * unit_[1]);
      const Eight distance = larger(larger(left_r, -left_r), larger(left_c, -left_c));
      const Eight nearer = distance < best;
      best = chosen(nearer, distance, best);
      rows = chosen(nearer, left_r, rows), cols = chosen(nearer, left_c, cols);
      key_r = chosen(nearer, all(r), key_r), key_c = chosen(nearer, all(c), key_c);
    }
    const Eight near = best <= all(whole_share_);
    store(rest_rows, near & rows), store(rest_cols, near & cols);
    std::int16_t r[kEight], c[kEight];
    store(r, chosen(near, key_r, all(key_rows(kNowhere)))), store(c, near & key_c);
    for (int i = 0; i < kEight; ++i) key[i] = to_key(r[i], c[i]);
  }

 private:
  const Grid& grid_;
  bool placed_[2], simple_, halfway_;
  std::int32_t den_[2], unit_[2], whole_share_;
  float share_[2], spread_[2];

  template <bool kSimple>
  std::int32_t find(const Way& way, const std::int16_t* remainder, int y, int x, std::int32_t left[2]) const {
    float best = 0.5f;
    std::int32_t nearest = unit_[0] / 2, key = kNowhere;
    left[0] = left[1] = 0;
    for (int k = 0; k < way.count; ++k) {
      const int* step = kSteps[way.steps[k]];
      const int row = y - way.start[0] - step[0], col = x - way.start[1] - step[1];
      if (row < 0 || row >= grid_.height || col < 0 || col >= grid_.width) continue;
      const std::int16_t* kept = remainder + static_cast<std::ptrdiff_t>(row) * grid_.width + col;
      const std::int32_t rest[2] = {way.over[0] + kept[0] * den_[0] - step[0] * unit_[0],
                                    way.over[1] + kept[grid_.cells()] * den_[1] - step[1] * unit_[1]};
      bool nearer;
      if (kSimple) {
        const std::int32_t distance = std::max(std::abs(rest[0]), std::abs(rest[1]));
        nearer = distance < nearest || (key == kNowhere && distance == nearest);
        if (nearer) nearest = distance;
      } else {
        float distance = 0;
        for (int axis = 0; axis < 2; ++axis) {
          if (placed_[axis]) distance = std::max(distance, static_cast<float>(std::abs(rest[axis])) / static_cast<float>(unit_[axis]));
        }
        nearer = distance < best || (key == kNowhere && distance == best);
        if (nearer) best = distance;
      }
      if (!nearer) continue;
      key = to_key(way.start[0] + step[0], way.start[1] + step[1]);
      for (int axis = 0; axis < 2; ++axis) left[axis] = !placed_[axis] ? 0 : kSimple ? rest[axis] : rest[axis] / den_[axis];
    }
    if (key != kNowhere && !within(left)) key = kNowhere;
    if (key == kNowhere) left[0] = left[1] = 0;  // it is recomputed, and then lies where it belongs
    return key;
  }

  bool within(const std::int32_t left[2]) const {
    for (int axis = 0; axis < 2; ++axis) {
      if (placed_[axis] && static_cast<float>(std::abs(left[axis])) > share_[axis]) return false;
    }
    return true;
  }
};

}  // namespace

void find_sampled(const Cells& cells, const Field& field, const Grid& grid, Moved& moved) {
  moved.still = field.still;
  if (field.still) return;
  moved.key.resize(static_cast<std::size_t>(grid.cells()));
  for (int y = 0; y < grid.height; ++y) {
    std::int32_t* key = moved.key.data() + static_cast<std::size_t>(y) * grid.width;
    for (int kind = 0; kind < cells.columns; ++kind) {
      const Vectors& v = cells.of_kind(y, kind);
      std::int64_t steps[2] = {0, 0};
      for (int axis = 0; axis < 2; ++axis) {
        const Stride& stride = grid.stride[axis];
        if (stride.den) steps[axis] = round_away(v.centre[axis] * stride.den, kQuarters * stride.num);
      }
      const std::int32_t found = v.centre_valid ? to_key(static_cast<int>(steps[0]), static_cast<int>(steps[1])) : kNowhere;
      std::fill(key + cells.start[kind], key + cells.end[kind], found);
    }
  }
  keep_inside(grid, moved);
}

void Ways::find(const Plan& plan, const Cells& cells, const Grid& grid) {
  const Tolerance tolerance(plan, grid);
  rows.clear(), stretches.clear();
  for (int y = 0; y < grid.height; ++y) {
    if (y && cells.row[y] == cells.row[y - 1]) {
      rows.push_back(rows.back());
      continue;
    }
    const int first = static_cast<int>(stretches.size());
    for (int kind = 0; kind < cells.columns; ++kind) {
      const Way way = tolerance.way(cells.of_kind(y, kind));
      const bool follows = static_cast<int>(stretches.size()) > first && stretches.back().way.same_as(way);
      if (follows) {
        stretches.back().end = cells.end[kind];
      } else {
        stretches.push_back({cells.start[kind], cells.end[kind], way});
      }
    }
    rows.push_back({first, static_cast<int>(stretches.size())});
  }
}

void find_tolerant(const Plan& plan, const Ways& ways, const Field& field, const Grid& grid, Remainder& remainder,
                   Remainder& rest, Moved& moved) {
  moved.still = field.still && std::all_of(remainder.begin(), remainder.end(), [](std::int32_t r) { return r == 0; });
  if (moved.still) return;
  const std::size_t count = static_cast<std::size_t>(grid.cells());
  moved.key.resize(count);
  rest.resize(remainder.size());
  const Tolerance tolerance(plan, grid);
  for (int y = 0; y < grid.height; ++y) {
    const std::size_t line = static_cast<std::size_t>(y) * grid.width;
    std::int32_t* key = moved.key.data() + line;
    std::int16_t *rest_rows = rest.data() + line, *rest_cols = rest_rows + count;
    for (int k = ways.rows[y][0]; k < ways.rows[y][1]; ++k) {
      const auto& [start, end, way] = ways.stretches[k];
      if (!way.usable) {
        std::fill(key + start, key + end, kNowhere);
        std::fill(rest_rows + start, rest_rows + end, 0), std::fill(rest_cols + start, rest_cols + end, 0);
        continue;
      }
      int first = end, last = end;
      if (tolerance.simple()) tolerance.reach(way, y, start, end, first, last);
      for (int x = first; x < last; x += kEight) {
        std::int32_t keys[kEight];
        std::int16_t rows[kEight], cols[kEight];
        tolerance.find_eight(way, remainder.data(), y, x, keys, rows, cols);
        const int n = std::min(kEight, last - x);
        std::copy_n(keys, n, key + x), std::copy_n(rows, n, rest_rows + x), std::copy_n(cols, n, rest_cols + x);
      }
      const auto search = [&, &way = way](int x) {
        std::int32_t left[2];
        key[x] = tolerance.find(way, remainder.data(), y, x, left);
        rest_rows[x] = static_cast<std::int16_t>(left[0]), rest_cols[x] = static_cast<std::int16_t>(left[1]);
      };
      for (int x = start; x < first; ++x) search(x);
      for (int x = last; x < end; ++x) search(x);
    }
  }
  remainder.swap(rest);
}

void find_spread(const Plan& plan, const Cells& cells, const Grid& grid, const Window& window, Set& far) {
  const Axis &rows = plan.axes[window.rows], &cols = plan.axes[window.cols];
  far.resize(grid.height, grid.width);
  std::vector<int> read;  // kinds that the row before read
  for (int y = 0; y < grid.height; ++y) {
    std::vector<int> kinds;
    for (int k = 0; k < rows.taps; ++k) {
      const int tap = rows.taps_of(y)[k];
      if (tap != rows.in && (kinds.empty() || kinds.back() != cells.row[tap])) kinds.push_back(cells.row[tap]);
    }
    std::uint8_t* flag = far.row(y);
    if (y && kinds == read) {
      std::copy_n(flag - grid.width, grid.width, flag);
      far.rows[y] = far.rows[y - 1];
      continue;
    }
    read = kinds;
    if (kinds.empty()) continue;
    std::vector<Vectors> line(static_cast<std::size_t>(cells.columns));
    for (int c = 0; c < cells.columns; ++c) {
      line[c] = cells.kinds[static_cast<std::size_t>(kinds[0]) * cells.columns + c];
      for (const int kind : kinds) {
        const Vectors& v = cells.kinds[static_cast<std::size_t>(kind) * cells.columns + c];
        for (int axis = 0; axis < 2; ++axis) {
          line[c].low[axis] = std::min(line[c].low[axis], v.low[axis]);
          line[c].high[axis] = std::max(line[c].high[axis], v.high[axis]);
        }
      }
    }
    for (int x = 0; x < grid.width; ++x) {
      if (!cols.tapped[x]) continue;
      const std::int32_t* tap = cols.taps_of(x);
      const Vectors& first = line[cells.col[cols.base[x]]];
      int low[2] = {first.low[0], first.low[1]}, high[2] = {first.high[0], first.high[1]};
      for (int k = 0; k < cols.taps; ++k) {
        if (tap[k] == cols.in) continue;
        const Vectors& v = line[cells.col[tap[k]]];
        for (int axis = 0; axis < 2; ++axis) {
          low[axis] = std::min(low[axis], v.low[axis]), high[axis] = std::max(high[axis], v.high[axis]);
        }
      }
      for (int axis = 0; axis < 2; ++axis) {
        const Stride& stride = grid.stride[axis];
        if (!stride.den) continue;
        const double cell = static_cast<double>(stride.num) / static_cast<double>(stride.den);
        flag[x] |= static_cast<float>(high[axis] - low[axis]) > static_cast<float>(plan.spread * kQuarters * cell);
      }
      far.rows[y] |= flag[x];
    }
  }
}

namespace {

// Where the output moves along an axis, neither it nor its source may read padding, nor be of a kind of its own.
bool crosses(const Axis& axis, int p, int cells) {
  if (cells == 0) return false;
  const int source = std::clamp(p - cells, 0, axis.out - 1);
  return axis.fixed || !axis.inside[p] || !axis.inside[source];
}

// Whether taps move otherwise than between `low` and `high` inputs, give or take the one that rounding explains.
bool strays(const Axis& axis, int p, int cells, int low, int high, int allowed) {
  const int source = std::clamp(p - cells, 0, axis.out - 1), step = axis.base[p] - axis.base[source];
  return std::abs(step - low) > allowed || std::abs(step - high) > allowed;
}

}  // namespace

void add_misaligned_within(const Plan& plan, const Grid& grid, const Window& window, const Moved& out,
                           const Moved& source, Set& bad) {
  if (out.still && source.still) return;
  const Axis &rows = plan.axes[window.rows], &cols = plan.axes[window.cols];
  const int allowed[2] = {grid.stride[0].den ? 1 : 0, grid.stride[1].den ? 1 : 0};
  // Displacements that a row of outputs reads, rows and columns in turn: least and greatest. One without a cached value
  // is the least there is.
  const std::size_t pairs = 2 * static_cast<std::size_t>(cols.in);
  std::vector<std::int16_t> low(pairs, 0), high(pairs, 0), line(pairs, 0);
  for (int y = 0; y < grid.height; ++y) {
    if (!source.still && rows.tapped[y]) {
      bool first = true;
      for (int k = 0; k < rows.taps; ++k) {
        const int tap = rows.taps_of(y)[k];
        if (tap == rows.in) continue;
        const std::int32_t* key = source.key.data() + static_cast<std::size_t>(tap) * cols.in;
        for (int x = 0; x < cols.in; ++x) {
          line[2 * x] = static_cast<std::int16_t>(key_rows(key[x])), line[2 * x + 1] = static_cast<std::int16_t>(key_cols(key[x]));
        }
        if (first) {
          low = line, high = line;
          first = false;
          continue;
        }
        for (std::size_t i = 0; i < pairs; ++i) low[i] = std::min(low[i], line[i]), high[i] = std::max(high[i], line[i]);
      }
    }
    std::uint8_t* flag = bad.row(y);
    std::uint8_t any = 0;
    const std::int32_t* key = out.still ? nullptr : out.key.data() + static_cast<std::size_t>(y) * grid.width;
    for (int x = 0; x < grid.width; ++x) {
      if (flag[x]) continue;
      const int r = key ? key_rows(key[x]) : 0, c = key ? key_cols(key[x]) : 0;
      bool unlike = crosses(rows, y, r) || crosses(cols, x, c);
      if (rows.tapped[y] && cols.tapped[x] && !unlike) {
        int least[2] = {0, 0}, most[2] = {0, 0};
        if (!source.still) {
          const std::int32_t* tap = cols.taps_of(x);
          least[0] = least[1] = INT16_MAX, most[0] = most[1] = INT16_MIN;
          for (int k = 0; k < cols.taps; ++k) {
            if (tap[k] == cols.in) continue;
            for (int axis = 0; axis < 2; ++axis) {
              least[axis] = std::min<int>(least[axis], low[2 * tap[k] + axis]);
              most[axis] = std::max<int>(most[axis], high[2 * tap[k] + axis]);
            }
          }
        }
        unlike = least[0] == INT16_MIN || strays(rows, y, r, least[0], most[0], allowed[0]) ||
                 strays(cols, x, c, least[1], most[1], allowed[1]);
      }
      flag[x] = unlike;
      any |= flag[x];
    }
    bad.rows[y] |= any;
  }
}

void find_compacted(const Plan& plan, const Cells& cells, const Field& field, const Grid& grid, Set& bad) {
  bad.resize(grid.height, grid.width);
  if (field.still) return;
  const int before = (plan.r_max - 1) / 2, after = plan.r_max - 1 - before;
  const auto inside = [&](int p, int size) { return p >= before && p + after < size; };
  for (int y = 0; y < grid.height; ++y) {
    std::uint8_t* flag = bad.row(y);
    const int top = cells.row[std::max(0, y - before)], bottom = cells.row[std::min(grid.height - 1, y + after)];
    for (int x = 0; x < grid.width; ++x) {
      const Vectors& own = cells.at(y, x);
      bool unlike = false;
      for (int axis = 0; axis < 2; ++axis) {
        const int p = axis ? x : y, size = axis ? grid.width : grid.height, moved = own.low[axis];
        unlike |= moved % (kQuarters * plan.s_max) != 0;
        const int source = std::clamp<int>(p - moved / static_cast<int>(kQuarters), 0, size - 1);
        unlike |= moved != 0 && !(inside(p, size) && inside(source, size));
      }
      const int left = cells.col[std::max(0, x - before)], right = cells.col[std::min(grid.width - 1, x + after)];
      for (int r = top; r <= bottom && !unlike; ++r) {
        for (int c = left; c <= right && !unlike; ++c) {
          const Vectors& v = cells.kinds[static_cast<std::size_t>(r) * cells.columns + c];
          unlike = !v.valid || v.low[0] != own.low[0] || v.high[0] != own.low[0] || v.low[1] != own.low[1] ||
                   v.high[1] != own.low[1];
        }
      }
      flag[x] = unlike;
      bad.rows[y] |= flag[x];
    }
  }
}

}  // namespace dedelayed::sparse
