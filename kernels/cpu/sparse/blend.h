// Rows of feature maps between four others, and how far apart two rows are: what following motion is made of.
#pragma once

namespace dedelayed::sparse {

// out[i] between top[i], top_right[i], bottom[i] and bottom_right[i]; `right` and `down` are 0 to 1.
using Blend = void (*)(const float* top, const float* top_right, const float* bottom, const float* bottom_right,
                       float right, float down, int count, float* out);
void blend_portable(const float*, const float*, const float*, const float*, float, float, int, float*);
void blend_avx2(const float*, const float*, const float*, const float*, float, float, int, float*);

// Sum of |a[i] - b[i]|.
using Distance = float (*)(const float* a, const float* b, int count);
float distance_portable(const float*, const float*, int);
float distance_avx2(const float*, const float*, int);

struct BlendKernels {
  Blend blend;
  Distance distance;
};
BlendKernels blend_variant(int instruction_set);

}  // namespace dedelayed::sparse
