#include "stream.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace dedelayed::sparse {
namespace {

// Multiply-accumulates of an output position, and floats written, as a rough measure of its time.
double cost_of(const Node& node) {
  return static_cast<double>(node.weight.size()) + 4.0 * node.channels * static_cast<double>(1 + node.epilogue.size() + 2 * (node.addend >= 0));
}

}  // namespace

template <class T>
StreamOf<T>::StreamOf(const Plan& plan, int threads, int frame, double dense_above)
    : plan_(plan),
      frame_(static_cast<std::size_t>(frame)),
      dense_above_(dense_above),
      tiles_(plan),
      levels_(levels_variant(plan.instruction_set)),
      blend_(blend_variant<T>(plan.instruction_set)),
      runs_(run_variant<T>(plan.instruction_set)),
      pool_(threads) {
  const std::size_t nodes = plan.nodes.size();
  maps_.resize(nodes), dirty_.resize(nodes), remainders_.resize(nodes), flags_.resize(sticky() ? nodes : 0);
  for (std::size_t n = 0; n < nodes; ++n) {
    const Grid& grid = plan.grids[plan.nodes[n].grid];
    maps_[n].resize(grid, plan.nodes[n].channels, plan.borders[n]);
    dirty_[n].resize(grid.height, grid.width);
    if (sticky()) flags_[n].resize(grid.height, grid.width);
    const bool is_input = plan.nodes[n].kind == Kind::kInput || plan.nodes[n].kind == Kind::kLevels;
    const bool read_later = plan.nodes[n].kept || is_input;
    if (plan.mode == Mode::kTiles && read_later) maps_[n].make_spare();
  }
  find_levels();
  moved_.resize(plan.slots.size());
  for (const Slot& slot : plan.slots) {
    if (slot.source == Slot::Source::kCarried || slot.source == Slot::Source::kTolerant) {
      remainders_[slot.node].assign(2 * static_cast<std::size_t>(plan.grids[slot.grid].cells()) + kRemainderRoom, 0);
    }
  }
  misaligned_.resize(plan.alignments.size());
  known_.resize(plan.alignments.size());
  for (const Node& node : plan.nodes) cost_.push_back(cost_of(node));
  cells_.resize(plan.grids.size()), cells_known_.resize(plan.grids.size());
  ways_.resize(plan.grids.size()), ways_known_.resize(plan.grids.size());
  benches_.resize(static_cast<std::size_t>(pool_.threads()));
  for (Bench<T>& bench : benches_) {
    bench.work.conv = convolve_variant<T>(plan.instruction_set);
    bench.work.runs = runs_;
  }
}

template <class T>
Shown StreamOf<T>::shown(int node) {
  const auto show = [](auto& map, bool as_levels) {
    return Shown{map.at(0, 0), map.pitch * map.channels, map.channels, as_levels, map.memory(), map.values()};
  };
  return as_levels_ && node == static_cast<int>(frame_) ? show(picture_, true) : show(maps_[node], false);
}

template <class T>
std::int64_t StreamOf<T>::bytes() const {
  std::int64_t total = picture_.bytes();
  for (const Map<T>& map : maps_) total += map.bytes();
  for (const auto* sets : {&dirty_, &flags_}) {
    for (const Set& set : *sets) total += static_cast<std::int64_t>(set.on.size() + set.rows.size());
  }
  total += tiles_.bytes();
  for (const Remainder& remainder : remainders_) total += static_cast<std::int64_t>(remainder.size() * sizeof(remainder[0]));
  return total;
}

namespace {

using Clock = std::chrono::steady_clock;

std::int64_t since(Clock::time_point begun) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begun).count();
}

}  // namespace

