// A step in Mode::kTiles.
#include <algorithm>
#include <chrono>
#include <cstddef>

#include "stream.h"

namespace dedelayed::sparse {
namespace {

constexpr double kWorthSharing = 3e5;  // values from which helpers are woken
constexpr int kKeepParts = 8;          // of a map, that threads share out among them

using Clock = std::chrono::steady_clock;

std::int64_t since(Clock::time_point begun) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begun).count();
}

}  // namespace

template <class T>
void StreamOf<T>::step_tiles(const Given* given, const Field* field, Report* reports) {
  dense_ = !ready_ || !field;
  tiles_.begin(dense_ ? nullptr : field);
  bool everything = dense_;
  for (std::size_t n = 0; n < plan_.nodes.size(); ++n) {
    reports[n] = {};
    if (!plan_.nodes[n].inputs.empty()) continue;
    const auto begun = Clock::now();
    take_tiled(static_cast<int>(n), given[n]);
    everything |= plan_.nodes[n].kind == Kind::kGiven && given[n].dirty;
    reports[n].front = reports[n].nanoseconds = since(begun);
  }
  const auto begun = Clock::now();
  if (tiles_.choose(everything) > dense_above_) everything = true;
  if (everything) tiles_.choose(true);
  reports[frame_].front += since(begun), reports[frame_].nanoseconds += since(begun);
  for (std::size_t n = 0; n < plan_.nodes.size(); ++n) {
    const Node& node = plan_.nodes[n];
    Report& report = reports[n];
    const auto entered = Clock::now();
    Set& dirty = dirty_[n];
    const bool all = everything || (node.where_read && !node.inputs.empty());
    const Asked* asked = all ? nullptr : &tiles_.asked(node.grid);
    const bool where_read = all && !everything && !node.kept;
    if (where_read) {
      dirty = tiles_.read_of(static_cast<int>(n));
    } else if (all) {
      dirty.fill();
    } else {
      dirty = asked->set;
    }
    if (reads_levels(node)) {
      report.front += since(entered);
      report.computed = report.dirty = look_up(static_cast<int>(n), dirty);
      report.nanoseconds += since(entered);
      continue;
    }
    if (where_read) list(dirty, positions_);
    const std::vector<std::int32_t>& positions = where_read ? positions_ : all ? tiles_.every(node.grid) : asked->positions;
    report.dirty = static_cast<std::int64_t>(positions.size());
    report.front += since(entered);
    if (!node.inputs.empty()) {
      report.computed = report.dirty;
      const auto turned = Clock::now();
      if (!all && node.kept) keep(maps_[n], *asked);
      report.remap = since(turned);
      compute_all(static_cast<int>(n), positions);
    }
    report.nanoseconds += since(entered);
  }
  if (plan_.logits >= 0) find_doubts(reports[plan_.logits]);
  ready_ = true;
}

// How sure the network is of what it has just computed: what differs there in later frames counts by that.
template <class T>
void StreamOf<T>::find_doubts(Report& report) {
  const auto begun = Clock::now();
  Map<T>& map = maps_[plan_.logits];
  const View<const T> logits{map.at(0, 0), map.pitch * map.channels, map.channels};
  const double values = static_cast<double>(report.computed) * map.channels;
  const int rows = tiles_.unit_rows(), parts = values < kWorthSharing ? 1 : std::min(rows, kKeepParts);
  pool_.run(parts, [&](int part, int) {
    for (int u = rows * part / parts; u < rows * (part + 1) / parts; ++u) tiles_.doubt(u, logits);
  });
  report.front += since(begun), report.nanoseconds += since(begun);
}

