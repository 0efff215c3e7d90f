// What the kernels that carry by block motion have in common.
#pragma once

namespace dedelayed {

// Quarter pixels to whole ones, halves away from zero.
inline int pixels(int quarters) { return quarters >= 0 ? (quarters + 2) >> 2 : -((2 - quarters) >> 2); }

}  // namespace dedelayed