template <class T>
void StreamOf<T>::step(const Given* given, const Field* field, Report* reports) {
  if (field && (static_cast<std::int64_t>(field->rows) * field->block < plan_.frame_height ||
                static_cast<std::int64_t>(field->cols) * field->block < plan_.frame_width)) {
    throw std::invalid_argument("a motion field that does not cover the frame");
  }
  if (as_levels_ && !given[frame_].data) throw std::invalid_argument("a step without a picture");
  pool_.wake();
  if (plan_.mode == Mode::kTiles) return step_tiles(given, field, reports);
  dense_ = false;
  std::fill(known_.begin(), known_.end(), 0);
  std::fill(cells_known_.begin(), cells_known_.end(), 0);
  std::fill(ways_known_.begin(), ways_known_.end(), 0);
  for (Spread& spread : spreads_) spread.known = false;
  compacted_known_ = false;
  if (!ready_ || !field) begin_dense(plan_.nodes.size());
  std::vector<std::uint8_t> found(plan_.slots.size(), 0);
  auto begun = Clock::now();
  for (std::size_t n = 0; n < plan_.nodes.size(); ++n) {
    const Node& node = plan_.nodes[n];
    reports[n] = {};
    if (!dense_ && !found[node.moved]) {
      prepare_slot(*field, node.moved);
      found[node.moved] = 1;
    }
    reports[n].front = since(begun);
    if (node.inputs.empty()) {
      take(static_cast<int>(n), given[n], reports[n]);
    } else {
      run(static_cast<int>(n), field, reports[n]);
    }
    Remainder& remainder = remainders_[n];
    if (!dense_ && !remainder.empty()) {
      const std::size_t cells = dirty_[n].on.size();
      each_run(dirty_[n], [&](int first, int length) {
        std::fill_n(remainder.begin() + first, length, 0);
        std::fill_n(remainder.begin() + cells + first, length, 0);
      });
    }
    const auto now = Clock::now();
    reports[n].nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(now - begun).count();
    if (n == frame_ && !dense_ && static_cast<double>(reports[n].dirty) > dense_above_ * static_cast<double>(dirty_[n].on.size())) {
      begin_dense(n);
    }
    if (node.inputs.empty()) reports[n].front = reports[n].nanoseconds - reports[n].remap;
    begun = now;
  }
  ready_ = true;
}

// From here on in this step everything is computed, and nothing of the memory is used. `kept`: a node that is not affected.
template <class T>
void StreamOf<T>::begin_dense(std::size_t kept) {
  dense_ = true;
  for (std::size_t n = 0; n < remainders_.size(); ++n) {
    if (n != kept) std::fill(remainders_[n].begin(), remainders_[n].end(), 0);
  }
}

// A row of what the caller gives, as the maps have it.
template <class T>
void StreamOf<T>::gather(const Node& node, const Given& given, int y, int width, Aligned<float>& scratch, T* row) {
  const int channels = node.channels;
  const std::ptrdiff_t values = static_cast<std::ptrdiff_t>(width) * channels;
  if (node.kind != Kind::kLevels && given.col == 1 && channels == 3) {
    const float* from = static_cast<const float*>(given.data) + y * given.row;
    const float* const rows[] = {from, from + given.channel, from + 2 * given.channel};
    return runs_.weave(rows, width, row);
  }
  float* floats;
  if constexpr (std::is_same_v<T, float>) {
    floats = row;
  } else {
    if (scratch.size() < static_cast<std::size_t>(values)) scratch.resize(static_cast<std::size_t>(values));
    floats = scratch.data();
  }
  if (node.kind != Kind::kLevels) {
    gather_row<float>(given, y, channels, width, floats, [](float value) { return value; });
  } else if (given.channel == 1 && given.col == channels) {
    levels_.values(static_cast<const std::uint8_t*>(given.data) + y * given.row, values, floats);
  } else {
    gather_row<std::uint8_t>(given, y, channels, width, floats, [](std::uint8_t level) { return static_cast<float>(level) / 255.0f; });
  }
  if constexpr (!std::is_same_v<T, float>) runs_.keep(floats, values, nullptr, 0, row);
}

template <class T>
void StreamOf<T>::prepare_slot(const Field& field, int slot_number) {
  find_displacement(field, slot_number);
  Moved& moved = moved_[slot_number];
  const Grid& grid = plan_.grids[plan_.slots[slot_number].grid];
  if (!moved.still) moved.find_runs(grid.height, grid.width);
}

template <class T>
void StreamOf<T>::find_displacement(const Field& field, int slot_number) {
  const Slot& slot = plan_.slots[slot_number];
  const Grid& grid = plan_.grids[slot.grid];
  Moved& moved = moved_[slot_number];
  switch (slot.source) {
    case Slot::Source::kStill: moved.still = true; break;
    case Slot::Source::kExact: find_exact(covers(field, slot.grid), field, grid, moved); break;
    case Slot::Source::kSampled: find_sampled(cells(field, slot.grid), field, grid, moved); break;
    case Slot::Source::kTolerant:
      if (!ways_known_[slot.grid]) ways_[slot.grid].find(plan_, cells(field, slot.grid), grid);
      ways_known_[slot.grid] = 1;
      find_tolerant(plan_, ways_[slot.grid], field, grid, remainders_[slot.node], rest_, moved);
      break;
    case Slot::Source::kCarried: find_carried(covers(field, slot.grid), field, grid, remainders_[slot.node], moved); break;
    case Slot::Source::kPropagated: {
      const Node& node = plan_.nodes[slot.node];
      find_propagated(plan_, node, moved_[plan_.nodes[node.inputs[node.carrier]].moved], moved);
    }
  }
}

