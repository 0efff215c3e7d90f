// Rounding to bfloat16, kWide floats at a time: the including file chooses how many. To the nearest, ties to even; what is not
// a number stays none. Included inside an anonymous namespace, after the pragma that chooses the instruction set.

typedef float Floats __attribute__((vector_size(sizeof(float) * kWide)));
typedef std::uint32_t Words __attribute__((vector_size(4 * kWide)));
typedef std::uint16_t Halves __attribute__((vector_size(2 * kWide)));

inline void store(const Floats& value, Bf16* to) {
  Words words;
  __builtin_memcpy(&words, &value, sizeof words);
  const Words nearest = (words + 0x7fffu + ((words >> 16) & 1u)) >> 16;
  words = (words & 0x7fffffffu) > 0x7f800000u ? (words >> 16 | 0x40u) : nearest;
  const Halves halves = __builtin_convertvector(words, Halves);
  __builtin_memcpy(to, &halves, sizeof halves);
}
