// The loops of runs.h. The including file has included vector_steps.h, and says by any(Words) whether any bit is set and by
// interleave(Floats[3]) how the elements of three rows become cells. Included inside an anonymous namespace, after the pragma
// that chooses the instruction set.

typedef std::uint8_t Bytes __attribute__((vector_size(kWide)));
typedef std::uint16_t Pairs __attribute__((vector_size(4 * kWide)));

template <class T>
inline void weave(const float* const rows[3], std::ptrdiff_t count, T* to) {
  for (std::ptrdiff_t k = 0; k < count; k += kWide, to += 3 * kWide) {
    const std::ptrdiff_t left = count - k;
    Floats cells[3]{};
    for (int r = 0; r < 3; ++r) {
      if (left >= kWide) {
        load(rows[r] + k, cells[r]);
      } else {
        __builtin_memcpy(&cells[r], rows[r] + k, sizeof(float) * static_cast<std::size_t>(left));
      }
    }
    interleave(cells);
    T last[3 * kWide];
    T* const woven = left >= kWide ? to : last;
    for (int r = 0; r < 3; ++r) store(cells[r], woven + r * kWide);
    if (left < kWide) __builtin_memcpy(to, last, 3 * sizeof(T) * static_cast<std::size_t>(left));
  }
}

template <class T>
inline void widen(const T* from, std::ptrdiff_t count, float* to) {
  for (std::ptrdiff_t k = 0; k < count; ++k) to[k] = widened(from[k]);
}

// All bits of a float, where it is further away than the threshold, or one of the two is not a number.
template <class T>
inline Words unlike(const T* fresh, const T* cached, float threshold) {
  Floats a, b;
  load(fresh, a), load(cached, b);
  if (threshold == 0.0f) return static_cast<Words>(~(a == b));
  const Floats distance = a - b;
  return static_cast<Words>(~((distance <= threshold) & (-distance <= threshold)));
}
inline bool is_unlike(float fresh, float cached, float threshold) {
  return threshold == 0.0f ? !(fresh == cached) : !(__builtin_fabsf(fresh - cached) <= threshold);
}

// The same with a threshold of 0, from the bits of twice as many values: zeros of either sign are alike.
inline Words unlike_at_all(const Bf16* fresh, const Bf16* cached) {
  Pairs a, b;
  __builtin_memcpy(&a, fresh, sizeof a), __builtin_memcpy(&b, cached, sizeof b);
  const Pairs differ = static_cast<Pairs>(a != b) & static_cast<Pairs>(static_cast<Pairs>((a | b) << 1) != 0);
  const Pairs found = differ | static_cast<Pairs>((a & 0x7fffu) > 0x7f80u);
  Words words;
  __builtin_memcpy(&words, &found, sizeof words);
  return words;
}

// Whether any of so many values is, a multiple of 2 * kWide.
template <class T>
inline bool any_unlike(const T* fresh, const T* cached, int values, float threshold) {
  Words all{};
  if constexpr (std::is_same_v<T, Bf16>) {
    if (threshold == 0.0f) {
      for (int k = 0; k < values; k += 2 * kWide) all |= unlike_at_all(fresh + k, cached + k);
      return any(all);
    }
  }
  for (int k = 0; k < values; k += kWide) all |= unlike(fresh + k, cached + k, threshold);
  return any(all);
}

// A picture: values first, then the three of each cell. Most of it is as it was.
template <class T>
inline void differ_in_threes(const T* fresh, const T* cached, int cells, float threshold, std::uint8_t* on) {
  constexpr int kCells = 4 * kWide, kValues = 3 * kCells;
  int done = 0;
  for (; done + kCells <= cells; done += kCells, fresh += kValues, cached += kValues) {
    if (!any_unlike(fresh, cached, kValues, threshold)) {
      __builtin_memset(on + done, 0, kCells);
      continue;
    }
    std::uint8_t found[kValues];
    for (int k = 0; k < kValues; k += kWide) {
      const Bytes bytes = __builtin_convertvector(unlike(fresh + k, cached + k, threshold) & 1u, Bytes);
      __builtin_memcpy(found + k, &bytes, sizeof bytes);
    }
    for (int k = 0; k < kCells; ++k) on[done + k] = found[3 * k] | found[3 * k + 1] | found[3 * k + 2];
  }
  for (; done < cells; ++done, fresh += 3, cached += 3) {
    const auto differs = [&](int c) { return is_unlike(widened(fresh[c]), widened(cached[c]), threshold); };
    on[done] = differs(0) | differs(1) | differs(2);
  }
}