template <class T>
const Covers& StreamOf<T>::covers(const Field& field, int grid) {
  if (covered_ != field.block) covers_.assign(plan_.grids.size(), std::nullopt);
  covered_ = field.block;
  if (!covers_[grid]) covers_[grid].emplace(plan_, plan_.grids[grid], covered_);
  return *covers_[grid];
}

// Vectors under the cells of a grid.
template <class T>
const Cells& StreamOf<T>::cells(const Field& field, int grid) {
  if (!cells_known_[grid]) {
    cells_[grid].find(covers(field, grid), field, plan_.grids[grid]);
    cells_known_[grid] = 1;
  }
  return cells_[grid];
}

// Where a node's cached values may not be used, whatever the content.
template <class T>
const Set& StreamOf<T>::misaligned(const Field& field, const Node& node) {
  Set& bad = misaligned_[node.alignment];
  if (known_[node.alignment]) return bad;
  known_[node.alignment] = 1;
  const Alignment& alignment = plan_.alignments[node.alignment];
  const Grid& grid = plan_.grids[node.grid];
  const Moved& out = moved_[alignment.out];
  if (!alignment.believed && !alignment.tolerant) {
    find_misaligned(plan_, grid, alignment, moved_, bad);
    return bad;
  }
  flag_nowhere(out, grid, bad);
  if (alignment.believed) return bad;
  bool moves = !out.still;
  for (const auto& source : alignment.sources) moves |= !moved_[source[1]].still;
  if (!moves) return bad;
  for (const auto& [window, slot, from] : alignment.sources) {
    const Axis &rows = plan_.rows(window), &cols = plan_.cols(window);
    if (slot == alignment.out && rows.is_point && cols.is_point && !rows.fixed && !cols.fixed) continue;  // moves alike
    if (from >= 0 && !field.still) add(bad, far(field, window, from, node.grid));
    add_misaligned_within(plan_, grid, plan_.windows[window], out, moved_[slot], bad);
  }
  return bad;
}

template <class T>
const Set& StreamOf<T>::far(const Field& field, int window, int from, int grid) {
  const auto same = [&](const Spread& s) { return s.window == window && s.from == from && s.grid == grid; };
  auto found = std::find_if(spreads_.begin(), spreads_.end(), same);
  if (found == spreads_.end()) found = spreads_.insert(found, {window, from, grid, false, {}});
  if (!found->known) find_spread(plan_, cells(field, from), plan_.grids[grid], plan_.windows[window], found->far);
  found->known = true;
  return found->far;
}

// FluxShard's flags, merged at the first footprint over more than one position.
template <class T>
void StreamOf<T>::add_compacted(const Field& field, const Node& node) {
  const Moved& moved = moved_[node.moved];
  const auto nowhere = [](std::int32_t key) { return key == kNowhere; };
  if (!moved.still && std::all_of(moved.key.begin(), moved.key.end(), nowhere)) return;
  if (!compacted_known_) {
    const int grid = plan_.nodes[frame_].grid;
    find_compacted(plan_, cells(field, grid), field, plan_.grids[grid], compacted_);
    compacted_known_ = true;
  }
  for (const int k : node.entries) {
    add_dilated(candidates_, compacted_, plan_.rows(node.windows[k]), plan_.cols(node.windows[k]), line_);
  }
}

// An input: what differs from the cached value by more than its threshold is new (Eq. 16).
template <class T>
void StreamOf<T>::take(int n, const Given& given, Report& report) {
  Set& dirty = dirty_[n];
  dirty.clear();
  if (sticky()) flag_unfounded(n);
  if (as_levels_ && n == static_cast<int>(frame_)) {
    take_levels(given);
  } else {
    take_values(n, given, report);
  }
  report.computed = 0;
  report.dirty = dirty.count();
}

