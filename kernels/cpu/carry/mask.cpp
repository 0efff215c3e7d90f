// Carrying masks along block motion: dedelayed_ros/carried_mask.py says what, in NumPy.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "../library.h"
#include "pixels.h"

// mask, confidence and what becomes of them [height, width]; qpel int16 [rows, columns, 2] and valid [rows, columns]: one
// vector a `block` × `block` pixels. Without a source: the nearest pixel of the frame, with confidence 0.
DEDELAYED_EXPORT int dedelayed_carry_mask(const std::uint8_t* mask, const std::uint8_t* confidence, int height, int width,
                                          int block, const std::int16_t* qpel, const std::uint8_t* valid,
                                          std::uint8_t* moved_mask, std::uint8_t* moved_confidence) {
  using namespace dedelayed;
  if (!mask || !confidence || !qpel || !valid || !moved_mask || !moved_confidence || height < 1 || width < 1 ||
      block < 1) {
    return kBadArgument;
  }
  const int columns = (width + block - 1) / block;
  for (int y = 0; y < height; ++y) {
    const std::int64_t row = static_cast<std::int64_t>(y) * width;
    for (int column = 0; column < columns; ++column) {
      const std::int64_t at = static_cast<std::int64_t>(y / block) * columns + column;
      const int left = column * block, count = std::min(block, width - left);
      const int from_y = y - pixels(qpel[2 * at + 1]), from_x = left - pixels(qpel[2 * at]);
      const bool row_known = valid[at] && from_y >= 0 && from_y < height;
      const std::int64_t source = static_cast<std::int64_t>(std::clamp(from_y, 0, height - 1)) * width;
      if (from_x >= 0 && from_x + count <= width) {
        std::memcpy(moved_mask + row + left, mask + source + from_x, count);
        if (row_known) {
          std::memcpy(moved_confidence + row + left, confidence + source + from_x, count);
        } else {
          std::memset(moved_confidence + row + left, 0, count);
        }
        continue;
      }
      for (int k = 0; k < count; ++k) {
        const int x = std::clamp(from_x + k, 0, width - 1);
        const bool known = row_known && x == from_x + k;
        moved_mask[row + left + k] = mask[source + x];
        moved_confidence[row + left + k] = known ? confidence[source + x] : 0;
      }
    }
  }
  return kOk;
}
