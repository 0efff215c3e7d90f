#include "library.h"

namespace dedelayed {

InstructionSet best_instruction_set() {
#if defined(DEDELAYED_X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return kAvx512;
  }
  if (__builtin_cpu_supports("avx2")) return kAvx2;
#endif
  return kPortable;
}

}  // namespace dedelayed

// Changes whenever a signature of the library does; dedelayed_ros/native.py refuses any other number.
DEDELAYED_EXPORT int dedelayed_abi_version() { return 10; }

DEDELAYED_EXPORT int dedelayed_instruction_set() { return dedelayed::best_instruction_set(); }
