// The convolution, written once over a `Vector` that the including file defines for its instruction set:
//   Floats, kWide (floats in it), kSums (vectors of sums that registers hold beside what they are made of), kAbreast (of
//   one pixel, that are computed together: fewer of them leave registers for more pixels),
//   load, store, set, multiply_add(a, b, sum).
// It is included inside an anonymous namespace, after the pragma that chooses the instruction set.

constexpr int kMostPixels = 12;  // that are computed together: each needs a register for its address

// The first `count` of fewer than 2 · kPart floats, in parts that halve.
template <int kPart>
inline void store_some(const float* from, int count, float* to) {
  const int skip = count & kPart;
  if (skip) __builtin_memcpy(to, from, sizeof(float) * kPart);
  if constexpr (kPart > 1) store_some<kPart / 2>(from + skip, count, to + skip);
}

// A block's first `channels` channels, kVectors of them, of kPixels pixels.
template <class Vector, int kPixels, int kBlocks, int kVectors>
inline void convolve_tile(const ConvJob& job, const float* weight, const float* bias, const float* const* pixels,
                          float* const* out, int channels) {
  using Floats = typename Vector::Floats;
  Floats sum[kPixels][kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const Floats start = Vector::load(bias + v * Vector::kWide);
    for (int p = 0; p < kPixels; ++p) sum[p][v] = start;
  }
  // There is a segment, and something in each: said so, the compiler leaves the sums in registers all along.
  int s = 0;
  do {
    const float* in[kPixels];
    for (int p = 0; p < kPixels; ++p) in[p] = pixels[p] + job.offsets[s];
    const int length = job.lengths[s];
    int i = 0;
    do {
      Floats w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = Vector::load(weight + v * Vector::kWide);
      for (int p = 0; p < kPixels; ++p) {
        const Floats x = Vector::set(in[p][i]);
        for (int v = 0; v < kVectors; ++v) sum[p][v] = Vector::multiply_add(x, w[v], sum[p][v]);
      }
      weight += kBlocks * kLanes;
    } while (++i < length);
  } while (++s < job.segments);
  constexpr int kWhole = kVectors - 1;
  const int left = channels - kWhole * Vector::kWide;
  for (int p = 0; p < kPixels; ++p) {
    float* to = out[p];
    for (int v = 0; v < kWhole; ++v, to += Vector::kWide) Vector::store(to, sum[p][v]);
    if (left == Vector::kWide) {
      Vector::store(to, sum[p][kWhole]);
    } else {
      float last[Vector::kWide];
      Vector::store(last, sum[p][kWhole]);
      store_some<Vector::kWide / 2>(last, left, to);
    }
  }
}

// kPixels of a block's pixels or, for what is left of them at the end, just as many.
template <class Vector, int kPixels, int kBlocks, int kVectors>
inline void convolve_some(const ConvJob& job, const float* weight, int first, const float* const* pixels, int done,
                          int count, float* out, int channels) {
  if constexpr (kPixels > 1) {
    if (count < kPixels) {
      return convolve_some<Vector, kPixels - 1, kBlocks, kVectors>(job, weight, first, pixels, done, count, out, channels);
    }
  }
  float* to[kPixels];
  for (int p = 0; p < kPixels; ++p) {
    const std::int64_t place = job.places ? job.places[done + p] : done + p;
    to[p] = out + place * job.channels + first;
  }
  convolve_tile<Vector, kPixels, kBlocks, kVectors>(job, weight, job.bias + first, pixels + done, to, channels);
}

// All pixels for one block: as many together as registers hold. Each time all of the block's weights are read, so what
// is left is taken at once or, where that is little, shared with the time before.
template <class Vector, int kPixels, int kBlocks, int kVectors>
inline void convolve_all(const ConvJob& job, const float* weight, int first, const float* const* pixels, int count,
                         float* out, int channels) {
  for (int done = 0, take; done < count; done += take) {
    const int left = count - done;
    take = left >= 2 * kPixels || left <= kPixels ? (left < kPixels ? left : kPixels) : (left + 1) / 2;
    convolve_some<Vector, kPixels, kBlocks, kVectors>(job, weight, first, pixels, done, take, out, channels);
  }
}

// One block: of its vectors only those that hold channels, and not more at a time than go abreast.
template <class Vector, int kBlocks, int kVectors>
inline void convolve_block(const ConvJob& job, const float* weight, int first, const float* const* pixels, int count,
                           float* out, int channels) {
  if constexpr (kVectors > 1) {
    if (channels <= (kVectors - 1) * Vector::kWide) {
      return convolve_block<Vector, kBlocks, kVectors - 1>(job, weight, first, pixels, count, out, channels);
    }
  }
  if constexpr (kVectors > Vector::kAbreast) {
    constexpr int kHalf = (kVectors + 1) / 2, kLanesOfHalf = kHalf * Vector::kWide;
    convolve_block<Vector, kBlocks, kHalf>(job, weight, first, pixels, count, out, kLanesOfHalf);
    return convolve_block<Vector, kBlocks, kVectors - kHalf>(job, weight + kLanesOfHalf, first + kLanesOfHalf, pixels, count,
                                                             out, channels - kLanesOfHalf);
  }
  constexpr int kFit = Vector::kSums / kVectors;
  constexpr int kPixels = kFit < kMostPixels ? kFit : kMostPixels;
  convolve_all<Vector, kPixels, kBlocks, kVectors>(job, weight, first, pixels, count, out, channels);
}

template <class Vector>
inline void convolve(const ConvJob& job, const float* const* pixels, int count, float* out) {
  constexpr int kVectors = kLanes / Vector::kWide;
  const int lanes = (job.channels + kLanes - 1) / kLanes;
  const float* weight = job.weight;
  for (int lane = 0; lane < lanes;) {
    const int first = lane * kLanes, blocks = block_width(lanes - lane);
    const int left = job.channels - first, channels = left < blocks * kLanes ? left : blocks * kLanes;
    if (blocks == 2) {
      convolve_block<Vector, 2, 2 * kVectors>(job, weight, first, pixels, count, out, channels);
    } else {
      convolve_block<Vector, 1, kVectors>(job, weight, first, pixels, count, out, channels);
    }
    weight += static_cast<std::int64_t>(job.depth) * blocks * kLanes;
    lane += blocks;
  }
}