template <class T>
inline void differ(const T* fresh, const T* cached, int channels, int cells, float threshold, std::uint8_t* on) {
  if (channels == 3) return differ_in_threes(fresh, cached, cells, threshold, on);
  for (int x = 0; x < cells; ++x, fresh += channels, cached += channels) {
    Words words{};
    int k = 0;
    if constexpr (std::is_same_v<T, Bf16>) {
      if (threshold == 0.0f) {
        for (; k + 2 * kWide <= channels; k += 2 * kWide) words |= unlike_at_all(fresh + k, cached + k);
      }
    }
    for (; k + kWide <= channels; k += kWide) words |= unlike(fresh + k, cached + k, threshold);
    if (k < channels && channels >= kWide) {  // the rest, and some before it again
      words |= unlike(fresh + channels - kWide, cached + channels - kWide, threshold);
      k = channels;
    }
    bool found = any(words);
    for (; k < channels; ++k) found |= is_unlike(widened(fresh[k]), widened(cached[k]), threshold);
    on[x] = found;
  }
}

template <class T>
inline void add(const T* a, const T* b, float alpha, std::ptrdiff_t count, float* to) {
  for (std::ptrdiff_t k = 0; k < count; ++k) to[k] = widened(a[k]) + alpha * widened(b[k]);
}

template <class T>
inline void mix(const Between<T>& rows, int cells, float* to) {
  const float up = rows.up, down = rows.down;
  for (int x = 0; x < cells; ++x, to += rows.channels) {
    const std::ptrdiff_t first = static_cast<std::ptrdiff_t>(rows.columns[2 * x]) * rows.channels;
    const std::ptrdiff_t second = static_cast<std::ptrdiff_t>(rows.columns[2 * x + 1]) * rows.channels;
    const T *a = rows.upper + first, *b = rows.upper + second, *c = rows.lower + first, *d = rows.lower + second;
    const float left = rows.weights[2 * x], right = rows.weights[2 * x + 1];
    for (int k = 0; k < rows.channels; ++k) {
      const float above = 0.0f + left * widened(a[k]) + right * widened(b[k]);
      const float below = 0.0f + left * widened(c[k]) + right * widened(d[k]);
      to[k] = 0.0f + up * above + down * below;
    }
  }
}

// Clamping that lets through what is not a number.
inline float clamped(float x, float low, float high) {
  const float above = x < low ? low : x;
  return above > high ? high : above;
}

template <class F>
inline void each(float* values, std::ptrdiff_t count, F function) {
  for (std::ptrdiff_t k = 0; k < count; ++k) values[k] = function(values[k]);
}

