// Correcting composed block motion by the two pictures that it connects: dedelayed_ros/refine.py says what and why.
#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
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

// A vector in quarter pixels, and as whole pixels.
struct Vector {
  std::int16_t x, y;
};

struct Shift {
  int x, y;
};

inline Shift whole(Vector v) { return {pixels(v.x), pixels(v.y)}; }

// A picture whose border is repeated for `margin` pixels around it, so that a block which is half outside needs no care.
class Bordered {
 public:
  Bordered(const std::uint8_t* picture, int height, int width, int margin)
      : margin_(margin), pitch_(kChannels * static_cast<std::ptrdiff_t>(width + 2 * margin)) {
    pixels_.resize(static_cast<std::size_t>(pitch_) * static_cast<std::size_t>(height + 2 * margin));
    const std::size_t row = static_cast<std::size_t>(kChannels) * static_cast<std::size_t>(width);
    for (int y = -margin; y < height + margin; ++y) {
      const std::uint8_t* from = picture + static_cast<std::size_t>(std::clamp(y, 0, height - 1)) * row;
      std::uint8_t* to = pixels_.data() + (y + margin) * pitch_;
      for (int x = 0; x < margin; ++x, to += kChannels) std::memcpy(to, from, kChannels);
      std::memcpy(to, from, row);
      to += row;
      for (int x = 0; x < margin; ++x, to += kChannels) std::memcpy(to, from + row - kChannels, kChannels);
    }
  }

  std::ptrdiff_t pitch() const { return pitch_; }
  const std::uint8_t* at(int y, int x) const {
    return pixels_.data() + (y + margin_) * pitch_ + kChannels * static_cast<std::ptrdiff_t>(x + margin_);
  }

 private:
  int margin_;
  std::ptrdiff_t pitch_;
  std::vector<std::uint8_t> pixels_;
};

#ifdef __SSE2__
// The 24 bytes of each of the 8 rows of a block of 8 x 8 pixels, as 12 registers.
class Packed {
 public:
  void take(const std::uint8_t* block, std::ptrdiff_t pitch) {
    for (int y = 0; y < 8; ++y) part_[y] = wide(block + y * pitch);
    for (int y = 0; y < 4; ++y) part_[8 + y] = ends(block + 2 * y * pitch, pitch);
  }

  // Sum of absolute differences to another block.
  int difference(const std::uint8_t* block, std::ptrdiff_t pitch) const {
    __m128i even = _mm_setzero_si128(), odd = even;
    for (int y = 0; y < 8; y += 2, block += 2 * pitch) {
      even = _mm_add_epi64(even, _mm_sad_epu8(part_[y], wide(block)));
      odd = _mm_add_epi64(odd, _mm_sad_epu8(part_[y + 1], wide(block + pitch)));
      even = _mm_add_epi64(even, _mm_sad_epu8(part_[8 + y / 2], ends(block, pitch)));
    }
    even = _mm_add_epi64(even, odd);
    return _mm_cvtsi128_si32(_mm_add_epi64(even, _mm_unpackhi_epi64(even, even)));
  }

