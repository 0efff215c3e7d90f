#include "../library.h"
#include "runs.h"

namespace dedelayed::sparse {
namespace {

constexpr int kWide = 4;
#include "vector_steps.h"

inline bool any(const Words& words) { return (words[0] | words[1] | words[2] | words[3]) != 0; }

inline void interleave(Floats (&rows)[3]) {
  float from[3][kWide], to[3 * kWide];
  __builtin_memcpy(from, rows, sizeof from);
  for (int k = 0; k < kWide; ++k) to[3 * k] = from[0][k], to[3 * k + 1] = from[1][k], to[3 * k + 2] = from[2][k];
  __builtin_memcpy(rows, to, sizeof to);
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
#if defined(DEDELAYED_AMX)
  if constexpr (std::is_same_v<T, Bf16>) {
    if (instruction_set >= kAvx512Bf16) return runs_avx512_bf16();
  }
#endif
#if defined(DEDELAYED_X86)
  if (instruction_set >= kAvx512) return runs_avx512<T>();
  if (instruction_set >= kAvx2) return runs_avx2<T>();
#endif
  static_cast<void>(instruction_set);
  return runs_portable<T>();
}
template RunKernels<float> run_variant(int);
template RunKernels<Bf16> run_variant(int);

}  // namespace dedelayed::sparse
