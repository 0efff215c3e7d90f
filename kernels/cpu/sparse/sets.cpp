#include "sets.h"

#include <algorithm>
#include <numeric>
#include <cstring>

namespace dedelayed::sparse {
namespace {

// Counts come by value: a member would have to be read again after each byte that is written, which may be any object's.
void merge(std::uint8_t* to, const std::uint8_t* from, int count) {
  for (int x = 0; x < count; ++x) to[x] |= from[x];
}

// Every step-th byte.
void merge_every(std::uint8_t* to, const std::uint8_t* from, int step, int count) {
  if (step == 2) {
    for (int x = 0; x < count; ++x) to[x] |= from[2 * x];
  } else {
    for (int x = 0; x < count; ++x) to[x] |= from[x * step];
  }
}

// Each byte to so many in a row.
void merge_repeated(std::uint8_t* to, const std::uint8_t* from, int times, int count) {
  if (times == 2) {
    for (int x = 0; x < count; ++x) to[2 * x] |= from[x], to[2 * x + 1] |= from[x];
  } else {
    for (int x = 0; x < count * times; ++x) to[x] |= from[x / times];
  }
}

}  // namespace

void Set::resize(int h, int w) {
  height = h, width = w;
  on.assign(static_cast<std::size_t>(h) * w, 0);
  rows.assign(static_cast<std::size_t>(h), 0);
}

void Set::clear() {
  for (int y = 0; y < height; ++y) {
    if (rows[y]) std::memset(row(y), 0, static_cast<std::size_t>(width));
    rows[y] = 0;
  }
}

void Set::fill() {
  std::fill(on.begin(), on.end(), 1);
  std::fill(rows.begin(), rows.end(), 1);
}

int Set::count() const {
  int total = 0;
  for (int y = 0; y < height; ++y) {
    if (!rows[y]) continue;
    const std::uint8_t* p = row(y);
    for (int x = 0; x < width; ++x) total += p[x];
  }
  return total;
}

void add(Set& set, const Set& other) {
  for (int y = 0; y < set.height; ++y) {
    if (!other.rows[y]) continue;
    set.rows[y] = 1;
    merge(set.row(y), other.row(y), set.width);
  }
}

void add_dilated(Set& set, const Set& in, const Axis& rows, const Axis& cols, std::vector<std::uint8_t>& line) {
  // The row of inputs, with room on both sides for taps that read nothing.
  const int before = cols.is_even ? std::max(0, -cols.start) : 0;
  const int last = cols.is_even ? cols.start + (cols.out - 1) * cols.step + (cols.taps - 1) * cols.apart : in.width;
  line.assign(static_cast<std::size_t>(before) + std::max(in.width, last + 1), 0);
  std::uint8_t* const inputs = line.data() + before;
  for (int y = 0; y < set.height; ++y) {
    const std::int32_t* tap = rows.taps_of(y);
    bool any = false;
    for (int k = 0; k < rows.taps; ++k) {
      if (tap[k] == rows.in || !in.rows[tap[k]]) continue;
      const std::uint8_t* from = in.row(tap[k]);
      if (any) {
        merge(inputs, from, in.width);
      } else {
        std::copy_n(from, in.width, inputs);
        any = true;
      }
    }
    if (!any) continue;
    std::uint8_t* to = set.row(y);
    set.rows[y] = 1;
    if (cols.is_point) {
      merge(to, inputs, set.width);
    } else if (cols.is_even) {
      for (int k = 0; k < cols.taps; ++k) {
        const std::uint8_t* read = inputs + cols.start + k * cols.apart;
        if (cols.step == 1) {
          merge(to, read, set.width);
        } else {
          merge_every(to, read, cols.step, set.width);
        }
      }
    } else if (cols.is_beside) {
      merge_repeated(to, inputs, cols.taps, in.width);
    } else {
      for (int x = 0, width = set.width; x < width; ++x) {
        const std::int32_t* column = cols.taps_of(x);
        std::uint8_t found = 0;
        for (int k = 0; k < cols.taps; ++k) found |= inputs[column[k]];
        to[x] |= found;
      }
    }
  }
}

void add_read(Set& set, const Set& out, const Axis& rows, const Axis& cols, std::vector<std::uint8_t>& line) {
  line.resize(static_cast<std::size_t>(cols.in) + 1);  // what lies outside is marked as well, and left out
  const bool without_gaps = cols.is_even && cols.apart == 1 && cols.step <= cols.taps;
  const std::uint8_t* before = nullptr;  // the row that the line is of
  for (int y = 0; y < out.height; ++y) {
    if (!out.rows[y]) continue;
    const std::uint8_t *p = out.row(y), *end = p + out.width;
    const bool as_before = before && std::memcmp(before, p, static_cast<std::size_t>(out.width)) == 0;
    if (!as_before) std::fill(line.begin(), line.end(), 0);
    before = p;
    for (const std::uint8_t* on = p; !as_before && on != end && (on = find(on, end, 1)) != end;) {
      const std::uint8_t* off = find(on, end, 0);
      const int first = static_cast<int>(on - p), stop = static_cast<int>(off - p);
      if (without_gaps) {
        const int left = std::max(0, cols.start + first * cols.step);
        const int right = std::min(cols.in, cols.start + (stop - 1) * cols.step + cols.taps);
        if (left < right) std::fill(line.begin() + left, line.begin() + right, 1);
      } else {
        for (const std::int32_t *tap = cols.taps_of(first), *last = cols.taps_of(stop); tap != last; ++tap) line[*tap] = 1;
      }
      on = off;
    }
    for (int k = 0; k < rows.taps; ++k) {
      const int input = rows.taps_of(y)[k];
      if (input == rows.in) continue;
      merge(set.row(input), line.data(), set.width);
      set.rows[input] = 1;
    }
  }
}

void list(const Set& set, std::vector<std::int32_t>& positions) {
  positions.clear();
  each_run(set, [&](int first, int length) {
    const std::size_t before = positions.size();
    positions.resize(before + static_cast<std::size_t>(length));
    std::iota(positions.begin() + static_cast<std::ptrdiff_t>(before), positions.end(), first);
  });
}

}  // namespace dedelayed::sparse
