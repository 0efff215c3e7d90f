// How far patches are apart, over blend_steps.h and vectors of eight: in eight sums, whatever the variant.

template <class T>
inline float unexplained(const View<const T>& from, const Patch& patch, const View<const T>& now) {
  const T* fresh = now.at(patch.to.top, patch.to.left);
  Floats sums = {};
  float rest = 0.0f;
  visit<false>(from, patch, [&](int y, int i, const auto& value) {
    auto left = value;
    load(fresh + y * now.pitch + i, left);
    left -= value;
    if constexpr (sizeof left == sizeof sums) {
      sums += left < 0 ? -left : left;
    } else {
      rest += __builtin_fabsf(left);
    }
  });
  float sum[kWide];
  __builtin_memcpy(sum, &sums, sizeof sum);
  return (((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]))) + rest;
}
