// The loops of levels.h, compiled once for each instruction set, in whole numbers. Included inside an anonymous namespace,
// after the pragma that chooses the instruction set, and with DEDELAYED_LEVELS_AVX512 after immintrin.h.

constexpr int kBytes = kBeyond + 1;
typedef std::uint8_t Bytes __attribute__((vector_size(kBytes)));
typedef std::uint16_t Sums __attribute__((vector_size(2 * kBytes)));

struct Ones {
  std::uint16_t values[2 * kBytes] = {};
  constexpr Ones() {
    for (int k = 0; k < kBytes; ++k) values[k] = 0xffff;
  }
};

inline void load_levels(const std::uint8_t* from, Sums& levels) {
#if defined(DEDELAYED_LEVELS_AVX512)  // of a conversion of vectors the compiler makes several instructions
  levels = (Sums)_mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#else
  Bytes bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  levels = __builtin_convertvector(bytes, Sums);
#endif
}

inline void values_of(const std::uint8_t* levels, std::ptrdiff_t count, float* to) {
  for (std::ptrdiff_t i = 0; i < count; ++i) to[i] = static_cast<float>(levels[i]) / 255.0f;
}

template <class T>
inline void look_up(const std::uint8_t* levels, std::ptrdiff_t count, const T* table, T* to) {
  for (std::ptrdiff_t i = 0; i < count; ++i) to[i] = table[levels[i]];
}

// Most of a picture is as it was: that is found out for many cells at once.
inline void differ(const std::uint8_t* fresh, const std::uint8_t* cached, int channels, int cells, std::uint8_t* on) {
  constexpr int kTogether = 64;
  for (int first = 0; first < cells; first += kTogether) {
    const int count = cells - first < kTogether ? cells - first : kTogether;
    const std::size_t width = static_cast<std::size_t>(channels);
    const std::uint8_t *a = fresh + first * width, *b = cached + first * width;
    std::uint8_t* const found = on + first;
    if (__builtin_memcmp(a, b, count * width) == 0) {
      __builtin_memset(found, 0, static_cast<std::size_t>(count));
    } else if (channels == 3) {
      for (int x = 0; x < count; ++x, a += 3, b += 3) found[x] = ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2])) != 0;
    } else {
      for (int x = 0; x < count; ++x, a += width, b += width) found[x] = __builtin_memcmp(a, b, width) != 0;
    }
  }
}

inline std::uint64_t unexplained(const View<const std::uint8_t>& from, const Patch& patch,
                                        const View<const std::uint8_t>& now) {
  static constexpr Ones kOnes;
  const Area& to = patch.to;
  const auto part = [](float share) { return static_cast<std::uint16_t>(4.0f * share); };
  const std::uint16_t down = part(patch.down), right = part(patch.right), up = 4 - down, left = 4 - right;
  const std::ptrdiff_t below = patch.below ? from.pitch : 0, beside = patch.beside ? from.channels : 0;
  const int rows = to.bottom - to.top, width = (to.right - to.left) * from.channels;
  std::uint64_t total = 0;
  for (int first = 0; first < width; first += kBytes) {
    const std::uint8_t* p = from.at(to.top + patch.rows, to.left + patch.cols) + first;
    const std::uint8_t* fresh = now.at(to.top, to.left) + first;
    Sums counts;  // all ones where there are levels of the patch
    __builtin_memcpy(&counts, kOnes.values + kBytes - (width - first < kBytes ? width - first : kBytes), sizeof counts);
    const auto across = [&](const std::uint8_t* row) {
      Sums here, next;
      load_levels(row, here), load_levels(row + beside, next);
      return here * left + next * right;
    };
    Sums above = across(p), sums = {};
    for (int y = 0; y < rows; ++y) {
      const Sums under = down ? across(p + below) : above;
      const Sums before = above * up + under * down;
      Sums levels;
      load_levels(fresh, levels);
      levels *= 16;
      sums += (levels > before ? levels - before : before - levels) & counts;
      p += from.pitch, fresh += now.pitch;
      if (down) {
        above = patch.below ? under : across(p);
      } else if (y + 1 < rows) {
        above = across(p);
      }
    }
    std::uint16_t each[kBytes];
    __builtin_memcpy(each, &sums, sizeof each);
    for (int k = 0; k < kBytes; ++k) total += each[k];
  }
  return total;
}
