// Carrying remote features along block motion: dedelayed_ros/carry.py says what, in torch.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#include "../library.h"

namespace dedelayed::carry {
namespace {

// Where the parts of cells lie in features that are stored cell by cell, as pixel_unshuffle leaves them.
class Layout {
 public:
  Layout(int height, int width, int split) {
    const std::int64_t cells = static_cast<std::int64_t>(height) * width;
    rows_ = offsets(height, split, cells * split, width), columns_ = offsets(width, split, cells, 1);
  }

  int rows() const { return static_cast<int>(rows_.size()); }
  int columns() const { return static_cast<int>(columns_.size()); }
  std::int64_t parts() const { return static_cast<std::int64_t>(rows()) * columns(); }
  std::int64_t offset(int row, int column) const { return rows_[row] + columns_[column]; }

 private:
  std::vector<std::int64_t> rows_, columns_;

  static std::vector<std::int64_t> offsets(int cells, int split, std::int64_t to_next_part, std::int64_t to_next_cell) {
    std::vector<std::int64_t> result;
    for (int cell = 0; cell < cells; ++cell) {
      for (int part = 0; part < split; ++part) result.push_back(part * to_next_part + cell * to_next_cell);
    }
    return result;
  }
};

// Between which two of `length` positions `at` units lie, repeating the border, and how far from the first.
struct Between {
  int low, high;
  float part;

  Between(int at, int unit, int length) {
    const int floor = at >= 0 ? at / unit : -((-at + unit - 1) / unit);
    part = static_cast<float>(at - floor * unit) / static_cast<float>(unit);
    low = std::clamp(floor, 0, length - 1);
    high = std::clamp(floor + 1, 0, length - 1);
  }
};

// What lies `part` of the way between two, as torch.lerp has it: the nearer end is taken and corrected, so that 0 and 1 give
// the ends themselves.
struct Mix {
  bool near_low;
  float weight;

  explicit Mix(float part) : near_low(part < 0.5f), weight(near_low ? part : -(1.0f - part)) {}
  float operator()(float low, float high) const { return (near_low ? low : high) + weight * (high - low); }
};

// All maps of one part after the other, part by part.
std::vector<float> by_part(const float* features, int maps, const Layout& layout) {
  std::vector<float> parts(static_cast<std::size_t>(layout.parts() * maps));
  float* to = parts.data();
  for (int row = 0; row < layout.rows(); ++row) {
    for (int column = 0; column < layout.columns(); ++column, to += maps) {
      const float* from = features + layout.offset(row, column);
      for (int k = 0; k < maps; ++k) to[k] = from[k * layout.parts()];
    }
  }
  return parts;
}

}  // namespace
}  // namespace dedelayed::carry

// features and out [maps · split², height, width], cells of `cell` pixels; qpel int16 [height · split, width · split, 2]
// and valid [height · split, width · split]: one vector a part of a cell. What has no source becomes 0.
DEDELAYED_EXPORT int dedelayed_carry(const float* features, int maps, int height, int width, int split, int cell,
                                     const std::int16_t* qpel, const std::uint8_t* valid, float* out) {
  using namespace dedelayed;
  if (!features || !qpel || !valid || !out || maps < 1 || height < 1 || width < 1 || split < 1 || cell < split ||
      cell % split) {
    return kBadArgument;
  }
  const int unit = 4 * cell / split, half = unit / 2;
  try {
    const carry::Layout layout(height, width, split);
    const int rows = layout.rows(), columns = layout.columns();
    const std::int64_t map = layout.parts();
    const std::vector<float> parts = carry::by_part(features, maps, layout);
    std::vector<float> carried(static_cast<std::size_t>(maps));
    const auto at = [&](int row, int column) {
      return parts.data() + (static_cast<std::int64_t>(row) * columns + column) * maps;
    };
    std::memset(out, 0, sizeof(float) * static_cast<std::size_t>(map) * maps);
    for (int row = 0; row < rows; ++row) {
      for (int column = 0; column < columns; ++column) {
        const std::int64_t block = static_cast<std::int64_t>(row) * columns + column;
        if (!valid[block]) continue;
        const int x = column * unit - qpel[2 * block], y = row * unit - qpel[2 * block + 1];
        if (y < -half || y >= rows * unit - half || x < -half || x >= columns * unit - half) continue;
        const carry::Between down(y, unit, rows), right(x, unit, columns);
        const float *top_left = at(down.low, right.low), *top_right = at(down.low, right.high);
        const float *bottom_left = at(down.high, right.low), *bottom_right = at(down.high, right.high);
        const carry::Mix across(right.part), along(down.part);
        for (int k = 0; k < maps; ++k) {
          carried[k] = along(across(top_left[k], top_right[k]), across(bottom_left[k], bottom_right[k]));
        }
        float* to = out + layout.offset(row, column);
        for (int k = 0; k < maps; ++k) to[k * map] = carried[k];
      }
    }
  } catch (const std::bad_alloc&) {
    return kOutOfMemory;
  }
  return kOk;
}
