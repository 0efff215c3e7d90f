// The loops of blend.h, compiled once for each instruction set: they hold no arithmetic that could be contracted, and add up
// in the same order, so that every variant has the same bits. Included inside an anonymous namespace, after the pragma.

constexpr int kWide = 8;
typedef float Floats __attribute__((vector_size(sizeof(float) * kWide)));  // two registers where they hold four floats

// By reference: how a wide vector is returned depends on the instruction set.
template <class T>
inline void load(const float* p, T& value) {
  __builtin_memcpy(&value, p, sizeof value);
}

// Where a patch reads, and how its values lie between those.
struct Source {
  const float* from;
  std::ptrdiff_t below, beside;  // floats to the next row, and to the next cell, or 0
  float up, down, left, right;
};

template <class T, bool kRight>
inline void across(const Source& s, const float* p, T& value) {
  load(p, value);
  if constexpr (kRight) {
    T beside;
    load(p + s.beside, beside);
    value = s.left * value + s.right * beside;
  }
}

// One vector of each row of a patch, from `first` on: use(row, first, value).
template <class T, bool kDown, bool kRight, class Use>
inline void go_down(const Source& s, std::ptrdiff_t pitch, int first, int rows, Use& use) {
  const float* p = s.from + first;
  T above, below;
  across<T, kRight>(s, p, above);
  for (int y = 0; y < rows; ++y) {
    if constexpr (kDown) {
      across<T, kRight>(s, p + s.below, below);
      const T value = s.up * above + s.down * below;
      use(y, first, value);
      above = below;
      p += pitch;
    } else {
      use(y, first, above);
      p += pitch;
      if (y + 1 < rows) across<T, kRight>(s, p, above);
    }
  }
}

template <bool kDown, bool kRight, class Use>
inline void go_across(const Source& s, std::ptrdiff_t pitch, int rows, int floats, Use& use) {
  int i = 0;
  for (; i + kWide <= floats; i += kWide) go_down<Floats, kDown, kRight>(s, pitch, i, rows, use);
  for (; i < floats; ++i) go_down<float, kDown, kRight>(s, pitch, i, rows, use);
}

// Call use(row, float in the row, value) for all of a patch.
template <class Use>
inline void visit(const View<const float>& from, const Patch& patch, Use use) {
  const Area& to = patch.to;
  const Source s{from.at(to.top + patch.rows, to.left + patch.cols),
                 patch.below ? from.pitch : 0,
                 patch.beside ? from.channels : 0,
                 1.0f - patch.down,
                 patch.down,
                 1.0f - patch.right,
                 patch.right};
  const int rows = to.bottom - to.top, floats = (to.right - to.left) * from.channels;
  if (patch.down != 0.0f) {
    if (patch.right != 0.0f) return go_across<true, true>(s, from.pitch, rows, floats, use);
    return go_across<true, false>(s, from.pitch, rows, floats, use);
  }
  if (patch.right != 0.0f) return go_across<false, true>(s, from.pitch, rows, floats, use);
  go_across<false, false>(s, from.pitch, rows, floats, use);
}

inline void follow(const View<const float>& from, const Patch* patches, std::size_t count, const View<float>& to) {
  for (std::size_t k = 0; k < count; ++k) {
    float* out = to.at(patches[k].to.top, patches[k].to.left);
    visit(from, patches[k], [&](int y, int i, const auto& value) {
      __builtin_memcpy(out + y * to.pitch + i, &value, sizeof value);
    });
  }
}

inline float unexplained(const View<const float>& from, const Patch& patch, const View<const float>& now) {
  const float* fresh = now.at(patch.to.top, patch.to.left);
  Floats sums = {};
  float rest = 0.0f;
  visit(from, patch, [&](int y, int i, const auto& value) {
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
