// The convolution, written once over a `Vector` that the including file defines for its instruction set:
//   Floats, kWide (floats in it), kSums (vectors of sums that registers hold beside what they are made of), kBlock (channels
//   that are computed together: fewer of them leave registers for more pixels),
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

// A block's `channels` channels from `first` on, of kVectors vectors, for kPixels pixels from `done` on.
template <class Vector, int kPixels, int kVectors>
inline void convolve_tile(const ConvJob& job, const float* weight, int first, int channels, const float* const* pixels,
                          int done, float* out) {
  using Floats = typename Vector::Floats;
  float* to[kPixels];
  for (int p = 0; p < kPixels; ++p) {
    const std::int64_t place = job.places ? job.places[done + p] : done + p;
    to[p] = out + place * job.channels + first;
    __builtin_prefetch(to[p], 1);
  }
  Floats sum[kPixels][kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const Floats start = Vector::load(job.bias + first + v * Vector::kWide);
    for (int p = 0; p < kPixels; ++p) sum[p][v] = start;
  }
  // There is a segment, and something in each: said so, the compiler leaves the sums in registers all along.
  int s = 0;
  do {
    const float* in[kPixels];
    for (int p = 0; p < kPixels; ++p) in[p] = pixels[done + p] + job.offsets[s];
    const int length = job.lengths[s];
    int i = 0;
    do {
      Floats w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = Vector::load(weight + v * Vector::kWide);
      for (int p = 0; p < kPixels; ++p) {
        const Floats x = Vector::set(in[p][i]);
        for (int v = 0; v < kVectors; ++v) sum[p][v] = Vector::multiply_add(x, w[v], sum[p][v]);
      }
      weight += kVectors * Vector::kWide;
    } while (++i < length);
  } while (++s < job.segments);
  constexpr int kWhole = (kVectors - 1) * Vector::kWide;
  const int left = channels - kWhole;
  for (int p = 0; p < kPixels; ++p) {
    for (int v = 0; v < kVectors - 1; ++v) Vector::store(to[p] + v * Vector::kWide, sum[p][v]);
    if (left == Vector::kWide) {
      Vector::store(to[p] + kWhole, sum[p][kVectors - 1]);
    } else {
      float last[Vector::kWide];
      Vector::store(last, sum[p][kVectors - 1]);
      store_some<Vector::kWide / 2>(last, left, to[p] + kWhole);
    }
  }
}

// As many pixels of a block as are left, up to kPixels.
template <class Vector, int kPixels, int kVectors>
inline void convolve_some(const ConvJob& job, const float* weight, int first, int channels, const float* const* pixels,
                          int done, int count, float* out) {
  if constexpr (kPixels > 1) {
    if (count < kPixels) {
      return convolve_some<Vector, kPixels - 1, kVectors>(job, weight, first, channels, pixels, done, count, out);
    }
  }
  convolve_tile<Vector, kPixels, kVectors>(job, weight, first, channels, pixels, done, out);
}

// A block of kVectors vectors or, where it has fewer channels, of as many as hold those, for all pixels: as many together as
// registers hold. Each time all of the block's weights are read, so what is left of them is taken at once or, where that is
// little, shared with the time before. Returns where the next block's weights are.
template <class Vector, int kVectors>
inline const float* convolve_block(const ConvJob& job, const float* weight, int first, int channels,
                                   const float* const* pixels, int count, float* out) {
  if constexpr (kVectors > 1) {
    if (channels <= (kVectors - 1) * Vector::kWide) {
      return convolve_block<Vector, kVectors - 1>(job, weight, first, channels, pixels, count, out);
    }
  }
  constexpr int kFit = Vector::kSums / kVectors;
  constexpr int kPixels = kFit < kMostPixels ? kFit : kMostPixels;
  for (int done = 0, take; done < count; done += take) {
    const int left = count - done;
    take = left >= 2 * kPixels || left <= kPixels ? (left < kPixels ? left : kPixels) : (left + 1) / 2;
    convolve_some<Vector, kPixels, kVectors>(job, weight, first, channels, pixels, done, take, out);
  }
  return weight + static_cast<std::ptrdiff_t>(job.depth) * kVectors * Vector::kWide;
}

template <class Vector>
inline void convolve(const ConvJob& job, const float* const* pixels, int count, float* out) {
  constexpr int kVectors = Vector::kBlock / Vector::kWide;
  const float* weight = job.weight;
  for (int first = 0; first < job.channels; first += Vector::kBlock) {
    const int left = job.channels - first, channels = left < Vector::kBlock ? left : Vector::kBlock;
    weight = convolve_block<Vector, kVectors>(job, weight, first, channels, pixels, count, out);
  }
}
