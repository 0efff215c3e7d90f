// What every kernel file of the shared library uses: the export macro and the instruction sets to choose from.
#pragma once

#define DEDELAYED_EXPORT extern "C" __attribute__((visibility("default")))

namespace dedelayed {

// In ascending order of capability; the numbers are part of the C interface.
enum InstructionSet : int { kPortable = 0, kAvx2 = 1, kAvx512 = 2 };

// The best instruction set that both this processor and its operating system support.
InstructionSet best_instruction_set();

}  // namespace dedelayed
