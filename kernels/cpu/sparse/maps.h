// Feature maps that are remembered: channels-last, with a border of zeros, and movable without a copy.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "aligned.h"
#include "element.h"
#include "motion.h"
#include "plan.h"

namespace dedelayed::sparse {

// Rows of cells, one after the other in memory; each cell holds its channels. A displacement of the whole picture only
// moves the origin: there is room before and after it, and when that is used up the map goes back to the middle.
template <class T>
class Map {
 public:
  int height = 0, width = 0, channels = 0;
  std::int64_t pitch = 0;  // cells from a row to the next one

  void resize(const Grid& grid, int channels, const Border& border);
  T* at(int y, int x) { return origin() + (y * pitch + x) * channels; }
  const T* at(int y, int x) const { return origin() + (y * pitch + x) * channels; }
  T* cell(std::int32_t position) { return at(position / width, position % width); }
  const T* cell(std::int32_t position) const { return at(position / width, position % width); }
  // How many cells a position is from the first one.
  std::int32_t place(std::int32_t position) const {
    return static_cast<std::int32_t>(position / width * pitch + position % width);
  }
  std::int64_t bytes() const { return static_cast<std::int64_t>((now_.values.size() + spare_.values.size()) * sizeof(T)); }
  // Where its values are, border and room included, and how many.
  T* memory() { return now_.values.data(); }
  std::int64_t values() const { return static_cast<std::int64_t>(now_.values.size()); }
  // Everything moves by one displacement: a cell's value is then found where it came from, and no value is copied as a rule.
  void shift(int rows, int cols);

  // Bring each valid position its cached value, read backwards (Eq. 13); what the others hold is undefined. `copy` is
  // scratch.
  void remap(const Moved& moved, std::vector<T>& copy);

  // A second copy, with the same border, that the next frame's values are written to; `turn` makes it the map.
  void make_spare() { spare_ = now_; }
  T* spare(int y, int x) { return spare_.values.data() + (spare_.origin + y * pitch + x) * channels; }
  void turn() { std::swap(now_, spare_); }
  // Give up the memory, but not the measures.
  void release() { now_ = {}, spare_ = {}; }

 private:
  struct Storage {
    Aligned<T> values;
    std::int64_t origin = 0;  // cells from the start
  };
  Storage now_, spare_;
  Border border_;
  std::int64_t least_ = 0, most_ = 0, middle_ = 0;  // where the origin may be

  T* origin() { return now_.values.data() + now_.origin * channels; }
  const T* origin() const { return now_.values.data() + now_.origin * channels; }
  void shift_origin(std::int64_t cells);
  void clear_border();
};

}  // namespace dedelayed::sparse
