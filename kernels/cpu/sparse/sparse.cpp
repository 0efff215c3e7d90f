// The C interface of the sparse engine. A plan may serve any number of streams, each used by one thread at a time.
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>

#include "../library.h"
#include "stream.h"

namespace dedelayed::sparse {
namespace {

template <class Work>
int guarded(Work work) {
  try {
    work();
  } catch (const std::bad_alloc&) {
    return kOutOfMemory;
  } catch (const std::invalid_argument&) {
    return kBadArgument;
  }
  return kOk;
}

}  // namespace
}  // namespace dedelayed::sparse

using dedelayed::sparse::Plan;
using dedelayed::sparse::Stream;

// `element`: number format of the maps. Instruction set < 0: the best. `*plan` is to be freed with dedelayed_sparse_free_plan, after its streams.
DEDELAYED_EXPORT int dedelayed_sparse_plan(const std::int64_t* words, std::int64_t word_count, const float* floats,
                                           std::int64_t float_count, int element, int instruction_set, Plan** plan) {
  using namespace dedelayed;
  if (!words || !floats || !plan || word_count < 0 || float_count < 0 || element < 0 || element > 1) return kBadArgument;
  if (instruction_set < 0) instruction_set = best_instruction_set();
  if (instruction_set > best_instruction_set()) return kUnsupportedInstructionSet;
  return sparse::guarded([&] {
    const auto format = static_cast<sparse::Element>(element);
    *plan = std::make_unique<Plan>(sparse::read_plan(words, word_count, floats, float_count, format, instruction_set)).release();
  });
}

DEDELAYED_EXPORT void dedelayed_sparse_free_plan(Plan* plan) { delete plan; }

// `threads` that its steps compute with, the calling one among them.
// `frame`: number of the picture's node; with more than the share `dense_above` of it new, a step is dense.
DEDELAYED_EXPORT int dedelayed_sparse_stream(const Plan* plan, int threads, int frame, double dense_above, Stream** stream) {
  if (!plan || !stream || threads < 1 || threads > 256 || frame < 0 || frame >= static_cast<int>(plan->nodes.size())) return dedelayed::kBadArgument;
  return dedelayed::sparse::guarded([&] { *stream = dedelayed::sparse::make_stream(*plan, threads, frame, dense_above).release(); });
}

DEDELAYED_EXPORT void dedelayed_sparse_free_stream(Stream* stream) { delete stream; }

DEDELAYED_EXPORT std::int64_t dedelayed_sparse_bytes(const Stream* stream) { return stream->bytes(); }

// One frame. vectors int16 [rows, cols, 2] and valid [rows, cols]; without vectors nothing is known of the motion.
// given, reports and work have an entry a node; `*done` is the sum of the computed positions, each times its node's work.
DEDELAYED_EXPORT int dedelayed_sparse_step(Stream* stream, const dedelayed::sparse::Given* given,
                                           const std::int16_t* vectors, const std::uint8_t* valid, int rows, int cols,
                                           int block, const double* work, double* done, dedelayed::sparse::Report* reports) {
  using namespace dedelayed;
  if (!stream || !given || !work || !done || !reports) return kBadArgument;
  if (vectors && (!valid || rows < 1 || cols < 1 || block < 1)) return kBadArgument;
  return sparse::guarded([&] {
    if (vectors) {
      const sparse::Field field = sparse::Field::of(vectors, valid, rows, cols, block);
      stream->step(given, &field, reports);
    } else {
      stream->step(given, nullptr, reports);
    }
    *done = 0.0;
    for (int n = 0; n < stream->nodes(); ++n) {
      *done += static_cast<double>(reports[n].computed) * work[n];
      reports[n].origin = stream->shown(n).origin;
    }
  });
}

// Where a node's map is now: its first value, values from a row, and a cell, to the next one, and whether they are levels and
// not in the plan's number format. True until the next step. `*memory`, of so many values, is what it lies in: it moves about
// there, or in one other such memory, as long as the stream lives.
DEDELAYED_EXPORT void* dedelayed_sparse_map(Stream* stream, int node, std::int64_t* row, std::int64_t* cell, int* as_levels,
                                            void** memory, std::int64_t* values) {
  const dedelayed::sparse::Shown shown = stream->shown(node);
  *row = shown.row;
  *cell = shown.cell;
  *as_levels = shown.as_levels;
  *memory = shown.memory;
  *values = shown.values;
  return shown.origin;
}

// A node's recompute set, [height, width] bytes.
DEDELAYED_EXPORT const std::uint8_t* dedelayed_sparse_set(const Stream* stream, int node) {
  return stream->dirty(node).on.data();
}
