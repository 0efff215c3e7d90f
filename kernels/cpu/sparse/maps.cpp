#include "maps.h"

#include <algorithm>
#include <cstring>

namespace dedelayed::sparse {

template <class T>
void Map<T>::resize(const Grid& grid, int channels_, const Border& border) {
  height = grid.height, width = grid.width, channels = channels_;
  border_ = border;
  pitch = width + border.left + border.right;
  const std::int64_t room = pitch * (height / 4 + 1);
  least_ = border.top * pitch + border.left;
  middle_ = least_ + room;
  most_ = middle_ + room;
  now_.origin = middle_;
  now_.values.assign(static_cast<std::size_t>((most_ + (height + border.bottom) * pitch + border.after) * channels), T{});
}

template <class T>
void Map<T>::remap(const Moved& moved, std::vector<T>& copy) {
  if (moved.still) return;
  // What does not move with the rest goes by way of a copy, so that no position is written before it is read.
  copy.clear();
  for (const Run& run : moved.others) {
    const T* from = at(run.y - key_rows(run.key), run.x - key_cols(run.key));
    copy.insert(copy.end(), from, from + static_cast<std::int64_t>(run.length) * channels);
  }
  if (moved.common) shift(key_rows(moved.common), key_cols(moved.common));
  const T* from = copy.data();
  for (const Run& run : moved.others) {
    const std::int64_t values = static_cast<std::int64_t>(run.length) * channels;
    std::copy_n(from, values, at(run.y, run.x));
    from += values;
  }
}

template <class T>
void Map<T>::shift(int rows, int cols) {
  if (rows || cols) shift_origin(-(rows * pitch + cols));
}

template <class T>
void Map<T>::shift_origin(std::int64_t cells) {
  const std::int64_t moved = now_.origin + cells;
  if (moved >= least_ && moved <= most_) {
    now_.origin = moved;
  } else {
    // The part of the old map that is still in the picture goes to the middle.
    const std::int64_t size = (height - 1) * pitch + width;
    const std::int64_t first = std::max<std::int64_t>(moved, now_.origin), last = std::min(moved, now_.origin) + size;
    now_.origin = middle_;
    if (first < last) {
      T* to = now_.values.data() + (middle_ + first - moved) * channels;
      std::memmove(to, now_.values.data() + first * channels, sizeof(T) * static_cast<std::size_t>((last - first) * channels));
    }
  }
  clear_border();
}

template <class T>
void Map<T>::clear_border() {
  const auto clear = [this](std::int64_t first, std::int64_t cells) {
    std::fill_n(origin() + first * channels, cells * channels, T{});
  };
  clear(-border_.top * pitch - border_.left, border_.top * pitch + border_.left);
  for (int y = 0; y + 1 < height; ++y) clear(y * pitch + width, border_.right + border_.left);
  clear((height - 1) * pitch + width, border_.right + border_.bottom * pitch);
}

template class Map<float>;
template class Map<std::uint8_t>;
template class Map<Bf16>;

}  // namespace dedelayed::sparse
