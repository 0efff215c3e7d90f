// Vectors of kWide floats, which the including file chooses, from and to maps of either number format. Rounding to bfloat16 is
// to the nearest, ties to even; what is not a number stays none. Included inside an anonymous namespace, after the pragma that
// chooses the instruction set, and with DEDELAYED_ROUND_AVX512_BF16 after immintrin.h.

typedef float Floats __attribute__((vector_size(sizeof(float) * kWide)));
typedef std::uint32_t Words __attribute__((vector_size(4 * kWide)));
typedef std::uint16_t Halves __attribute__((vector_size(2 * kWide)));

// By reference: how a wide vector is returned depends on the instruction set.
template <class Value>
inline void load(const float* from, Value& value) {
  __builtin_memcpy(&value, from, sizeof value);
}
inline void load(const Bf16* from, Floats& value) {
  std::uint32_t words[kWide];  // as a loop: of a conversion of vectors the compiler makes several instructions
  for (int k = 0; k < kWide; ++k) words[k] = static_cast<std::uint32_t>(from[k].bits) << 16;
  __builtin_memcpy(&value, words, sizeof value);
}

template <class Value>
inline void store(const Value& value, float* to) {
  __builtin_memcpy(to, &value, sizeof value);
}
inline void round_all(const Floats& value, Bf16* to) {
  Words words;
  __builtin_memcpy(&words, &value, sizeof words);
  const Words nearest = (words + 0x7fffu + ((words >> 16) & 1u)) >> 16;
  words = (words & 0x7fffffffu) > 0x7f800000u ? (words >> 16 | 0x40u) : nearest;
  const Halves halves = __builtin_convertvector(words, Halves);
  __builtin_memcpy(to, &halves, sizeof halves);
}
inline void store(const Floats& value, Bf16* to) {
#if defined(DEDELAYED_ROUND_AVX512_BF16)  // an instruction for it takes numbers below the normal ones for zeros
  constexpr int kSubnormal = 0x20;
  if (__builtin_expect(_mm512_fpclass_ps_mask((__m512)value, kSubnormal) == 0, 1)) {
    const __m256bh halves = _mm512_cvtneps_pbh((__m512)value);
    __builtin_memcpy(to, &halves, sizeof halves);
    return;
  }
#endif
  round_all(value, to);
}
