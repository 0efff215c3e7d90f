// Carrying remote features along block motion: dedelayed_ros/carry.py says what, in torch.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "../library.h"

namespace dedelayed::carry {
namespace {

// Where a part of a cell lies in features that are stored cell by cell, as pixel_unshuffle leaves them.
struct Layout {
  int height, width, split;

  std::int64_t cells() const { return static_cast<std::int64_t>(height) * width; }
  std::int64_t offset(int row, int column) const {
    return ((row % split) * split + column % split) * cells() + (row / split) * width + column / split;
  }
};

// The nearer end is taken and corrected, as torch.lerp does: weights of 0 and 1 give the ends themselves.
inline float mix(float from, float to, float weight) {
  return weight < 0.5f ? from + weight * (to - from) : to - (to - from) * (1.0f - weight);
}

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
  const carry::Layout layout{height, width, split};
  const std::int64_t map = layout.cells() * split * split;
  const int unit = 4 * cell / split, half = unit / 2, rows = height * split, columns = width * split;
  std::memset(out, 0, sizeof(float) * static_cast<std::size_t>(map) * maps);
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      const std::int64_t block = static_cast<std::int64_t>(row) * columns + column;
      if (!valid[block]) continue;
      const int x = column * unit - qpel[2 * block], y = row * unit - qpel[2 * block + 1];
      if (y < -half || y >= rows * unit - half || x < -half || x >= columns * unit - half) continue;
      const carry::Between down(y, unit, rows), right(x, unit, columns);
      const float* top_left = features + layout.offset(down.low, right.low);
      const float* top_right = features + layout.offset(down.low, right.high);
      const float* bottom_left = features + layout.offset(down.high, right.low);
      const float* bottom_right = features + layout.offset(down.high, right.high);
      float* to = out + layout.offset(row, column);
      for (std::int64_t k = 0; k < map * maps; k += map) {
        to[k] = carry::mix(carry::mix(top_left[k], top_right[k], right.part),
                           carry::mix(bottom_left[k], bottom_right[k], right.part), down.part);
      }
    }
  }
  return kOk;
}
