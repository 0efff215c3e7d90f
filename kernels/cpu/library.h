// What every kernel file of the shared library uses: the export macro and the instruction sets to choose from.
#pragma once

#define DEDELAYED_EXPORT extern "C" __attribute__((visibility("default")))

// Files with x86 intrinsics are compiled where the compiler can switch the target inside a file (`#pragma GCC target`).
// Such a pragma stands after every standard header: a template instantiated under it could be merged by the linker with the
// same one elsewhere, and then run on a processor that lacks the instructions.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define DEDELAYED_X86 1
#if defined(__linux__) && __GNUC__ >= 11  // whose compiler knows them
#define DEDELAYED_AMX 1
#endif
#endif

namespace dedelayed {

// In ascending order of capability, each with all that those before it have; the numbers are part of the C interface.
// kAvx512Bf16 multiplies pairs of bfloat16, kAmx tiles of them.
enum InstructionSet : int { kPortable = 0, kAvx2 = 1, kAvx512 = 2, kAvx512Bf16 = 3, kAmx = 4 };

// The best instruction set that this build, the processor and its operating system all support.
InstructionSet best_instruction_set();

// What a C function returns; dedelayed_ros/native.py knows the numbers.
enum Status : int { kOk = 0, kBadArgument = 1, kUnsupportedInstructionSet = 2, kOutOfMemory = 3 };

}  // namespace dedelayed
