// The convolution, written once over a `Vector` that the including file defines for its instruction set:
//   Floats, kWide (floats in it), kPixels (pixels that are computed together with two blocks of kLanes),
//   load, store, set, multiply_add(a, b, sum).
// It is included inside an anonymous namespace, after the pragma that chooses the instruction set.

// One block of kBlocks · kLanes channels of kPixels pixels.
template <class Vector, int kPixels, int kBlocks>
inline void convolve_tile(const ConvJob& job, const float* weight, const float* bias, const float* const* pixels,
                          float* const* out, int channels) {
  constexpr int kVectors = kBlocks * kLanes / Vector::kWide;
  using Floats = typename Vector::Floats;
  Floats sum[kPixels][kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const Floats start = Vector::load(bias + v * Vector::kWide);
    for (int p = 0; p < kPixels; ++p) sum[p][v] = start;
  }
  for (int s = 0; s < job.segments; ++s) {
    const float* in[kPixels];
    for (int p = 0; p < kPixels; ++p) in[p] = pixels[p] + job.offsets[s];
    const int length = job.lengths[s];
    for (int i = 0; i < length; ++i, weight += kBlocks * kLanes) {
      Floats w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = Vector::load(weight + v * Vector::kWide);
      for (int p = 0; p < kPixels; ++p) {
        const Floats x = Vector::set(in[p][i]);
        for (int v = 0; v < kVectors; ++v) sum[p][v] = Vector::multiply_add(x, w[v], sum[p][v]);
      }
    }
  }
  for (int p = 0; p < kPixels; ++p) {
    if (channels == kBlocks * kLanes) {
      for (int v = 0; v < kVectors; ++v) Vector::store(out[p] + v * Vector::kWide, sum[p][v]);
    } else {
      float whole[kBlocks * kLanes];
      for (int v = 0; v < kVectors; ++v) Vector::store(whole + v * Vector::kWide, sum[p][v]);
      __builtin_memcpy(out[p], whole, sizeof(float) * static_cast<unsigned>(channels));
    }
  }
}

// All pixels for one block: as many together as registers hold, then the rest in halves.
template <class Vector, int kPixels, int kBlocks>
inline int convolve_some(const ConvJob& job, const float* weight, int first, const float* const* pixels, int done,
                         int count, float* out, int channels) {
  for (; count - done >= kPixels; done += kPixels) {
    float* to[kPixels];
    for (int p = 0; p < kPixels; ++p) to[p] = out + static_cast<std::int64_t>(done + p) * job.channels + first;
    convolve_tile<Vector, kPixels, kBlocks>(job, weight, job.bias + first, pixels + done, to, channels);
  }
  if constexpr (kPixels > 1) {
    return convolve_some<Vector, (kPixels > 8 ? 8 : kPixels > 4 ? 4 : kPixels > 2 ? 2 : 1), kBlocks>(
        job, weight, first, pixels, done, count, out, channels);
  }
  return done;
}

template <class Vector>
inline void convolve(const ConvJob& job, const float* const* pixels, int count, float* out) {
  const int lanes = (job.channels + kLanes - 1) / kLanes;
  const float* weight = job.weight;
  for (int lane = 0; lane < lanes;) {
    const int first = lane * kLanes, blocks = block_width(lanes - lane);
    const int left = job.channels - first, channels = left < blocks * kLanes ? left : blocks * kLanes;
    if (blocks == 2) {
      convolve_some<Vector, Vector::kPixels, 2>(job, weight, first, pixels, 0, count, out, channels);
    } else {
      convolve_some<Vector, Vector::kPixels, 1>(job, weight, first, pixels, 0, count, out, channels);
    }
    weight += static_cast<std::int64_t>(job.depth) * blocks * kLanes;
    lane += blocks;
  }
}
