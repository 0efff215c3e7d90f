#include "library.h"

#if defined(DEDELAYED_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace dedelayed {
namespace {

#if defined(DEDELAYED_X86)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
}

#if defined(DEDELAYED_AMX)
// The tiles' registers are large, and Linux gives them only to processes that ask for them.
bool has_amx() {
  constexpr unsigned kTile = 1u << 24, kBf16 = 1u << 22;  // of edx
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(edx & kTile) || !(edx & kBf16)) return false;
  constexpr long kAskPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kAskPermission, kTileData) == 0;
}
#endif
#endif

InstructionSet find_best() {
#if defined(DEDELAYED_X86)
  __builtin_cpu_init();
#if defined(DEDELAYED_AMX)
  if (has_avx512() && __builtin_cpu_supports("avx512bf16")) return has_amx() ? kAmx : kAvx512Bf16;
#endif
  if (has_avx512()) return kAvx512;
  if (__builtin_cpu_supports("avx2")) return kAvx2;
#endif
  return kPortable;
}

}  // namespace

InstructionSet best_instruction_set() {
  static const InstructionSet best = find_best();
  return best;
}

}  // namespace dedelayed

// Changes whenever a signature of the library does; dedelayed_ros/native.py refuses any other number.
DEDELAYED_EXPORT int dedelayed_abi_version() { return 15; }

DEDELAYED_EXPORT int dedelayed_instruction_set() { return dedelayed::best_instruction_set(); }
