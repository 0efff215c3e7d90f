// What the kernels that carry by block motion have in common.
#pragma once

namespace dedelayed {

// Quarter pixels to whole ones, halves away from zero.
inline int pixels(int quarters) { return (quarters + 2 - (quarters < 0)) >> 2; }

}  // namespace dedelayed
