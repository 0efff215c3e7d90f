// A picture that is kept as the levels that cameras give: a quarter of the bytes, or half, to be read and compared.
#include <algorithm>
#include <array>
#include <cstddef>
#include <numeric>
#include <type_traits>

#include "stream.h"

namespace dedelayed::sparse {

// Whether the picture may stay as it is given, and what its copies have for each level then: only copies may read it, and in
// the other modes than kTiles whatever differs has to be new, so that after a step the map is what was given.
template <class T>
void StreamOf<T>::find_levels() {
  const Node& frame = plan_.nodes[frame_];
  std::array<std::uint8_t, 256> levels;
  std::array<float, 256> values;
  std::array<T, 256> kept;  // as the picture's map would have them
  std::iota(levels.begin(), levels.end(), std::uint8_t{0});
  levels_.values(levels.data(), 256, values.data());
  runs_.keep(values.data(), 256, nullptr, 0, kept.data());
  runs_.widen(kept.data(), 256, values.data());
  const bool differ = std::adjacent_find(values.begin(), values.end()) == values.end();
  as_levels_ = frame.kind == Kind::kLevels && !frame.kept;
  as_levels_ &= plan_.mode == Mode::kTiles || (frame.threshold == 0.0f && differ);
  for (const Node& node : plan_.nodes) {
    for (const int input : node.inputs) as_levels_ &= input != static_cast<int>(frame_) || is_copy(plan_, node, maps_);
  }
  if (!as_levels_) return;
  Border room;
  room.after = kBeyond;
  picture_.resize(plan_.grids[frame.grid], frame.channels, room);
  picture_.make_spare();
  maps_[frame_].release();
  level_results_.resize(plan_.nodes.size());
  for (std::size_t n = 0; n < plan_.nodes.size(); ++n) {
    const Node& node = plan_.nodes[n];
    if (!reads_levels(node)) continue;
    runs_.widen(kept.data(), 256, values.data());
    runs_.keep(values.data(), 256, node.epilogue.data(), node.epilogue.size(), level_results_[n].data());
  }
}

// What a node has for the levels of so many cells of the picture that it copies.
template <class T>
void StreamOf<T>::look_up(int n, std::int32_t position, int count, T* results) const {
  const T* table = level_results_[n].data();
  const std::ptrdiff_t values = static_cast<std::ptrdiff_t>(count) * picture_.channels;
  if constexpr (std::is_same_v<T, float>) {
    levels_.look_up(picture_.cell(position), values, table, results);
  } else {
    levels_.look_up_halves(picture_.cell(position), values, table, results);
  }
}

// The same for all of a set, into the node's map. Returns the number of positions.
template <class T>
std::int64_t StreamOf<T>::look_up(int n, const Set& positions) {
  std::int64_t count = 0;
  each_run(positions, [&](int first, int length) {
    look_up(n, first, length, maps_[n].cell(first));
    count += length;
  });
  return count;
}

// The next picture: where it differs from the last one, or that one had nothing there, it is new.
template <class T>
void StreamOf<T>::take_levels(const Given& given) {
  const Node& node = plan_.nodes[frame_];
  const int width = picture_.width;
  const Moved& moved = moved_[node.moved];
  const bool moves = !dense_ && !moved.still;
  Set& dirty = dirty_[frame_];
  line_runs_.assign(1, {0, 0, width, 0});
  for (int y = 0; y < picture_.height; ++y) {
    const std::uint8_t* fresh = picture_.spare(y, 0);
    gather_row<std::uint8_t>(given, y, node.channels, width, picture_.spare(y, 0), [](std::uint8_t level) { return level; });
    std::uint8_t* on = dirty.row(y);
    if (dense_) {
      std::fill_n(on, width, 1);
    } else {
      if (moves && moved.alike[y] == y) find_runs(moved.key.data() + static_cast<std::size_t>(y) * width, width, line_runs_);
      for (const Run& run : line_runs_) {
        if (run.key == kNowhere) {
          std::fill_n(on + run.x, run.length, 1);
          continue;
        }
        const std::uint8_t* cached = picture_.at(y - key_rows(run.key), run.x - key_cols(run.key));
        levels_.differ(fresh + run.x * node.channels, cached, node.channels, run.length, on + run.x);
      }
    }
    dirty.rows[y] = find(on, on + width, 1) != on + width;
  }
  picture_.turn();
}

template void StreamOf<float>::find_levels();
template void StreamOf<float>::look_up(int, std::int32_t, int, float*) const;
template std::int64_t StreamOf<float>::look_up(int, const Set&);
template void StreamOf<float>::take_levels(const Given&);
template void StreamOf<Bf16>::find_levels();
template void StreamOf<Bf16>::look_up(int, std::int32_t, int, Bf16*) const;
template std::int64_t StreamOf<Bf16>::look_up(int, const Set&);
template void StreamOf<Bf16>::take_levels(const Given&);

}  // namespace dedelayed::sparse
