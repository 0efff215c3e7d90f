// Pictures as cameras give them: levels 0 to 255, of which the value is a 255th.
#pragma once

#include <cstddef>
#include <cstdint>

#include "blend.h"

namespace dedelayed::sparse {

// What a whole value, from 0 to 1, amounts to in the sums of `UnexplainedLevels`.
constexpr double kWholeLevels = 16.0 * 255.0;

// Sum over the cells of a patch, and channels, of how far `now` is from the levels between the four cells that a patch
// finds its values between, in sixteenths of a level: vectors have quarters of pixels, so that it is a whole number.
// A patch has at most 16 rows (a row of units has 8): so many differences below 2^12 are added up in 16 bits.
using UnexplainedLevels = std::uint64_t (*)(const View<const std::uint8_t>& from, const Patch& patch,
                                            const View<const std::uint8_t>& now);

struct LevelKernels {
  UnexplainedLevels unexplained;
  void (*values)(const std::uint8_t* levels, std::ptrdiff_t count, float* to);  // what levels are worth
  // What a table of 256 has for each level.
  void (*look_up)(const std::uint8_t* levels, std::ptrdiff_t count, const float* table, float* to);
  void (*look_up_halves)(const std::uint8_t* levels, std::ptrdiff_t count, const Bf16* table, Bf16* to);
  // Of each cell, 0 or 1: whether any channel has another level.
  void (*differ)(const std::uint8_t* fresh, const std::uint8_t* cached, int channels, int cells, std::uint8_t* on);
};
LevelKernels levels_portable();
LevelKernels levels_avx2();
LevelKernels levels_avx512();
LevelKernels levels_variant(int instruction_set);

// Bytes after a row's last one that are read, and not used.
constexpr int kBeyond = 31;

}  // namespace dedelayed::sparse
