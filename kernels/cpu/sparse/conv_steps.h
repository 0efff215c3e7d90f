// The convolution, written once over a `Vector` that the including file defines for its instruction set:
//   Floats, kWide (floats in it), kSums (vectors of sums that registers hold beside what they are made of), kBlock (channels
//   that are computed together: fewer of them leave registers for more pixels),
//   load, store, set, multiply_add(a, b, sum), minimum and maximum(a, b): b where either is not a number,
//   kPairs: whether weights are pairs of bfloat16, and then spread_pair and spread_one of a pixel's values.
// It is included inside an anonymous namespace, after the pragma that chooses the instruction set. T is the maps' format.

#include "vector_steps.h"

constexpr int kMostPixels = 12;  // that are computed together: each needs a register for its address

// The first `count` of fewer than 2 · kPart values, in parts that halve.
template <int kPart, class T>
inline void store_some(const T* from, int count, T* to) {
  const int skip = count & kPart;
  if (skip) __builtin_memcpy(to, from, sizeof(T) * kPart);
  if constexpr (kPart > 1) store_some<kPart / 2>(from + skip, count, to + skip);
}

// A vector of results, or as many of them as are left.
template <class Vector>
inline void keep(typename Vector::Floats sums, int left, float* to) {
  if (left >= Vector::kWide) return Vector::store(to, sums);
  float last[Vector::kWide];
  Vector::store(last, sums);
  store_some<Vector::kWide / 2>(last, left, to);
}
template <class Vector>
inline void keep(typename Vector::Floats sums, int left, Bf16* to) {
  Floats value;
  static_assert(sizeof value == sizeof sums);
  __builtin_memcpy(&value, &sums, sizeof value);
  Bf16 rounded[Vector::kWide];
  store(value, rounded);
  if (left >= Vector::kWide) {
    __builtin_memcpy(to, rounded, sizeof rounded);
  } else {
    store_some<Vector::kWide / 2>(rounded, left, to);
  }
}

// A block's `channels` channels from `first` on, of kVectors vectors, for kPixels pixels from `done` on.
template <class Vector, int kPixels, int kVectors, class T>
inline void convolve_tile(const ConvJob& job, const float* weight, int first, int channels, const T* const* pixels,
                          int done, T* out) {
  using Floats = typename Vector::Floats;
  T* to[kPixels];
  for (int p = 0; p < kPixels; ++p) {
    const std::int64_t place = job.places ? job.places[done + p] : done + p;
    to[p] = out + place * job.pitch + first;
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
    const T* in[kPixels];
    for (int p = 0; p < kPixels; ++p) in[p] = pixels[done + p] + job.offsets[s];
    const int length = job.lengths[s];
    const auto multiply = [&](auto spread) {
      Floats w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = Vector::load(weight + v * Vector::kWide);
      for (int p = 0; p < kPixels; ++p) {
        const Floats x = spread(in[p]);
        for (int v = 0; v < kVectors; ++v) sum[p][v] = Vector::multiply_add(x, w[v], sum[p][v]);
      }
      weight += kVectors * Vector::kWide;
    };
    int i = 0;
    if constexpr (Vector::kPairs) {
      for (; i + 1 < length; i += 2) multiply([i](const T* pixel) { return Vector::spread_pair(pixel + i); });
      if (i < length) multiply([i](const T* pixel) { return Vector::spread_one(pixel + i); });
    } else {
      do multiply([i](const T* pixel) { return Vector::set(widened(pixel[i])); });
      while (++i < length);
    }
  } while (++s < job.segments);
  const Floats low = Vector::set(job.low), high = Vector::set(job.high);
  for (int p = 0; p < kPixels; ++p) {
    for (int v = 0; v < kVectors; ++v) {
      const int left = channels - v * Vector::kWide;
      keep<Vector>(Vector::minimum(high, Vector::maximum(low, sum[p][v])), left, to[p] + v * Vector::kWide);
    }
  }
}

// As many pixels of a block as are left, up to kPixels.
template <class Vector, int kPixels, int kVectors, class T>
inline void convolve_some(const ConvJob& job, const float* weight, int first, int channels, const T* const* pixels,
                          int done, int count, T* out) {
  if constexpr (kPixels > 1) {
    if (count < kPixels) {
      return convolve_some<Vector, kPixels - 1, kVectors>(job, weight, first, channels, pixels, done, count, out);
    }
  }
  convolve_tile<Vector, kPixels, kVectors>(job, weight, first, channels, pixels, done, out);
}

// Vectors of weights one after the other, for each of a block.
template <class Vector>
inline int steps_of(const ConvJob& job) {
  if constexpr (!Vector::kPairs) return job.depth;
  int steps = 0;
  for (int s = 0; s < job.segments; ++s) steps += (job.lengths[s] + 1) / 2;
  return steps;
}

// A block of kVectors vectors or, where it has fewer channels, of as many as hold those, for all pixels: as many together as
// registers hold. Each time all of the block's weights are read, so what is left of them is taken at once or, where that is
// little, shared with the time before. Returns where the next block's weights are.
template <class Vector, int kVectors, class T>
inline const float* convolve_block(const ConvJob& job, const float* weight, int first, int channels,
                                   const T* const* pixels, int count, T* out) {
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
  return weight + static_cast<std::ptrdiff_t>(steps_of<Vector>(job)) * kVectors * Vector::kWide;
}

template <class Vector, class T>
inline void convolve(const ConvJob& job, const T* const* pixels, int count, T* out) {
  constexpr int kVectors = Vector::kBlock / Vector::kWide;
  const float* weight = job.weight;
  for (int first = 0; first < job.channels; first += Vector::kBlock) {
    const int left = job.channels - first, channels = left < Vector::kBlock ? left : Vector::kBlock;
    weight = convolve_block<Vector, kVectors>(job, weight, first, channels, pixels, count, out);
  }
}
