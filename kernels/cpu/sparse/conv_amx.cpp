// The convolution of bfloat16 maps by tiles of registers: 16 pixels by 32 positions of the depth, times those by 16 channels.
// Pixels in a row are read where they are; others are brought together in scratch first. Each row of a tile is summed up by
// itself, in the order of the depth, so that both ways give the same bits.
#include "../library.h"
#include "conv.h"

#if defined(DEDELAYED_AMX)
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")

namespace dedelayed::sparse {
namespace {

constexpr int kRows = 16, kDeep = 32, kWide = 16;  // pixels, positions and channels of a tile
constexpr int kTogether = 2;                       // tiles of pixels, and of channels, that are computed together
constexpr int kWorthInPlace = 10;                  // pixels of a tile from which it is read where it is
constexpr std::size_t kSums = kRows * kWide;

// Registers: sums 0 to 3, pixels 4 and 5, weights 6 and 7.
struct alignas(64) Configuration {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Values of a segment that lie in one part of the depth: those of the mask's lanes, at an offset that brings them there.
struct Piece {
  std::int64_t offset;  // from a pixel's first tap to lane 0
  __mmask32 lanes;
};

struct Scratch {
  float sums[4][kSums];
  std::int64_t* offsets;  // [parts] of a pixel that is read where it is
  Piece* pieces;          // one part after the other
  int* ends;              // [parts] the first piece that is not of it
  Bf16* gathered[kTogether];
};

int whole(int depth) { return (depth + kDeep - 1) / kDeep; }

// 16 pixels, or fewer: where the first begins, values to the next one, and which pixel each row is, -1 for none.
struct Tile {
  const Bf16* from;
  std::ptrdiff_t step;
  const std::int64_t* offsets;  // of each part of the depth; null: they follow each other
  int count;                    // rows up to the last one that is a pixel
  int pixel[kRows];