 private:
  static __m128i wide(const std::uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static __m128i half(const std::uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
  static __m128i ends(const std::uint8_t* p, std::ptrdiff_t pitch) {
    return _mm_unpacklo_epi64(half(p + 16), half(p + pitch + 16));
  }
  __m128i part_[12];
};
#else
class Packed {
 public:
  void take(const std::uint8_t* block, std::ptrdiff_t pitch) {
    for (int y = 0; y < 8; ++y) std::memcpy(part_ + 24 * y, block + y * pitch, 24);
  }
  int difference(const std::uint8_t* block, std::ptrdiff_t pitch) const {
    int sum = 0;
    for (int y = 0; y < 8; ++y, block += pitch) {
      for (int i = 0; i < 24; ++i) sum += std::abs(part_[24 * y + i] - block[i]);
    }
    return sum;
  }

 private:
  std::uint8_t part_[192];
};
#endif

// One block of the present, to be found in the past.
class Block {
 public:
  Block(const Bordered& then, const std::uint8_t* now, int height, int width, int top, int left, int h, int w)
      : then_(then), pitch_(kChannels * static_cast<std::ptrdiff_t>(width)), now_(now + top * pitch_ + kChannels * left),
        height_(height), width_(width), top_(top), left_(left), h_(h), w_(w) {
    if (square()) packed_.take(now_, pitch_);
  }

  int samples() const { return kChannels * h_ * w_; }

  // Whether the block's centre came from inside the frame, as a MotionField has it.
  bool inside(Shift v) const {
    return static_cast<unsigned>(top_ + h_ / 2 - v.y) < static_cast<unsigned>(height_) &&
           static_cast<unsigned>(left_ + w_ / 2 - v.x) < static_cast<unsigned>(width_);
  }

  // Sum of absolute differences to where the block came from, which must be inside.
  int difference(Shift v) const {
    const std::uint8_t *a = now_, *b = then_.at(top_ - v.y, left_ - v.x);
    if (square()) return packed_.difference(b, then_.pitch());
    int sum = 0;
    for (int y = 0; y < h_; ++y, a += pitch_, b += then_.pitch()) {
      for (int i = 0; i < kChannels * w_; ++i) sum += std::abs(a[i] - b[i]);
    }
    return sum;
  }

 private:
  bool square() const { return h_ == 8 && w_ == 8; }

  const Bordered& then_;
  std::ptrdiff_t pitch_;
  const std::uint8_t* now_;
  int height_, width_, top_, left_, h_, w_;
  Packed packed_;
};

// Vectors for a block with their scores, of which the first of the best is taken. All are looked at before any is
// compared: which one wins nobody can predict, and a processor that guesses wrong loses more than a look costs.
class Choice {
 public:
  explicit Choice(const Block& block) : block_(block) {}

  // One whose difference is known.
  void put(Vector vector, int difference, int penalty) {
    vectors_[count_] = vector, differences_[count_] = difference;
    scores_[count_++] = 4 * difference + penalty * block_.samples();
  }

  // One to look at, unless it is not `there` or leads out of the frame.
  void attempt(Vector vector, int penalty, bool there = true) {
    const Shift shift = whole(vector);
    const bool can = there & block_.inside(shift);
    put(vector, block_.difference(can ? shift : Shift{0, 0}), penalty);
    scores_[count_ - 1] = can ? scores_[count_ - 1] : kNone;
  }

  // The best one's number; -1 where there is none.
  int best() const {
    std::int64_t key = static_cast<std::int64_t>(kNone) * kMost;
    for (int i = 0; i < count_; ++i) key = std::min(key, static_cast<std::int64_t>(scores_[i]) * kMost + i);
    return key == static_cast<std::int64_t>(kNone) * kMost ? -1 : static_cast<int>(key & (kMost - 1));
  }

  Vector vector(int number) const { return vectors_[number]; }
  int difference(int number) const { return differences_[number]; }

 private:
  static constexpr int kNone = 1 << 30, kMost = 16;

  const Block& block_;
  int count_ = 0;
  Vector vectors_[kMost];
  int differences_[kMost], scores_[kMost];
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
  try {
    const refine::Bordered past(then, height, width, (block + 1) / 2);
    std::vector<int> differences(static_cast<std::size_t>(count), -1);
    // Blocks whose vector was better than all beside it: they need not be tried again.
    std::vector<std::uint8_t> settled(static_cast<std::size_t>(count), 0);
    for (int pass = 0; pass < refine::kPasses; ++pass) {
      // Forth and back, so that a good vector spreads over all of its object.
      const int way = pass % 2 ? -1 : 1;
      for (int i = 0; i < count; ++i) {
        const int k = way > 0 ? i : count - 1 - i, row = k / columns, column = k % columns;
        const int top = row * block, left = column * block;
        const refine::Block here(past, now, height, width, top, left, std::min(block, height - top),
                                 std::min(block, width - left));
        int& own = differences[static_cast<std::size_t>(k)];
        const bool known = valid[k] && here.inside(refine::whole(vectors[k]));
        if (known) {
          if (own < 0) own = here.difference(refine::whole(vectors[k]));
          if (4 * own <= refine::kGood * here.samples()) continue;
        }
        refine::Choice near(here);
        if (known) near.put(vectors[k], own, -refine::kBias);
        const auto neighbour = [&](int y, int x) {
          if (y < 0 || y >= rows || x < 0 || x >= columns) return;
          near.attempt(vectors[y * columns + x], 0, valid[y * columns + x]);
        };
        neighbour(row, column - way);
        neighbour(row - way, column);
        neighbour(row - way, column + way);
        neighbour(row - way, column - way);
        const int nearest = near.best();
        if (nearest < 0) continue;
        const bool same = known && nearest == 0;
        if (same && settled[static_cast<std::size_t>(k)]) continue;
        refine::Choice around(here);
        const Vector base = near.vector(nearest);
        around.put(base, near.difference(nearest), same ? -refine::kBias : 0);
        for (const int step : refine::kSteps) {
          const auto moved = [&](int x, int y) {
            around.attempt({static_cast<std::int16_t>(base.x + 4 * x), static_cast<std::int16_t>(base.y + 4 * y)},
                           refine::kPenalty);
          };
          moved(step, 0), moved(-step, 0), moved(0, step), moved(0, -step);
        }
        const int best = around.best();
        settled[static_cast<std::size_t>(k)] = best == 0;
        vectors[k] = around.vector(best);
        valid[k] = 1;
        own = around.difference(best);
      }
    }
  } catch (const std::bad_alloc&) {
    return kOutOfMemory;
  }
  return kOk;
}
