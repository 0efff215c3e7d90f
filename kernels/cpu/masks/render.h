// From logits to mask and confidence: what the variants for the instruction sets share.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dedelayed::masks {

constexpr int kLanes = 16;                 // output pixels a step, in every variant
constexpr int kMaxClasses = 255;           // 255 means unlabelled
constexpr std::uint8_t kUnlabelled = 255;

// Where one axis of the output samples the input: out[i] = in[low[i]] + (in[high[i]] - in[low[i]]) · fraction[i].
struct Axis {
  const std::int32_t* low;    // [n]
  const std::int32_t* high;   // [n]
  const float* fraction;      // [n], 0..1
};

struct Job {
  const void* logits;    // [classes, in_height, in_width] of float, or of bfloat16
  bool is_bf16;
  std::ptrdiff_t plane, line, cell;  // values from a class, a row and a column to the next one
  int classes, in_height, in_width, out_height, out_width;
  Axis rows;             // n = out_height
  Axis columns;          // n = out_width rounded up to kLanes; the surplus repeats the last column
  int widest;            // largest distance in the input between a step's first `low` and its last `high`
  std::uint8_t* mask;        // [out_height, out_width]
  std::uint8_t* confidence;  // [out_height, out_width]
};

// A row of each class, one class after the other, each padded so that a whole step can be loaded from any of its columns.
constexpr int row_stride(int in_width) { return in_width + 2 * kLanes; }
inline std::size_t row_size(const Job& job) {
  return static_cast<std::size_t>(job.classes) * static_cast<std::size_t>(row_stride(job.in_width));
}
// Rows of scratch for one thread: one between two others and, where they are not laid out so, these two.
constexpr std::size_t kScratchRows = 3;

// Render output rows [first, last).
using RenderRows = void (*)(const Job&, int first, int last, float* scratch);
void render_rows_portable(const Job&, int first, int last, float* scratch);
void render_rows_avx2(const Job&, int first, int last, float* scratch);
void render_rows_avx512(const Job&, int first, int last, float* scratch);

// A class so far behind the best adds nothing that 255 levels could show.
constexpr float kNegligible = -12.0f;

// 2^x for x <= 0 is 2^n · p(x − n), n the nearest whole number; p is a polynomial on [−0.5, 0.5] (relative error 2e-7).
// Every variant does the same operations in the same order, without fused multiply-add, so all give the same bits.
constexpr float kLog2E = 1.44269504f;
constexpr float kLowestExponent = -125.0f;
constexpr float kRoundingBias = 12582912.0f;  // 1.5 · 2^23: adding it rounds to a whole number, in the low bits of the sum
constexpr float kPolynomial[] = {1.0f, 0.693147182f, 0.240226462f, 0.0555042364f, 0.00961834087f, 0.00132740150f};

}  // namespace dedelayed::masks