  const Bf16* part(int k) const { return from + (offsets ? offsets[k] : static_cast<std::int64_t>(k) * kDeep); }
};

// Bring the segments of each pixel of a tile together, and fill the depth up with zeros.
inline void gather(const Scratch& scratch, int parts, const Bf16* const* pixels, const Tile& tile, Bf16* to) {
  const Bf16* from[kRows];
  for (int r = 0; r < tile.count; ++r) from[r] = pixels[tile.pixel[r]];
  const Piece* piece = scratch.pieces;
  for (int k = 0; k < parts; ++k, to += kDeep) {
    const Piece first = *piece++, *end = scratch.pieces + scratch.ends[k];
    for (int r = 0; r < tile.count; ++r) {
      __m512i values = _mm512_maskz_loadu_epi16(first.lanes, from[r] + first.offset);
      for (const Piece* other = piece; other < end; ++other) {
        values = _mm512_mask_loadu_epi16(values, other->lanes, from[r] + other->offset);
      }
      _mm512_store_si512(to + r * tile.step, values);
    }
    piece = end;
  }
}

// The intrinsics want the register's number as it is written.
template <int kRegister>
inline void store(float* to) {
  static_assert(kRegister >= 0 && kRegister < 4);
  constexpr std::size_t kBytes = sizeof(float) * kWide;
  if constexpr (kRegister == 0) _tile_stored(0, to, kBytes);
  if constexpr (kRegister == 1) _tile_stored(1, to, kBytes);
  if constexpr (kRegister == 2) _tile_stored(2, to, kBytes);
  if constexpr (kRegister == 3) _tile_stored(3, to, kBytes);
}

// Sums of a tile, as results of kBlocks blocks of channels from `first` on, to where they belong.
template <int kBlocks>
inline void keep(const ConvJob& job, const Tile& tile, const float* sums, const float* beside, int first, Bf16* out) {
  const int channels = job.channels - first;
  const __mmask32 some = channels < kBlocks * kWide ? (1u << channels) - 1u : ~0u >> (32 - kBlocks * kWide);
  const __m512 low = _mm512_set1_ps(job.low), high = _mm512_set1_ps(job.high);
  // What is not a number stays none.
  const auto clamped = [&](const float* from) { return _mm512_min_ps(high, _mm512_max_ps(low, _mm512_loadu_ps(from))); };
  for (int r = 0; r < tile.count; ++r) {
    const int pixel = tile.pixel[r];
    if (pixel < 0) continue;
    Bf16* to = out + static_cast<std::int64_t>(job.places ? job.places[pixel] : pixel) * job.pitch + first;
    const __m512 values = clamped(sums + r * kWide);
    if constexpr (kBlocks > 1) {
      _mm512_mask_storeu_epi16(to, some, (__m512i)_mm512_cvtne2ps_pbh(clamped(beside + r * kWide), values));
    } else {
      _mm256_mask_storeu_epi16(to, static_cast<__mmask16>(some), (__m256i)_mm512_cvtneps_pbh(values));
    }
  }
}

// kTiles tiles of pixels by kBlocks blocks of channels from `first` on.
template <int kTiles, int kBlocks>
inline void multiply(const ConvJob& job, const Tile* tiles, Scratch& scratch, int first, Bf16* out) {
  const int parts = whole(job.depth);
  const std::ptrdiff_t block = static_cast<std::ptrdiff_t>(parts) * kDeep * kWide / 2;  // floats
  const float* weight = job.weight + first / kWide * block;
  const std::ptrdiff_t a = tiles[0].step * static_cast<std::ptrdiff_t>(sizeof(Bf16));
  const std::ptrdiff_t b = tiles[kTiles - 1].step * static_cast<std::ptrdiff_t>(sizeof(Bf16));
  _tile_loadd(0, job.bias + first, 0);
  if constexpr (kTiles > 1) _tile_loadd(1, job.bias + first, 0);
  if constexpr (kBlocks > 1) _tile_loadd(2, job.bias + first + kWide, 0);
  if constexpr (kTiles > 1 && kBlocks > 1) _tile_loadd(3, job.bias + first + kWide, 0);
  for (int k = 0; k < parts; ++k, weight += kDeep * kWide / 2) {
    _tile_loadd(6, weight, 64);
    _tile_loadd(4, tiles[0].part(k), a);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTiles > 1) {
      _tile_loadd(5, tiles[1].part(k), b);
      _tile_dpbf16ps(1, 5, 6);
    }
    if constexpr (kBlocks > 1) {
      _tile_loadd(7, weight + block, 64);
      _tile_dpbf16ps(2, 4, 7);
      if constexpr (kTiles > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
  float(&sums)[4][kSums] = scratch.sums;
  store<0>(sums[0]);
  if constexpr (kTiles > 1) store<1>(sums[1]);
  if constexpr (kBlocks > 1) store<2>(sums[2]);
  if constexpr (kTiles > 1 && kBlocks > 1) store<3>(sums[3]);
  for (int t = 0; t < kTiles; ++t) keep<kBlocks>(job, tiles[t], sums[t], sums[2 + t], first, out);
}

template <int kTiles>
inline void multiply_all(const ConvJob& job, const Tile* tiles, Scratch& scratch, Bf16* out) {
  int first = 0;
  for (; first + kWide < job.channels; first += 2 * kWide) multiply<kTiles, 2>(job, tiles, scratch, first, out);
  if (first < job.channels) multiply<kTiles, 1>(job, tiles, scratch, first, out);
}

// Tiles, computed as soon as there are enough of them.
class Pending {
 public:
  Pending(const ConvJob& job, Scratch& scratch, const Bf16* const* pixels, Bf16* out)
      : job_(job), scratch_(scratch), pixels_(pixels), out_(out) {}

  // The tile that comes next is made where it is kept, and then added.
  Tile& next() { return tiles_[count_]; }
  void add() {
    if (++count_ == kTogether) flush();
  }

  // A pixel by itself goes into a tile of such.
  void add_alone(int pixel) {
    alone_.pixel[alone_.count++] = pixel;
    if (alone_.count == kRows) add_gathered();
  }

  void finish() {
    if (alone_.count) add_gathered();
    if (count_) flush();
  }

 private:
  void add_gathered() {
    const int parts = whole(job_.depth);
    Bf16* to = scratch_.gathered[count_];
    alone_.from = to, alone_.step = static_cast<std::ptrdiff_t>(parts) * kDeep;
    gather(scratch_, parts, pixels_, alone_, to);
    next() = alone_;
    alone_.count = 0;
    add();
  }
  void flush() {
    if (count_ == 2) {
      multiply_all<2>(job_, tiles_, scratch_, out_);
    } else {
      multiply_all<1>(job_, tiles_, scratch_, out_);
    }
    count_ = 0;
  }

  const ConvJob& job_;
  Scratch& scratch_;
  const Bf16* const* pixels_;
  Bf16* out_;
  Tile tiles_[kTogether];
  Tile alone_{};
  int count_ = 0;  // tiles that wait
};

constexpr std::size_t kLine = 64;

// Takes arrays out of the scratch, each from a line on.
class Taker {
 public:
  explicit Taker(void* from) : at_(reinterpret_cast<std::uintptr_t>(from)) {}

  template <class Item>
  Item* take(std::size_t count) {
    at_ = (at_ + kLine - 1) / kLine * kLine;
    Item* items = reinterpret_cast<Item*>(at_);
    at_ += count * sizeof(Item);
    return items;
  }

 private:
  std::uintptr_t at_;
};

Scratch& lay_out(Taker& taker, int parts, int segments) {
  Scratch& scratch = *taker.take<Scratch>(1);
  scratch.offsets = taker.take<std::int64_t>(parts);
  scratch.ends = taker.take<int>(parts);
  scratch.pieces = taker.take<Piece>(static_cast<std::size_t>(parts) + segments);
  for (Bf16*& gathered : scratch.gathered) gathered = taker.take<Bf16>(static_cast<std::size_t>(parts) * kRows * kDeep);
  return scratch;
}

}  // namespace

std::size_t scratch_amx(int depth, int segments) {
  const std::size_t parts = static_cast<std::size_t>(whole(depth));
  const std::size_t arrays = sizeof(Scratch) + parts * (sizeof(std::int64_t) + sizeof(int)) +
                             (parts + segments) * sizeof(Piece) + kTogether * parts * kRows * kDeep * sizeof(Bf16);
  return arrays + (4 + kTogether) * kLine;
}

void convolve_amx(const ConvJob& job, const Bf16* const* pixels, int count, Bf16* out) {
  const int parts = whole(job.depth);
  Taker taker(job.scratch);
  Scratch& scratch = lay_out(taker, parts, job.segments);
  bool divides = true;
  Piece* piece = scratch.pieces;
  int depth = 0;
  for (int s = 0; s < job.segments; ++s) {
    divides &= job.lengths[s] % kDeep == 0;
    for (int i = 0, many; i < job.lengths[s]; i += many, depth += many) {
      const int lane = depth % kDeep, k = depth / kDeep;
      many = job.lengths[s] - i < kDeep - lane ? job.lengths[s] - i : kDeep - lane;
      *piece++ = {job.offsets[s] + i - lane, static_cast<__mmask32>(((1ull << many) - 1ull) << lane)};
      scratch.ends[k] = static_cast<int>(piece - scratch.pieces);
      scratch.offsets[k] = job.offsets[s] + i;
    }
  }
  const Configuration configuration;
  _tile_loadconfig(&configuration);
  Pending pending(job, scratch, pixels, out);
  for (int i = 0; i < count;) {
    if (!divides) {
      pending.add_alone(i++);
      continue;
    }
    Tile& tile = pending.next();
    tile.from = pixels[i], tile.step = job.step, tile.offsets = scratch.offsets;
    // Pixels are listed as they lie in memory: of which the sixteenth is where it is without a gap, there is no gap before.
    if (i + kRows <= count && pixels[i + kRows - 1] - pixels[i] == (kRows - 1) * job.step) {
      tile.count = kRows;
      for (int r = 0; r < kRows; ++r) tile.pixel[r] = i + r;
      pending.add();
      i += kRows;
      continue;
    }
    // Pixels of the row from this one on, among them some that nobody asked for.
    tile.count = 1, tile.pixel[0] = i;
    int taken = 1;
    for (; i + taken < count; ++taken) {
      const std::ptrdiff_t distance = pixels[i + taken] - pixels[i];
      std::ptrdiff_t row = tile.count;
      if (distance != row * job.step) {
        if (distance < 0 || distance >= kRows * job.step || distance % job.step) break;
        row = distance / job.step;
      }
      if (row < tile.count || row >= kRows) break;
      for (; tile.count < row; ++tile.count) tile.pixel[tile.count] = -1;
      tile.pixel[tile.count++] = i + taken;
    }
    if (taken >= kWorthInPlace) {
      pending.add();
    } else {
      for (int k = 0; k < taken; ++k) pending.add_alone(i + k);
    }
    i += taken;
  }
  pending.finish();
  _tile_release();
}

}  // namespace dedelayed::sparse
#endif
