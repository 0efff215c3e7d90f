// What the caller gives in a step.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dedelayed::sparse {

// A map that the caller gives, [channels, height, width] of floats, or of levels (Kind::kLevels), with any strides in them; no
// data: nothing new has arrived.
// Of a vector that the caller computes (Kind::kGiven), `dirty` says whether it differs from the last one.
struct Given {
  const void* data;
  std::int64_t channel, row, col;
  std::int64_t dirty;
};

// A row of it, channels-last, each value `converted`.
template <class Value, class To, class Converted>
void gather_row(const Given& given, int y, int channels, int width, To* row, Converted converted) {
  const Value* from = static_cast<const Value*>(given.data) + y * given.row;
  if (given.channel == 1 && given.col == channels) {
    for (std::ptrdiff_t i = 0, count = static_cast<std::ptrdiff_t>(width) * channels; i < count; ++i) row[i] = converted(from[i]);
    return;
  }
  for (int c = 0; c < channels; ++c) {
    for (int x = 0; x < width; ++x) {
      row[static_cast<std::ptrdiff_t>(x) * channels + c] = converted(from[c * given.channel + x * given.col]);
    }
  }
}

}  // namespace dedelayed::sparse
