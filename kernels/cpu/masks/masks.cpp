// The C interface of the mask kernels.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#include "../library.h"
#include "../rows.h"
#include "render.h"

namespace dedelayed::masks {
namespace {

// Half-pixel centres as torch's interpolate(align_corners=False) has them, in single precision like there.
struct AxisTable {
  std::vector<std::int32_t> low, high;
  std::vector<float> fraction;

  AxisTable(int in, int out, int padded) : low(padded), high(padded), fraction(padded) {
    const float scale = static_cast<float>(in) / static_cast<float>(out);
    for (int i = 0; i < padded; ++i) {
      const float at = std::max(0.0f, scale * (static_cast<float>(std::min(i, out - 1)) + 0.5f) - 0.5f);
      low[i] = std::min(static_cast<std::int32_t>(at), in - 1);
      high[i] = std::min(low[i] + 1, in - 1);
      fraction[i] = std::min(std::max(at - static_cast<float>(low[i]), 0.0f), 1.0f);
    }
  }
  Axis view() const { return {low.data(), high.data(), fraction.data()}; }
};

RenderRows variant(int instruction_set) {
#if defined(DEDELAYED_X86)
  if (instruction_set >= kAvx512) return render_rows_avx512;
  if (instruction_set >= kAvx2) return render_rows_avx2;
#endif
  static_cast<void>(instruction_set);
  return render_rows_portable;
}

void render(Job job, int instruction_set, int threads) {
  const AxisTable rows(job.in_height, job.out_height, job.out_height);
  const AxisTable columns(job.in_width, job.out_width, (job.out_width + kLanes - 1) / kLanes * kLanes);
  job.rows = rows.view();
  job.columns = columns.view();
  job.widest = 0;
  for (std::size_t x = 0; x < columns.low.size(); x += kLanes) {
    job.widest = std::max(job.widest, columns.high[x + kLanes - 1] - columns.low[x]);
  }
  const int parts = std::min(threads, job.out_height);
  const std::size_t scratch = kScratchRows * row_size(job);
  std::vector<float> buffer(scratch * parts);
  const RenderRows render_rows = variant(instruction_set);
  for_row_bands(job.out_height, parts, [&](int part, int first, int last) {
    render_rows(job, first, last, buffer.data() + scratch * part);
  });
}

}  // namespace
}  // namespace dedelayed::masks

// logits [classes, in_height, in_width], of float or bfloat16 and any layout (`plane`, `line` and `cell` values from a class,
// a row and a column to the next one), to mask and confidence [out_height, out_width]; instruction_set < 0: the best.
DEDELAYED_EXPORT int dedelayed_render_mask(const void* logits, int is_bf16, std::int64_t plane, std::int64_t line,
                                           std::int64_t cell, int classes, int in_height, int in_width, int out_height,
                                           int out_width, std::uint8_t* mask, std::uint8_t* confidence,
                                           int instruction_set, int threads) {
  using namespace dedelayed;
  if (!logits || !mask || !confidence || classes < 1 || classes > masks::kMaxClasses || in_height < 1 || in_width < 1 ||
      out_height < 1 || out_width < 1 || threads < 1) {
    return kBadArgument;
  }
  if (instruction_set < 0) instruction_set = best_instruction_set();
  if (instruction_set > best_instruction_set()) return kUnsupportedInstructionSet;
  masks::Job job{};
  job.logits = logits, job.is_bf16 = is_bf16 != 0;
  job.plane = plane, job.line = line, job.cell = cell;
  job.classes = classes;
  job.in_height = in_height, job.in_width = in_width;
  job.out_height = out_height, job.out_width = out_width;
  job.mask = mask, job.confidence = confidence;
  try {
    masks::render(job, instruction_set, threads);
  } catch (const std::bad_alloc&) {
    return kOutOfMemory;
  }
  return kOk;
}

// mask [pixels] to rgb [pixels, 3] by palette [256, 3].
DEDELAYED_EXPORT int dedelayed_colorize(const std::uint8_t* mask, std::int64_t pixels, const std::uint8_t* palette,
                                        std::uint8_t* rgb) {
  if (!mask || !palette || !rgb || pixels < 0) return dedelayed::kBadArgument;
  for (std::int64_t i = 0; i < pixels; ++i) std::memcpy(rgb + 3 * i, palette + 3 * mask[i], 3);
  return dedelayed::kOk;
}

// out = (image · (256 − weight) + colour · weight + 128) / 256, rounded down; weight 0..256. Unlabelled pixels stay.
DEDELAYED_EXPORT int dedelayed_overlay(const std::uint8_t* image, const std::uint8_t* mask, std::int64_t pixels,
                                       const std::uint8_t* palette, int weight, std::uint8_t* out) {
  if (!image || !mask || !palette || !out || pixels < 0 || weight < 0 || weight > 256) return dedelayed::kBadArgument;
  std::uint16_t added[256 * 3];
  std::uint16_t kept[256];
  for (int i = 0; i < 256; ++i) {
    const bool stays = i == dedelayed::masks::kUnlabelled;
    kept[i] = static_cast<std::uint16_t>(stays ? 256 : 256 - weight);
    for (int c = 0; c < 3; ++c) added[3 * i + c] = static_cast<std::uint16_t>(stays ? 128 : palette[3 * i + c] * weight + 128);
  }
  for (std::int64_t i = 0; i < pixels; ++i) {
    const std::uint16_t* colour = added + 3 * mask[i];
    const unsigned keep = kept[mask[i]];
    for (int c = 0; c < 3; ++c) out[3 * i + c] = static_cast<std::uint8_t>((image[3 * i + c] * keep + colour[c]) >> 8);
  }
  return dedelayed::kOk;
}