inline void apply(const Function& f, float* values, std::ptrdiff_t count) {
  const float a = f.a, b = f.b, c = f.c;
  const auto run = [&](auto function) { each(values, count, function); };
  switch (f.unary) {
    case Unary::kClamp: return run([=](float x) { return clamped(x, a, b); });
    case Unary::kLeaky: return run([=](float x) { return x > 0 ? x : x * a; });
    case Unary::kHardswish: return run([](float x) { return x * clamped(x + 3.0f, 0.0f, 6.0f) / 6.0f; });
    case Unary::kHardsigmoid: return run([](float x) { return clamped(x + 3.0f, 0.0f, 6.0f) / 6.0f; });
    case Unary::kSigmoid: return run([](float x) { return 1.0f / (1.0f + __builtin_expf(-x)); });
    case Unary::kSilu: return run([](float x) { return x / (1.0f + __builtin_expf(-x)); });
    case Unary::kTanh: return run([](float x) { return __builtin_tanhf(x); });
    case Unary::kGelu: return run([](float x) { return 0.5f * x * (1.0f + __builtin_erff(x * 0.70710678f)); });
    case Unary::kGeluTanh:
      return run([](float x) { return 0.5f * x * (1.0f + __builtin_tanhf(0.79788456f * (x + 0.044715f * x * x * x))); });
    // alpha, scale and input scale, in torch's order of arguments.
    case Unary::kElu: return run([=](float x) { return x > 0 ? x * b : __builtin_expm1f(x * c) * a * b; });
    case Unary::kExp: return run([](float x) { return __builtin_expf(x); });
    case Unary::kLog: return run([](float x) { return __builtin_logf(x); });
    case Unary::kSqrt: return run([](float x) { return __builtin_sqrtf(x); });
    case Unary::kAbs: return run([](float x) { return __builtin_fabsf(x); });
    case Unary::kNegate: return run([](float x) { return -x; });
    case Unary::kFloor: return run([](float x) { return __builtin_floorf(x); });
    case Unary::kCeil: return run([](float x) { return __builtin_ceilf(x); });
    case Unary::kRound: return run([](float x) { return __builtin_nearbyintf(x); });
    case Unary::kAdd: return run([=](float x) { return x + a; });
    case Unary::kMultiply: return run([=](float x) { return x * a; });
    case Unary::kDivide: return run([=](float x) { return x / a; });
    case Unary::kSubtractFrom: return run([=](float x) { return a - x; });
    case Unary::kSquare: return run([](float x) { return x * x; });
  }
}

// Several functions go over as much at once as stays in the nearest cache.
constexpr std::ptrdiff_t kNear = 2048;

inline void keep(float* from, std::ptrdiff_t count, const Function* functions, std::size_t function_count, float* to) {
  if (from != to) __builtin_memcpy(to, from, sizeof(float) * static_cast<std::size_t>(count));
  for (std::ptrdiff_t done = 0; function_count && done < count; done += kNear) {
    const std::ptrdiff_t part = count - done < kNear ? count - done : kNear;
    for (std::size_t f = 0; f < function_count; ++f) apply(functions[f], to + done, part);
  }
}

inline void keep(float* from, std::ptrdiff_t count, const Function* functions, std::size_t function_count, Bf16* to) {
  // The last function, where it is a clamp as it mostly is, goes along with rounding.
  const bool clamps = function_count && functions[function_count - 1].unary == Unary::kClamp;
  const Function last = clamps ? functions[--function_count] : Function{Unary::kClamp, -__builtin_inff(), __builtin_inff(), 0};
  keep(from, count, functions, function_count, from);
  const Floats low = last.a - Floats{}, high = last.b - Floats{};
  const auto round = [&](Floats value, Bf16* rounded) {
    value = value < low ? low : value;
    store(value > high ? high : value, rounded);
  };
  Floats value{};
  std::ptrdiff_t k = 0;
  for (; k + kWide <= count; k += kWide) {
    load(from + k, value);
    round(value, to + k);
  }
  if (k == count) return;
  Bf16 rest[kWide];
  __builtin_memcpy(&value, from + k, sizeof(float) * static_cast<std::size_t>(count - k));
  round(value, rest);
  __builtin_memcpy(to + k, rest, sizeof(Bf16) * static_cast<std::size_t>(count - k));
}

template <class T>
inline void refine(T* values, std::ptrdiff_t count, const Function* functions, std::size_t function_count) {
  float part[kNear];
  for (std::ptrdiff_t done = 0, many; function_count && done < count; done += many) {
    many = count - done < kNear ? count - done : kNear;
    widen(values + done, many, part);
    keep(part, many, functions, function_count, values + done);
  }
}

template <class T>
inline RunKernels<T> kernels() {
  return {weave<T>, widen<T>, keep, refine<T>, differ<T>, add<T>, mix<T>};
}
