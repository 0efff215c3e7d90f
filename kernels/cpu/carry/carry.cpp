// Carrying remote features along block motion: dedelayed_ros/carry.py says what, in torch.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#include "../library.h"

namespace dedelayed::carry {
namespace {

// Between which two of `length` positions `at` units lie, at least −1, repeating the border, and how far from the first.
struct Between {
  int low, high;
  float part;

  Between(int at, int unit, int length) {
    const int floor = (at + unit) / unit - 1;
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
  template <class T>
  T nearer(T low, T high) const { return near_low ? low : high; }
};

// Four parts' maps into one's: across, and then down.
inline void blend(const float* const (&top)[2], const float* const (&bottom)[2], Mix across, Mix down, int maps,
                  float* __restrict out) {
  const float *above = across.nearer(top[0], top[1]), *below = across.nearer(bottom[0], bottom[1]);
  const auto run = [&](auto nearer) {
    for (int k = 0; k < maps; ++k) {
      const float high = above[k] + across.weight * (top[1][k] - top[0][k]);
      const float low = below[k] + across.weight * (bottom[1][k] - bottom[0][k]);
      out[k] = nearer(high, low) + down.weight * (low - high);
    }
  };
  if (down.near_low) {
    run([](float high, float) { return high; });
  } else {
    run([](float, float low) { return low; });
  }
}

// Features cell by cell, as pixel_unshuffle leaves their channels, as they lie in memory: the maps of a cell's parts in turn.
struct Cells {
  int width, maps, split;

  // Of the first map of a part; the next map's lies `split²` further on.
  std::int64_t of_part(int row, int column) const {
    const std::int64_t cell = static_cast<std::int64_t>(row / split) * width + column / split;
    return cell * maps * split * split + row % split * split + column % split;
  }
};

// All maps of one part after the other, part by part.
std::vector<float> by_part(const float* features, const Cells& cells, int rows, int columns) {
  std::vector<float> parts(static_cast<std::size_t>(rows) * columns * cells.maps);
  const int step = cells.split * cells.split;
  float* to = parts.data();
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column, to += cells.maps) {
      const float* from = features + cells.of_part(row, column);
      for (int k = 0; k < cells.maps; ++k) to[k] = from[k * step];
    }
  }
  return parts;
}

}  // namespace
}  // namespace dedelayed::carry

// features and out [height, width, maps · split²], cells of `cell` pixels; qpel int16 [height · split, width · split, 2]
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
    const carry::Cells cells{width, maps, split};
    const int rows = height * split, columns = width * split, step = split * split;
    const std::vector<float> parts = carry::by_part(features, cells, rows, columns);
    std::vector<float> carried(static_cast<std::size_t>(maps));
    const auto at = [&](int row, int column) {
      return parts.data() + (static_cast<std::int64_t>(row) * columns + column) * maps;
    };
    std::memset(out, 0, sizeof(float) * parts.size());
    for (int row = 0; row < rows; ++row) {
      for (int column = 0; column < columns; ++column) {
        const std::int64_t block = static_cast<std::int64_t>(row) * columns + column;
        if (!valid[block]) continue;
        const int x = column * unit - qpel[2 * block], y = row * unit - qpel[2 * block + 1];
        if (y < -half || y >= rows * unit - half || x < -half || x >= columns * unit - half) continue;
        const carry::Between down(y, unit, rows), right(x, unit, columns);
        const float* const top[2] = {at(down.low, right.low), at(down.low, right.high)};
        const float* const bottom[2] = {at(down.high, right.low), at(down.high, right.high)};
        carry::blend(top, bottom, carry::Mix(right.part), carry::Mix(down.part), maps, carried.data());
        float* to = out + cells.of_part(row, column);
        for (int k = 0; k < maps; ++k) to[k * step] = carried[k];
      }
    }
  } catch (const std::bad_alloc&) {
    return kOutOfMemory;
  }
  return kOk;
}
