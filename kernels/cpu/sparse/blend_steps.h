// The loops of blend.h, compiled once for each instruction set: they hold no arithmetic that could be contracted, so that
// every variant has the same bits. Included inside an anonymous namespace, after the pragma.

inline void blend_row(const float* top, const float* top_right, const float* bottom, const float* bottom_right,
                      float right, float down, int count, float* out) {
  const float left = 1.0f - right, up = 1.0f - down;
  for (int i = 0; i < count; ++i) {
    const float above = left * top[i] + right * top_right[i];
    const float below = left * bottom[i] + right * bottom_right[i];
    out[i] = up * above + down * below;
  }
}

inline float distance_of(const float* a, const float* b, int count) {
  constexpr int kTogether = 8;
  float sums[kTogether] = {};
  int i = 0;
  for (; i + kTogether <= count; i += kTogether) {
    for (int k = 0; k < kTogether; ++k) sums[k] += __builtin_fabsf(a[i + k] - b[i + k]);
  }
  for (; i < count; ++i) sums[0] += __builtin_fabsf(a[i] - b[i]);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}
