// Correcting composed block motion by the two pictures that it connects: dedelayed_ros/refine.py says what and why.
#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "../library.h"
#include "pixels.h"

namespace dedelayed::refine {
namespace {

constexpr int kChannels = 3;
constexpr int kPasses = 2;
constexpr int kSteps[] = {1, 2};  // pixels
// In quarters of a grey level of the mean difference: what keeps a block as it is, what its own vector is favoured by,
// and what a vector of nobody else has to be better by.
constexpr int kGood = 8, kBias = 2, kPenalty = 1;
constexpr int kMostTried = 16;

// A vector in quarter pixels, and as whole pixels.
struct Vector {
  std::int16_t x, y;
};

struct Shift {
  int x, y;
  bool operator==(const Shift& other) const { return x == other.x && y == other.y; }
};

inline Shift whole(Vector v) { return {pixels(v.x), pixels(v.y)}; }

#ifdef __SSE2__
// Sum of absolute differences of four rows of 8 pixels.
inline int four_rows(const std::uint8_t* a, const std::uint8_t* b, std::ptrdiff_t stride) {
  const auto wide = [](const std::uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
  const auto half = [](const std::uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); };
  __m128i sum = _mm_setzero_si128();
  for (int pair = 0; pair < 2; ++pair, a += 2 * stride, b += 2 * stride) {
    sum = _mm_add_epi64(sum, _mm_sad_epu8(wide(a), wide(b)));
    sum = _mm_add_epi64(sum, _mm_sad_epu8(wide(a + stride), wide(b + stride)));
    sum = _mm_add_epi64(sum, _mm_sad_epu8(_mm_unpacklo_epi64(half(a + 16), half(a + stride + 16)),
                                          _mm_unpacklo_epi64(half(b + 16), half(b + stride + 16))));
  }
  return _mm_cvtsi128_si32(sum) + _mm_extract_epi16(sum, 4);
}
#else
inline int four_rows(const std::uint8_t* a, const std::uint8_t* b, std::ptrdiff_t stride) {
  int sum = 0;
  for (int y = 0; y < 4; ++y, a += stride, b += stride) {
    for (int i = 0; i < 8 * kChannels; ++i) sum += std::abs(a[i] - b[i]);
  }
  return sum;
}
#endif

// One block of the present, to be found in the past.
struct Block {
  const std::uint8_t *then, *now;
  int height, width;  // of both pictures
  int top, left, h, w;

  int samples() const { return kChannels * h * w; }

  // Whether the block's centre came from inside the frame, as a MotionField has it.
  bool inside(Shift v) const {
    return static_cast<unsigned>(top + h / 2 - v.y) < static_cast<unsigned>(height) &&
           static_cast<unsigned>(left + w / 2 - v.x) < static_cast<unsigned>(width);
  }

  // Sum of absolute differences, the border repeated; from `enough` on it may be less than the true one.
  int difference(Shift v, int enough) const {
    const int from_top = top - v.y, from_left = left - v.x;
    const std::ptrdiff_t stride = static_cast<std::ptrdiff_t>(kChannels) * width;
    const std::uint8_t* a = now + top * stride + kChannels * left;
    int sum = 0;
    if (from_top >= 0 && from_left >= 0 && from_top + h <= height && from_left + w <= width) {
      const std::uint8_t* b = then + from_top * stride + kChannels * from_left;
      if (h == 8 && w == 8) {
        sum = four_rows(a, b, stride);
        return sum >= enough ? sum : sum + four_rows(a + 4 * stride, b + 4 * stride, stride);
      }
      for (int y = 0; y < h; ++y, a += stride, b += stride) {
        for (int i = 0; i < kChannels * w; ++i) sum += std::abs(a[i] - b[i]);
      }
      return sum;
    }
    for (int y = 0; y < h; ++y, a += stride) {
      const std::uint8_t* row = then + std::clamp(from_top + y, 0, height - 1) * stride;
      for (int x = 0; x < w; ++x) {
        const std::uint8_t* b = row + kChannels * std::clamp(from_left + x, 0, width - 1);
        for (int c = 0; c < kChannels; ++c) sum += std::abs(a[kChannels * x + c] - b[c]);
      }
    }
    return sum;
  }
};

// The best vector of a block so far; a candidate that leads to the same pixels as one before is not looked at again.
class Choice {
 public:
  Choice(const Block& block, bool known, Vector own, int difference) : block_(block), vector_(own) {
    if (!known) return;
    difference_ = difference;
    score_ = 4 * difference - kBias * block.samples();
    tried_[count_++] = whole(own);
  }

