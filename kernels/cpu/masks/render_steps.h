// The loop over the output, written once for any vector type. Included by one variant per file, inside an unnamed
// namespace, after the variant has defined its `Vector` (16 floats in a step) and switched the compiler's target.
//
// Vector has: Floats, Ints, Mask; load, store, set, add, subtract, multiply, larger, smaller, greater(a, b) and less(a, b) -> Mask,
// all(mask), none_if(mask, a), choose(mask, a, b) for Ints, set_ints, load_ints, power_of_two(biased), and
// lookup<kWindow>(row, base, index, offset): row[index[i]], where offset[i] = index[i] − base.

template <class Vector>
inline typename Vector::Floats exponential(typename Vector::Floats x) {
  using V = Vector;
  // smaller and larger return their second operand when one is NaN, so that a NaN stays.
  const auto y = V::larger(V::set(kLowestExponent), V::multiply(x, V::set(kLog2E)));
  const auto biased = V::add(y, V::set(kRoundingBias));
  const auto f = V::subtract(y, V::subtract(biased, V::set(kRoundingBias)));
  auto p = V::set(kPolynomial[5]);
  for (int i = 4; i >= 0; --i) p = V::add(V::multiply(p, f), V::set(kPolynomial[i]));
  return V::multiply(p, V::power_of_two(biased));
}

// The rows of the input that were used last, as floats and one class after the other.
struct Lines {
  float* memory[2];
  int held[2];
};

template <class T>
inline void spread(const Job& job, int y, float* __restrict line) {
  const int stride = row_stride(job.in_width);
  for (int c = 0; c < job.classes; ++c) {
    const T* __restrict from = static_cast<const T*>(job.logits) + c * job.plane + y * job.line;
    float* __restrict to = line + static_cast<std::ptrdiff_t>(c) * stride;
    for (int x = 0; x < job.in_width; ++x) to[x] = sparse::widened(from[x * job.cell]);
  }
}

// Row y of the first class; `apart` floats further is that of the next one.
inline const float* line_of(const Job& job, int y, Lines& lines, std::ptrdiff_t& apart) {
  if (!job.is_bf16 && job.cell == 1) {
    apart = job.plane;
    return static_cast<const float*>(job.logits) + y * job.line;
  }
  apart = row_stride(job.in_width);
  const int place = y & 1;  // rows are used with the next one
  if (lines.held[place] != y) {
    lines.held[place] = y;
    if (job.is_bf16) {
      spread<sparse::Bf16>(job, y, lines.memory[place]);
    } else {
      spread<float>(job, y, lines.memory[place]);
    }
  }
  return lines.memory[place];
}

// One row of each class, interpolated between the two input rows that the output row lies between.
inline void interpolate_rows(const Job& job, int y, Lines& lines, float* __restrict row) {
  const int stride = row_stride(job.in_width);
  const float fraction = job.rows.fraction[y];
  std::ptrdiff_t apart;
  const float* first = line_of(job, job.rows.low[y], lines, apart);
  const float* second = line_of(job, job.rows.high[y], lines, apart);
  for (int c = 0; c < job.classes; ++c) {
    const float* __restrict low = first + c * apart;
    const float* __restrict high = second + c * apart;
    float* __restrict out = row + static_cast<std::ptrdiff_t>(c) * stride;
    for (int x = 0; x < job.in_width; ++x) out[x] = low[x] + (high[x] - low[x]) * fraction;
    for (int x = job.in_width; x < stride; ++x) out[x] = 0.0f;
  }
}

template <class Vector, int kWindow>
inline void render_row(const Job& job, int y, const float* row) {
  using V = Vector;
  const int stride = row_stride(job.in_width);
  alignas(64) float values[kMaxClasses * kLanes];
  alignas(64) std::uint8_t mask[kLanes], confidence[kLanes];

  for (int x = 0; x < job.out_width; x += kLanes) {
    const int base = job.columns.low[x];
    const auto low = V::load_ints(job.columns.low + x), high = V::load_ints(job.columns.high + x);
    const auto fraction = V::load(job.columns.fraction + x);

    auto best = V::set(-__builtin_inff()), worst = V::set(__builtin_inff());
    auto winner = V::set_ints(0);
    for (int c = 0; c < job.classes; ++c) {
      const float* plane = row + static_cast<std::int64_t>(c) * stride;
      const auto a = V::template lookup<kWindow>(plane, base, low);
      const auto b = V::template lookup<kWindow>(plane, base, high);
      const auto value = V::add(a, V::multiply(V::subtract(b, a), fraction));
      V::store(values + c * kLanes, value);
      winner = V::choose(V::greater(value, best), V::set_ints(c), winner);  // a tie stays with the lower class
      best = V::larger(value, best);
      worst = V::smaller(value, worst);
    }
    auto sum = V::set(0.0f);
    for (int c = 0; c < job.classes; ++c) {
      const auto behind = V::subtract(V::load(values + c * kLanes), best);
      const auto far = V::less(behind, V::set(kNegligible));
      if (!V::all(far)) sum = V::add(sum, V::none_if(far, exponential<V>(behind)));
    }
    V::finish(winner, sum, worst, mask, confidence);

    const int count = job.out_width - x < kLanes ? job.out_width - x : kLanes;
    const std::int64_t at = static_cast<std::int64_t>(y) * job.out_width + x;
    __builtin_memcpy(job.mask + at, mask, static_cast<unsigned>(count));
    __builtin_memcpy(job.confidence + at, confidence, static_cast<unsigned>(count));
  }
}

template <class Vector, int kWindow>
inline void render_rows(const Job& job, int first, int last, float* scratch) {
  const std::size_t size = row_size(job);
  Lines lines{{scratch + size, scratch + 2 * size}, {-1, -1}};
  for (int y = first; y < last; ++y) {
    interpolate_rows(job, y, lines, scratch);
    render_row<Vector, kWindow>(job, y, scratch);
  }
}
