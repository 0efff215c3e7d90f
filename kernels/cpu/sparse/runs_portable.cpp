#include "../library.h"
#include "runs.h"

namespace dedelayed::sparse {
namespace {

constexpr int kWide = 4;
#include "round_steps.h"

inline bool any(const Words& words) { return (words[0] | words[1] | words[2] | words[3]) != 0; }
inline void load(const Bf16* from, Floats& value) {
  Halves halves;
  __builtin_memcpy(&halves, from, sizeof halves);
  const Words words = __builtin_convertvector(halves, Words) << 16;
  __builtin_memcpy(&value, &words, sizeof value);
}

#include "runs_steps.h"

}  // namespace

template <class T>
RunKernels<T> runs_portable() {
  return kernels<T>();
}
template RunKernels<float> runs_portable();
template RunKernels<Bf16> runs_portable();

template <class T>
RunKernels<T> run_variant(int instruction_set) {
  switch (instruction_set) {
#if defined(DEDELAYED_X86)
    case kAmx:
    case kAvx512Bf16:
    case kAvx512: return runs_avx512<T>();
    case kAvx2: return runs_avx2<T>();
#endif
    default: return runs_portable<T>();
  }
}
template RunKernels<float> run_variant(int);
template RunKernels<Bf16> run_variant(int);

void round_all(const float* from, std::ptrdiff_t count, Bf16* to) {
  for (std::ptrdiff_t k = 0; k < count; k += kWide) {
    const std::size_t part = static_cast<std::size_t>(count - k < kWide ? count - k : kWide);
    Floats value{};
    Bf16 rounded[kWide];
    __builtin_memcpy(&value, from + k, sizeof(float) * part);
    store(value, rounded);
    __builtin_memcpy(to + k, rounded, sizeof(Bf16) * part);
  }
}

}  // namespace dedelayed::sparse
