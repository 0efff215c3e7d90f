// Where the cached value of each position is, and where motion does not vouch for it: dedelayed_ros/sparse/motion.py and
// alignment.py say what each function computes; these give the same sets.
#pragma once

#include <cstdint>
#include <vector>

#include "plan.h"
#include "sets.h"

namespace dedelayed::sparse {

struct Covers;

constexpr std::int32_t kNowhere = INT32_MIN;  // a position without a cached value

// A displacement in cells as one number, so that two are compared at once.
inline std::int32_t to_key(int rows, int cols) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(rows) << 16 | (static_cast<std::uint32_t>(cols) & 0xffffu));
}
inline int key_rows(std::int32_t key) { return key >> 16; }
inline int key_cols(std::int32_t key) { return static_cast<std::int16_t>(key & 0xffff); }

// Where those end that have the key of position x of a row.
inline int end_of_run(const std::int32_t* keys, int x, int width) {
  int end = x + 1;
  while (end < width && keys[end] == keys[x]) ++end;
  return end;
}

// Neighbours in a row with one displacement.
struct Run {
  int y, x, length;
  std::int32_t key;
};

// Those of a row, in place of `runs`: one after the other, what has no cached value among them.
void find_runs(const std::int32_t* keys, int width, std::vector<Run>& runs);

// Whole cells by which each position of a grid moved; it finds its cached value at that distance before it.
struct Moved {
  bool still = true;                // nothing moved, everything is valid, `key` is not filled
  std::vector<std::int32_t> key;    // [height, width]
  std::int32_t common = 0;          // a displacement that more than half of the positions share, if there is one
  std::vector<Run> others;          // runs of the positions that have another one
  std::vector<int> alike;           // by row: the first one from which on all rows up to this one have the same keys

  // Find all this from `key`.
  void find_runs(int height, int width);
};

// Quarter pixels, [2, height, width], by which cached values are behind where they belong; with some room at the end, since
// they are read eight at a time.
constexpr std::size_t kRemainderRoom = 8;
using Remainder = std::vector<std::int16_t>;

// The motion field of a frame.
struct Field {
  const std::int16_t* vectors;  // [rows, cols, 2], x then y, quarter pixels
  const std::uint8_t* valid;    // [rows, cols]
  int rows, cols, block;
  bool still;                   // all valid, and none moves

  static Field of(const std::int16_t* vectors, const std::uint8_t* valid, int rows, int cols, int block);
};

// A block's vector along an axis: 0 for rows, 1 for columns.
inline int vector_of(const Field& field, int block, int axis) { return field.vectors[2 * block + 1 - axis]; }

// Positions whose source is outside of the grid have none.
void keep_inside(const Grid& grid, Moved& moved);

void find_exact(const Covers& covers, const Field& field, const Grid& grid, Moved& moved);
void find_carried(const Covers& covers, const Field& field, const Grid& grid, Remainder& remainder, Moved& moved);
void find_propagated(const Plan& plan, const Node& node, const Moved& source, Moved& moved);

// Positions that have no cached value; `bad` is replaced.
void flag_nowhere(const Moved& moved, const Grid& grid, Set& bad);

// Positions whose cached value may not be used, whatever the content; `bad` is replaced.
void find_misaligned(const Plan& plan, const Grid& grid, const Alignment& alignment, const std::vector<Moved>& moved,
                     Set& bad);

}  // namespace dedelayed::sparse
