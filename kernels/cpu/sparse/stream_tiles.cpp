// A step in Mode::kTiles.
#include <algorithm>
#include <chrono>

#include "stream.h"

namespace dedelayed::sparse {
namespace {

using Clock = std::chrono::steady_clock;

std::int64_t since(Clock::time_point begun) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begun).count();
}

}  // namespace

void Stream::step_tiles(const Given* given, const Field* field, Report* reports) {
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
    const bool all = everything || (node.always && !node.inputs.empty());
    if (all) {
      dirty.fill();
    } else {
      dirty = tiles_.asked(node.grid).asked;
    }
    const std::vector<std::int32_t>& positions = all ? tiles_.every(node.grid) : tiles_.asked(node.grid).positions;
    report.dirty = static_cast<std::int64_t>(positions.size());
    report.front += since(entered);
    if (!node.inputs.empty()) {
      report.computed = report.dirty;
      const auto turned = Clock::now();
      const Placed& placed = tiles_.placed(node.grid);
      if (!all && node.kept && !placed.still) {
        for (int y = 0; y < maps_[n].height; ++y) tiles_.interpolate(placed, maps_[n], y, dirty.row(y), maps_[n].spare(y, 0));
        maps_[n].turn();
      }
      report.remap = since(turned);
      compute_all(static_cast<int>(n), positions);
    }
    report.nanoseconds += since(entered);
  }
  ready_ = true;
}

// An input: its map is what is given; what the vectors leave unexplained of it is added to the debts.
void Stream::take_tiled(int n, const Given& given) {
  const Node& node = plan_.nodes[n];
  const Grid& grid = plan_.grids[node.grid];
  Map& map = maps_[n];
  const std::size_t floats = static_cast<std::size_t>(node.channels) * map.width;
  fresh_.resize(floats), copy_.resize(floats);
  if (node.kind == Kind::kGiven || dense_) {
    for (int y = 0; y < map.height; ++y) {
      if (given.data) {
        gather_row(given, y, node.channels, map.width, map.at(y, 0));
      } else {
        std::fill_n(map.at(y, 0), floats, 0.0f);
      }
    }
    return;
  }
  const Placed& placed = tiles_.placed(node.grid);
  tiles_.begin_input();
  for (int y = 0; y < map.height; ++y) {
    float* to = map.spare(y, 0);
    if (given.data) {
      tiles_.interpolate(placed, map, y, nullptr, copy_.data());
      gather_row(given, y, node.channels, map.width, to);
      tiles_.owe_row(placed, grid, y, node.channels, to, copy_.data());
      continue;
    }
    tiles_.interpolate(placed, map, y, nullptr, to);
    tiles_.blank_outside(placed, grid, y, node.channels, to);
  }
  map.turn();
  if (given.data) tiles_.finish_input(grid, node.channels, node.threshold);
}

}  // namespace dedelayed::sparse
