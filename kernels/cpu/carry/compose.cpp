// Motion over two steps: dedelayed_ros/frames/motion_field.py (compose) says what, in NumPy.
#include <algorithm>
#include <cstdint>

#include "../library.h"
#include "pixels.h"

// Vectors int16 [rows, columns, 2] in quarter pixels and valid [rows, columns] of blocks of `block` pixels of a frame.
DEDELAYED_EXPORT int dedelayed_compose(const std::int16_t* older, const std::uint8_t* older_valid,
                                       const std::int16_t* newer, const std::uint8_t* newer_valid, int height, int width,
                                       int block, std::int16_t* total, std::uint8_t* valid) {
  using namespace dedelayed;
  if (!older || !older_valid || !newer || !newer_valid || !total || !valid || height < 1 || width < 1 || block < 1) {
    return kBadArgument;
  }
  const int rows = (height + block - 1) / block, columns = (width + block - 1) / block;
  const auto inside = [&](int y, int x) {
    return static_cast<unsigned>(y) < static_cast<unsigned>(height) &&
           static_cast<unsigned>(x) < static_cast<unsigned>(width);
  };
  for (int row = 0, k = 0; row < rows; ++row) {
    const int y = row * block + std::min(block, height - row * block) / 2;
    for (int column = 0; column < columns; ++column, ++k) {
      const int x = column * block + std::min(block, width - column * block) / 2;
      total[2 * k] = total[2 * k + 1] = 0;
      valid[k] = 0;
      const int from_y = y - pixels(newer[2 * k + 1]), from_x = x - pixels(newer[2 * k]);
      if (!newer_valid[k] || !inside(from_y, from_x)) continue;
      const int from = from_y / block * columns + from_x / block;
      if (!older_valid[from]) continue;
      const int dx = older[2 * from] + newer[2 * k], dy = older[2 * from + 1] + newer[2 * k + 1];
      total[2 * k] = static_cast<std::int16_t>(dx), total[2 * k + 1] = static_cast<std::int16_t>(dy);
      // A sum beyond int16 leads out of any frame.
      valid[k] = inside(y - pixels(dy), x - pixels(dx));
    }
  }
  return kOk;
}