  void attempt(Vector candidate, int penalty) {
    const Shift shift = whole(candidate);
    for (int i = 0; i < count_; ++i) {
      if (tried_[i] == shift) return;
    }
    tried_[count_++] = shift;
    if (!block_.inside(shift)) return;
    const int extra = penalty * block_.samples();
    const int enough = found() ? (score_ - extra + 3) / 4 : INT_MAX;
    const int difference = block_.difference(shift, enough), score = 4 * difference + extra;
    if (score < score_) vector_ = candidate, score_ = score, difference_ = difference;
  }

  bool found() const { return score_ < INT_MAX; }
  Vector vector() const { return vector_; }
  int difference() const { return difference_; }

 private:
  const Block& block_;
  Vector vector_;
  int score_ = INT_MAX, difference_ = -1, count_ = 0;
  Shift tried_[kMostTried];
};

}  // namespace
}  // namespace dedelayed::refine

// then and now uint8 [height, width, 3]; qpel int16 [rows, columns, 2] and valid [rows, columns] of blocks of `block`
// pixels are corrected in place.
DEDELAYED_EXPORT int dedelayed_refine(const std::uint8_t* then, const std::uint8_t* now, int height, int width, int block,
                                      std::int16_t* qpel, std::uint8_t* valid) {
  using namespace dedelayed;
  using refine::Vector;
  if (!then || !now || !qpel || !valid || height < 1 || width < 1 || block < 1) return kBadArgument;
  const int rows = (height + block - 1) / block, columns = (width + block - 1) / block, count = rows * columns;
  Vector* vectors = reinterpret_cast<Vector*>(qpel);
  std::vector<int> differences;
  std::vector<std::uint8_t> settled;  // blocks whose vector was better than all beside it: they need not be tried again
  try {
    differences.assign(static_cast<std::size_t>(count), -1);
    settled.assign(static_cast<std::size_t>(count), 0);
  } catch (const std::bad_alloc&) {
    return kOutOfMemory;
  }
  for (int pass = 0; pass < refine::kPasses; ++pass) {
    // Forth and back, so that a good vector spreads over all of its object.
    const int way = pass % 2 ? -1 : 1;
    for (int i = 0; i < count; ++i) {
      const int k = way > 0 ? i : count - 1 - i, row = k / columns, column = k % columns;
      const int top = row * block, left = column * block;
      const refine::Block here{then, now, height, width, top, left, std::min(block, height - top),
                               std::min(block, width - left)};
      int& own = differences[static_cast<std::size_t>(k)];
      if (valid[k]) {
        if (own < 0) own = here.difference(refine::whole(vectors[k]), INT_MAX);
        if (4 * own <= refine::kGood * here.samples()) continue;
      }
      refine::Choice choice(here, valid[k], vectors[k], own);
      const auto neighbour = [&](int y, int x) {
        if (y < 0 || y >= rows || x < 0 || x >= columns || !valid[y * columns + x]) return;
        choice.attempt(vectors[y * columns + x], 0);
      };
      neighbour(row, column - way);
      neighbour(row - way, column);
      neighbour(row - way, column + way);
      neighbour(row - way, column - way);
      if (!choice.found()) continue;
      const Vector base = choice.vector();
      const bool same = base.x == vectors[k].x && base.y == vectors[k].y;
      if (same && settled[static_cast<std::size_t>(k)]) continue;
      for (const int step : refine::kSteps) {
        const auto moved = [&](int x, int y) {
          choice.attempt({static_cast<std::int16_t>(base.x + 4 * x), static_cast<std::int16_t>(base.y + 4 * y)},
                         refine::kPenalty);
        };
        moved(step, 0), moved(-step, 0), moved(0, step), moved(0, -step);
      }
      const Vector best = choice.vector();
      settled[static_cast<std::size_t>(k)] = best.x == base.x && best.y == base.y;
      vectors[k] = best;
      valid[k] = 1;
      own = choice.difference();
    }
  }
  return kOk;
}