// For `sticky`: positions of an input that have no cached value.
template <class T>
void StreamOf<T>::flag_unfounded(int n) {
  if (dense_) return flags_[n].fill();
  flag_nowhere(moved_[plan_.nodes[n].moved], plan_.grids[plan_.nodes[n].grid], flags_[n]);
}

template <class T>
void StreamOf<T>::take_values(int n, const Given& given, Report& report) {
  const Node& node = plan_.nodes[n];
  Map<T>& map = maps_[n];
  Set& dirty = dirty_[n];
  const auto begun = Clock::now();
  if (!dense_) map.remap(moved_[node.moved], copy_);
  report.remap = since(begun);
  const Moved* moved = dense_ || moved_[node.moved].still ? nullptr : &moved_[node.moved];
  const int width = map.width;  // by itself: bytes that are written might be the map's
  row_.assign(static_cast<std::size_t>(node.channels) * width, T{});
  for (int y = 0; y < map.height; ++y) {
    if (given.data) gather(node, given, y, width, fresh_, row_.data());
    const T* fresh = row_.data();
    std::uint8_t* on = dirty.row(y);
    T* row = map.at(y, 0);
    if (dense_) {
      std::fill_n(on, width, 1);
    } else if (node.kind == Kind::kGiven) {
      std::fill_n(on, width, given.dirty ? 1 : 0);
    } else if (given.data) {
      runs_.differ(fresh, row, node.channels, width, node.threshold, on);
    }
    if (moved) {
      const std::int32_t* key = moved->key.data() + static_cast<std::size_t>(y) * width;
      for (int x = 0; x < width; ++x) on[x] |= key[x] == kNowhere;
    }
    std::uint8_t any = 0, all = 1;
    for (int x = 0; x < width; ++x) any |= on[x], all &= on[x];
    dirty.rows[y] = any;
    if (all) {
      std::copy_n(fresh, row_.size(), row);
    } else if (any) {
      for (int x = 0; x < width; ++x) {
        const std::ptrdiff_t first = static_cast<std::ptrdiff_t>(x) * node.channels;
        if (on[x]) std::copy_n(fresh + first, node.channels, row + first);
      }
    }
  }
}

// An operation: computes what its inputs and motion do not explain, and keeps of it what is really new.
template <class T>
void StreamOf<T>::run(int n, const Field* field, Report& report) {
  const Node& node = plan_.nodes[n];
  const Grid& grid = plan_.grids[node.grid];
  Map<T>& map = maps_[n];
  Set& dirty = dirty_[n];
  auto begun = Clock::now();
  candidates_.resize(grid.height, grid.width);
  if (dense_) {
    candidates_.fill();
    if (sticky()) flags_[n].fill();
  } else {
    const Set& bad = misaligned(*field, node);
    add(candidates_, bad);
    if (sticky()) {
      flags_[n].clear();
      add(flags_[n], bad);
    }
    for (std::size_t k = 0; k < node.inputs.size(); ++k) {
      const Axis &rows = plan_.rows(node.windows[k]), &cols = plan_.cols(node.windows[k]);
      add_dilated(candidates_, dirty_[node.inputs[k]], rows, cols, line_);
      if (sticky()) add_dilated(flags_[n], flags_[node.inputs[k]], rows, cols, line_);
    }
    if (!node.entries.empty()) add_compacted(*field, node);
    report.front += since(begun);
    begun = Clock::now();
    map.remap(moved_[node.moved], copy_);
    report.remap = since(begun);
    begun = Clock::now();
  }
  list(candidates_, positions_);
  dirty.clear();
  report.front += since(begun);
  compute_all(n, positions_);
  std::int64_t changed = 0;
  for (const Bench<T>& bench : benches_) changed += bench.changed;
  if (keeps_all(node)) std::swap(dirty, candidates_);
  report.computed = static_cast<std::int64_t>(positions_.size());
  report.dirty = keeps_all(node) ? report.computed : changed;
}

template class StreamOf<float>;
template class StreamOf<Bf16>;

std::unique_ptr<Stream> make_stream(const Plan& plan, int threads, int frame, double dense_above) {
  if (plan.element == Element::kBf16) return std::make_unique<StreamOf<Bf16>>(plan, threads, frame, dense_above);
  return std::make_unique<StreamOf<float>>(plan, threads, frame, dense_above);
}

}  // namespace dedelayed::sparse
