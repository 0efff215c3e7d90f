// Sets of positions of a grid, and how they grow through the footprint of an operation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "plan.h"

namespace dedelayed::sparse {

// Positions of a grid, one byte each; most rows of most sets are empty, so rows are known too.
struct Set {
  int height = 0, width = 0;
  std::vector<std::uint8_t> on;    // [height, width], 0 or 1
  std::vector<std::uint8_t> rows;  // [height]: may the row have any

  void resize(int h, int w);
  void clear();
  void fill();
  int count() const;
  std::uint8_t* row(int y) { return on.data() + static_cast<std::size_t>(y) * width; }
  const std::uint8_t* row(int y) const { return on.data() + static_cast<std::size_t>(y) * width; }
};

// Add another set of the same grid.
void add(Set& set, const Set& other);

// Add the outputs that read at least one input of `in`. `line` is scratch.
void add_dilated(Set& set, const Set& in, const Axis& rows, const Axis& cols, std::vector<std::uint8_t>& line);

// Add the inputs that at least one output of `out` reads. `line` is scratch.
void add_read(Set& set, const Set& out, const Axis& rows, const Axis& cols, std::vector<std::uint8_t>& line);

// First byte of [start, end) with that value, or end.
inline const std::uint8_t* find(const std::uint8_t* start, const std::uint8_t* end, int value) {
  const void* found = std::memchr(start, value, static_cast<std::size_t>(end - start));
  return found ? static_cast<const std::uint8_t*>(found) : end;
}

// Call use(position, length) for each run of positions in a row, row by row.
template <class Use>
inline void each_run(const Set& set, Use use) {
  for (int y = 0; y < set.height; ++y) {
    if (!set.rows[y]) continue;
    const std::uint8_t *p = set.row(y), *end = p + set.width;
    for (const std::uint8_t* on = p; on != end && (on = find(on, end, 1)) != end;) {
      const std::uint8_t* off = find(on, end, 0);
      use(y * set.width + static_cast<int>(on - p), static_cast<int>(off - on));
      on = off;
    }
  }
}

// Numbers of the positions, row by row.
void list(const Set& set, std::vector<std::int32_t>& positions);

}  // namespace dedelayed::sparse
