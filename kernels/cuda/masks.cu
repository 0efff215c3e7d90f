// From logits to what a robot uses, in one pass: up-sampling, class, confidence, colours and overlay.
// dedelayed_ros/masks/reference.py is the specification.
#include "device.h"

constexpr int kUnlabelled = 255;

// Where a sample of an axis lies between two of its inputs. Rounded step by step, as the specification is.
struct Between {
  int low, high;
  float fraction;
};

__device__ inline Between between(int sample, int length, int wanted) {
  const float scale = static_cast<float>(length) / static_cast<float>(wanted);
  float at = __fadd_rn(__fmul_rn(scale, static_cast<float>(sample) + 0.5f), -0.5f);
  at = at > 0.0f ? at : 0.0f;
  int low = static_cast<int>(at);
  low = low < length - 1 ? low : length - 1;
  const float fraction = at - static_cast<float>(low);
  return {low, low + 1 < length ? low + 1 : length - 1, fraction < 1.0f ? fraction : 1.0f};
}

__device__ inline float mixed(float a, float b, float fraction) {
  return __fadd_rn(a, __fmul_rn(__fadd_rn(b, -a), fraction));
}

// logits at class · plane + row · pitch + column · step.
struct Logits {
  const float* values;
  int plane, pitch, step;
  Between row, col;

  __device__ float at(int c, int y, int x) const {
    return values[static_cast<long long>(c) * plane + static_cast<long long>(y) * pitch + static_cast<long long>(x) * step];
  }
  __device__ float of(int c) const {
    const float left = mixed(at(c, row.low, col.low), at(c, row.high, col.low), row.fraction);
    const float right = mixed(at(c, row.low, col.high), at(c, row.high, col.high), row.fraction);
    return mixed(left, right, col.fraction);
  }
};

__device__ inline unsigned char blended(unsigned char image, unsigned char colour, unsigned weight) {
  return static_cast<unsigned char>((image * (256u - weight) + colour * weight + 128u) >> 8);
}

// logits float [classes, in_height, in_width] of any strides → mask and confidence [height, width]; where they are asked
// for, colours [height, width, 3] by a palette [256, 3], and an image mixed with `weight` / 256 of them.
extern "C" __global__ void __launch_bounds__(kThreads, kBlocks)
    render(const float* logits, int classes, int plane, int pitch, int step, int in_height, int in_width, int height,
           int width, unsigned char* mask, unsigned char* confidence, const unsigned char* palette, unsigned char* colours,
           const unsigned char* image, unsigned char* overlay, unsigned weight) {
  const int pixels = height * width;
  for (int p = blockIdx.x * kThreads + threadIdx.x; p < pixels; p += gridDim.x * kThreads) {
    const Logits source{logits, plane, pitch, step, between(p / width, in_height, height), between(p % width, in_width, width)};
    float best = -infinity();
    int winner = 0;
    bool usable = true;
    for (int c = 0; c < classes; ++c) {
      const float value = source.of(c);
      usable = usable && fabsf(value) < infinity();
      if (value > best) best = value, winner = c;  // a tie stays with the lower class
    }
    float sum = 0.0f;
    for (int c = 0; c < classes; ++c) sum += expf(source.of(c) - best);
    const int shown = usable ? winner : kUnlabelled;
    mask[p] = static_cast<unsigned char>(shown);
    confidence[p] = usable ? static_cast<unsigned char>(255.0f / sum + 0.5f) : 0;
    for (int k = 0; k < 3; ++k) {
      const long long at = 3LL * p + k;
      if (colours) colours[at] = palette[3 * shown + k];
      if (overlay) overlay[at] = blended(image[at], palette[3 * shown + k], shown == kUnlabelled ? 0 : weight);
    }
  }
}
CU_KERNEL(render, kThreads)

// The same for a mask that is there already. colours [pixels, 3] or null; overlay [pixels, 3] or null.
extern "C" __global__ void __launch_bounds__(kThreads, kBlocks)
    paint(const unsigned char* mask, int pixels, const unsigned char* palette, unsigned char* colours,
          const unsigned char* image, unsigned char* overlay, unsigned weight) {
  for (int p = blockIdx.x * kThreads + threadIdx.x; p < pixels; p += gridDim.x * kThreads) {
    const int shown = mask[p];
    for (int k = 0; k < 3; ++k) {
      const long long at = 3LL * p + k;
      if (colours) colours[at] = palette[3 * shown + k];
      if (overlay) overlay[at] = blended(image[at], palette[3 * shown + k], shown == kUnlabelled ? 0 : weight);
    }
  }
}
CU_KERNEL(paint, kThreads)