// A map's values move to where they belong now; cells that are going to be computed hold anything then.
template <class T>
void StreamOf<T>::keep(Map<T>& map, const Asked& asked) {
  const View<const T> before{map.at(0, 0), map.pitch * map.channels, map.channels};
  const int count = static_cast<int>(asked.patches.size());
  if (!asked.shifts) {
    const View<T> now{map.spare(0, 0), before.pitch, map.channels};
    const std::int64_t values = static_cast<std::int64_t>(map.height) * map.width * map.channels;
    const int parts = values < kWorthSharing ? 1 : kKeepParts;
    pool_.run(parts, [&](int part, int) {
      const int first = count * part / parts, last = count * (part + 1) / parts;
      blend_.follow(before, asked.patches.data() + first, static_cast<std::size_t>(last - first), now);
    });
    map.turn();
    return;
  }
  // What does not move with the rest goes by way of a copy, so that no cell is written before it is read.
  std::size_t values = 0;
  for (const Patch& patch : asked.patches) values += static_cast<std::size_t>(patch.to.cells()) * map.channels;
  copy_.resize(values);
  T* copied = copy_.data();
  for (Patch patch : asked.patches) {
    const int height = patch.to.bottom - patch.to.top, width = patch.to.right - patch.to.left;
    patch.rows += patch.to.top, patch.cols += patch.to.left, patch.to = {0, 0, height, width};
    const View<T> to{copied, static_cast<std::ptrdiff_t>(width) * map.channels, map.channels};
    blend_.follow(before, &patch, 1, to);
    copied += height * to.pitch;
  }
  map.shift(asked.rows, asked.cols);
  const T* from = copy_.data();
  for (const Patch& patch : asked.patches) {
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(patch.to.right - patch.to.left) * map.channels;
    for (int y = patch.to.top; y < patch.to.bottom; ++y, from += row) std::copy_n(from, row, map.at(y, patch.to.left));
  }
}

// The next picture or map of an input, which `gather_row` brings row by row, and what vectors leave unexplained of it.
template <class T>
template <class Value, class GatherRow, class Measure>
void StreamOf<T>::follow(const Node& node, Map<Value>& map, GatherRow gather_row, Measure unexplained, double whole) {
  tiles_.follow(node.grid);
  const View<const Value> before{map.at(0, 0), map.pitch * map.channels, map.channels};
  const View<const Value> now{map.spare(0, 0), before.pitch, map.channels};
  // A row of tiles for each thread, and of that a row of units at a time, which fits into a cache.
  const int together = tiles_.unit_rows_together();
  pool_.run((tiles_.unit_rows() + together - 1) / together, [&](int part, int thread) {
    for (int u = part * together; u < std::min((part + 1) * together, tiles_.unit_rows()); ++u) {
      for (int y = tiles_.first_row(node.grid, u), end = tiles_.first_row(node.grid, u + 1); y < end; ++y) {
        gather_row(y, thread, map.spare(y, 0));
      }
      tiles_.owe(node.grid, u, unexplained, before, now, node.threshold, whole);
    }
  });
  map.turn();
}

// An input: its map is what is given; what the vectors leave unexplained of it is added to the debts.
template <class T>
void StreamOf<T>::take_tiled(int n, const Given& given) {
  const Node& node = plan_.nodes[n];
  if (as_levels_ && n == static_cast<int>(frame_)) {
    const auto row_of_levels = [&](int y, int, std::uint8_t* row) {
      gather_row<std::uint8_t>(given, y, node.channels, picture_.width, row, [](std::uint8_t level) { return level; });
    };
    if (!dense_) return follow(node, picture_, row_of_levels, levels_.unexplained, kWholeLevels);
    for (int y = 0; y < picture_.height; ++y) row_of_levels(y, 0, picture_.at(y, 0));
    return;
  }
  Map<T>& map = maps_[n];
  const auto row_of_values = [&](int y, int thread, T* row) { gather(node, given, y, map.width, benches_[thread].fresh, row); };
  if (node.kind == Kind::kGiven || dense_) {
    for (int y = 0; y < map.height; ++y) {
      if (given.data) {
        row_of_values(y, 0, map.at(y, 0));
      } else {
        std::fill_n(map.at(y, 0), static_cast<std::ptrdiff_t>(map.width) * node.channels, T{});
      }
    }
    return;
  }
  if (given.data) return follow(node, map, row_of_values, blend_.unexplained, 1.0);
  const Placement& placed = tiles_.placed(node.grid);
  const View<const T> before{map.at(0, 0), map.pitch * map.channels, map.channels};
  const View<T> now{map.spare(0, 0), before.pitch, map.channels};
  blend_.follow(before, placed.patches.data(), placed.patches.size(), now);
  for (const Area& area : placed.uncovered) {
    const std::ptrdiff_t values = static_cast<std::ptrdiff_t>(area.right - area.left) * node.channels;
    for (int y = area.top; y < area.bottom; ++y) std::fill_n(now.at(y, area.left), values, T{});
  }
  map.turn();
}

template void StreamOf<float>::step_tiles(const Given*, const Field*, Report*);
template void StreamOf<Bf16>::step_tiles(const Given*, const Field*, Report*);

}  // namespace dedelayed::sparse
