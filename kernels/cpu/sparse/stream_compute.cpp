// What a node computes of its positions in a step, and what of it is kept.
#include <algorithm>
#include <cstddef>
#include <numeric>

#include "stream.h"

namespace dedelayed::sparse {
namespace {

constexpr double kWorthSharing = 3e5;     // multiply-accumulates, or floats moved, from which helpers are woken
constexpr int kCompared = 256;            // cells that are compared together, at most
constexpr int kTogether = 48 * 1024 / 4;  // floats of fresh values that stay in the nearer caches

}  // namespace

// Compute a node at the listed positions, on as many threads as that is worth.
template <class T>
void StreamOf<T>::compute_all(int n, const std::vector<std::int32_t>& positions) {
  const Node& node = plan_.nodes[n];
  const int total = static_cast<int>(positions.size());
  if (keeps_all(node) && reads_levels(node)) {
    for (int i = 0, together; i < total; i += together) {
      together = run_length(positions.data() + i, total - i, maps_[n].width);
      look_up(n, positions[i], together, maps_[n].cell(positions[i]));
    }
    return;
  }
  if (keeps_all(node) && is_copy(plan_, node, maps_)) {
    fresh_.resize(static_cast<std::size_t>(maps_[n].width) * node.channels);
    for (int i = 0, together; i < total; i += together) {
      together = run_length(positions.data() + i, total - i, maps_[n].width);
      const std::ptrdiff_t values = static_cast<std::ptrdiff_t>(together) * node.channels;
      runs_.widen(maps_[node.inputs[0]].cell(positions[i]), values, fresh_.data());
      runs_.keep(fresh_.data(), values, node.epilogue.data(), node.epilogue.size(), maps_[n].cell(positions[i]));
    }
    return;
  }
  // A multiple of what the convolution takes together, so that only the last part has left-overs.
  const int part = std::max(1, kTogether / node.channels / 24) * 24;
  const int parts = (total + part - 1) / part;
  for (Bench<T>& bench : benches_) bench.changed = 0;
  const auto work = [&](int number, int thread) {
    const int first = number * part;
    compute_part(n, positions.data() + first, std::min(part, total - first), benches_[thread]);
  };
  if (static_cast<double>(total) * cost_[n] < kWorthSharing) {
    for (int number = 0; number < parts; ++number) work(number, 0);
  } else {
    pool_.run(parts, work);
  }
}

// Some of the positions that an operation computes.
template <class T>
void StreamOf<T>::compute_part(int n, const std::int32_t* positions, int count, Bench<T>& bench) {
  const Node& node = plan_.nodes[n];
  if (keeps_all(node)) {
    if (is_direct(node)) return compute_in_place(n, positions, count, bench);
    float* fresh = raw(node, positions, count, bench);
    for (int i = 0, together; i < count; i += together) {
      together = run_length(positions + i, count - i, maps_[n].width);
      const std::ptrdiff_t values = static_cast<std::ptrdiff_t>(together) * node.channels;
      T* const cell = maps_[n].cell(positions[i]);
      runs_.keep(fresh, values, node.epilogue.data(), node.epilogue.size(), cell);
      if (node.addend >= 0) add_addend(node, positions[i], together, cell, bench);
      fresh += values;
    }
    return;
  }
  commit(n, positions, count, results(node, positions, count, bench), bench);
}

// Results of an operation that is not direct before its epilogue, one position after the other, in the bench's memory.
template <class T>
float* StreamOf<T>::raw(const Node& node, const std::int32_t* positions, int count, Bench<T>& bench) {
  bench.fresh.resize(static_cast<std::size_t>(count) * node.channels);
  compute(plan_, node, maps_, positions, count, bench.work, bench.fresh.data());
  return bench.fresh.data();
}

// Where nothing is kept, the results of an operation that is direct.
template <class T>
void StreamOf<T>::compute_in_place(int n, const std::int32_t* positions, int count, Bench<T>& bench) {
  const Node& node = plan_.nodes[n];
  Map<T>& map = maps_[n];
  bench.places.resize(static_cast<std::size_t>(count));
  for (int i = 0, together; i < count; i += together) {
    together = run_length(positions + i, count - i, map.width);
    std::iota(bench.places.begin() + i, bench.places.begin() + i + together, map.place(positions[i]));
  }
  const std::size_t done = compute_direct(plan_, node, maps_, positions, count, bench.places.data(), bench.work, map.at(0, 0));
  if (done == node.epilogue.size() && node.addend < 0) return;
  for (int i = 0, together; i < count; i += together) {
    together = run_length(positions + i, count - i, map.width);
    const std::ptrdiff_t values = static_cast<std::ptrdiff_t>(together) * node.channels;
    T* const cell = map.cell(positions[i]);
    runs_.refine(cell, values, node.epilogue.data() + done, node.epilogue.size() - done);
    if (node.addend >= 0) add_addend(node, positions[i], together, cell, bench);
  }
}

// To the values of neighbours, which start at a position, those of the node's addend; then the functions that follow the sum.
template <class T>
void StreamOf<T>::add_addend(const Node& node, std::int32_t position, int together, T* values, Bench<T>& bench) {
  const std::ptrdiff_t count = static_cast<std::ptrdiff_t>(together) * node.channels;
  if (bench.sums.size() < static_cast<std::size_t>(count)) bench.sums.resize(static_cast<std::size_t>(count));
  runs_.add(values, maps_[node.inputs[node.addend]].cell(position), 1.0f, count, bench.sums.data());
  runs_.keep(bench.sums.data(), count, node.after.data(), node.after.size(), values);
}

// Results of an operation as they are kept, one position after the other, in the bench's memory.
template <class T>
const T* StreamOf<T>::results(const Node& node, const std::int32_t* positions, int count, Bench<T>& bench) {
  const std::ptrdiff_t values = static_cast<std::ptrdiff_t>(count) * node.channels;
  bench.kept.resize(static_cast<std::size_t>(values));
  if (reads_levels(node)) {
    const int n = static_cast<int>(&node - plan_.nodes.data());
    for (int i = 0, together; i < count; i += together) {
      together = run_length(positions + i, count - i, picture_.width);
      look_up(n, positions[i], together, bench.kept.data() + static_cast<std::ptrdiff_t>(i) * node.channels);
    }
  } else if (is_direct(node)) {
    const std::size_t done = compute_direct<T>(plan_, node, maps_, positions, count, nullptr, bench.work, bench.kept.data());
    runs_.refine(bench.kept.data(), values, node.epilogue.data() + done, node.epilogue.size() - done);
  } else {
    runs_.keep(raw(node, positions, count, bench), values, node.epilogue.data(), node.epilogue.size(), bench.kept.data());
  }
  for (int i = 0, together; node.addend >= 0 && i < count; i += together) {
    together = run_length(positions + i, count - i, maps_[&node - plan_.nodes.data()].width);
    add_addend(node, positions[i], together, bench.kept.data() + static_cast<std::ptrdiff_t>(i) * node.channels, bench);
  }
  return bench.kept.data();
}

// Of results, those that are new go into the map, and into the recompute set.
template <class T>
void StreamOf<T>::commit(int n, const std::int32_t* positions, int count, const T* results, Bench<T>& bench) {
  const Node& node = plan_.nodes[n];
  Map<T>& map = maps_[n];
  Set& dirty = dirty_[n];
  const Moved& moved = moved_[node.moved];
  for (int i = 0, together; i < count; i += together) {
    together = std::min(run_length(positions + i, count - i, map.width), kCompared);
    const int position = positions[i];
    const T* fresh = results + static_cast<std::ptrdiff_t>(i) * node.channels;
    T* cell = map.cell(position);
    std::uint8_t on[kCompared];
    runs_.differ(fresh, cell, node.channels, together, node.threshold, on);
    if (!moved.still) {
      for (int k = 0; k < together; ++k) on[k] |= moved.key[position + k] == kNowhere;
    }
    if (sticky()) {
      for (int k = 0; k < together; ++k) on[k] |= flags_[n].on[position + k];
    }
    bool changed = false;
    for (const std::uint8_t *p = on, *end = on + together; (p = find(p, end, 1)) != end;) {
      const std::ptrdiff_t first = p - on, length = find(p, end, 0) - p;
      std::copy_n(fresh + first * node.channels, length * node.channels, cell + first * node.channels);
      std::fill_n(dirty.on.begin() + position + first, length, 1);
      bench.changed += length;
      changed = true;
      if ((p += length) == end) break;
    }
    // A row may be shared by two threads, which write the same.
    if (changed) __atomic_store_n(&dirty.rows[position / map.width], 1, __ATOMIC_RELAXED);
  }
}

template void StreamOf<float>::compute_all(int, const std::vector<std::int32_t>&);
template void StreamOf<Bf16>::compute_all(int, const std::vector<std::int32_t>&);

}  // namespace dedelayed::sparse
