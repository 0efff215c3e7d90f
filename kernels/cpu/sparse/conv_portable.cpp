#include "conv.h"

namespace dedelayed::sparse {
namespace {

// Four floats: SSE2 and NEON registers alike. Products are rounded before they are added.
struct Vector {
  typedef float Floats __attribute__((vector_size(16)));
  static constexpr int kWide = kBlocksPortable.wide, kBlock = kBlocksPortable.block, kSums = 16;
  static constexpr bool kPairs = false;
  static Floats load(const float* p) {
    Floats a;
    __builtin_memcpy(&a, p, sizeof a);
    return a;
  }
  static void store(float* p, Floats a) { __builtin_memcpy(p, &a, sizeof a); }
  static Floats set(float a) { return Floats{a, a, a, a}; }
  static Floats minimum(Floats a, Floats b) { return a < b ? a : b; }
  static Floats maximum(Floats a, Floats b) { return a > b ? a : b; }
  static Floats multiply_add(Floats a, Floats b, Floats sum) { return sum + a * b; }
};

constexpr int kWide = Vector::kWide;
#include "conv_steps.h"

}  // namespace

void convolve_portable(const ConvJob& job, const float* const* pixels, int count, float* out) {
  convolve<Vector>(job, pixels, count, out);
}
void convolve_portable(const ConvJob& job, const Bf16* const* pixels, int count, Bf16* out) {
  convolve<Vector>(job, pixels, count, out);
}

}  // namespace dedelayed::sparse
