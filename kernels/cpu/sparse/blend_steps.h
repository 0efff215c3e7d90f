// The loops of blend.h, compiled once for each instruction set: they hold no arithmetic that could be contracted, so that
// every variant has the same bits. Included inside an anonymous namespace, after the pragma and
// vector_steps.h.

inline void load(const Bf16* p, float& value) { value = widened(*p); }

inline void store(const float& value, Bf16* p) {
  const Floats alone{value};
  Bf16 rounded[kWide];
  store(alone, rounded);
  *p = rounded[0];
}

// Where a patch reads, and how its values lie between those.
template <class T>
struct Source {
  const T* from;
  std::ptrdiff_t below, beside;  // values to the next row, and to the next cell, or 0
  float up, down, left, right;
};

template <bool kRight, class T, class Value>
inline void across(const Source<T>& s, const T* p, Value& value) {
  load(p, value);
  if constexpr (kRight) {
    Value beside;
    load(p + s.beside, beside);
    value = s.left * value + s.right * beside;
  }
}

// One vector of each row of a patch, from `first` on: use(row, first, value).
template <class Value, bool kDown, bool kRight, class T, class Use>
inline void go_down(const Source<T>& s, std::ptrdiff_t pitch, int first, int rows, Use& use) {
  const T* p = s.from + first;
  Value above, below;
  across<kRight>(s, p, above);
  for (int y = 0; y < rows; ++y) {
    if constexpr (kDown) {
      across<kRight>(s, p + s.below, below);
      const Value value = s.up * above + s.down * below;
      use(y, first, value);
      above = below;
      p += pitch;
    } else {
      use(y, first, above);
      p += pitch;
      if (y + 1 < rows) across<kRight>(s, p, above);
    }
  }
}

// kAgain: the last vector of a row may hold values that the one before it has held, so that they need not come one by one.
template <bool kAgain, bool kDown, bool kRight, class T, class Use>
inline void go_across(const Source<T>& s, std::ptrdiff_t pitch, int rows, int width, Use& use) {
  int i = 0;
  for (; i + kWide <= width; i += kWide) go_down<Floats, kDown, kRight>(s, pitch, i, rows, use);
  if (kAgain && 0 < i && i < width) return go_down<Floats, kDown, kRight>(s, pitch, width - kWide, rows, use);
  for (; i < width; ++i) go_down<float, kDown, kRight>(s, pitch, i, rows, use);
}

// Call use(row, number of the value in the row, value) for all of a patch, in vectors as far as possible.
template <bool kAgain, class T, class Use>
inline void visit(const View<const T>& from, const Patch& patch, Use use) {
  const Area& to = patch.to;
  const Source<T> s{from.at(to.top + patch.rows, to.left + patch.cols),
                    patch.below ? from.pitch : 0,
                    patch.beside ? from.channels : 0,
                    1.0f - patch.down,
                    patch.down,
                    1.0f - patch.right,
                    patch.right};
  const int rows = to.bottom - to.top, width = (to.right - to.left) * from.channels;
  if (patch.down != 0.0f) {
    if (patch.right != 0.0f) return go_across<kAgain, true, true>(s, from.pitch, rows, width, use);
    return go_across<kAgain, true, false>(s, from.pitch, rows, width, use);
  }
  if (patch.right != 0.0f) return go_across<kAgain, false, true>(s, from.pitch, rows, width, use);
  go_across<kAgain, false, false>(s, from.pitch, rows, width, use);
}

template <class T>
inline void follow(const View<const T>& from, const Patch* patches, std::size_t count, const View<T>& to) {
  for (std::size_t k = 0; k < count; ++k) {
    T* out = to.at(patches[k].to.top, patches[k].to.left);
    visit<true>(from, patches[k], [&](int y, int i, const auto& value) { store(value, out + y * to.pitch + i); });
  }
}
