// One stream through a plan: its memory, and the step that brings it to the next frame.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "../thread_pool.h"
#include "cells.h"
#include "given.h"
#include "levels.h"
#include "maps.h"
#include "motion.h"
#include "ops.h"
#include "plan.h"
#include "runs.h"
#include "sets.h"
#include "tiles.h"
#include "tolerance.h"

namespace dedelayed::sparse {

// What a node did in a step: positions that were computed, and that are new; nanoseconds in all, those of motion, comparing
// and sets, and those of moving cached values; where its map is now.
struct Report {
  std::int64_t computed, dirty, nanoseconds, front, remap;
  void* origin;
};

// Where a window of outputs on `grid` reads vectors of the input's grid `from` that differ too much.
struct Spread {
  int window, from, grid;
  bool known;
  Set far;
};

// A node's map where it is: values from a row, and a cell, to the next one, in the plan's number format or as levels; and the
// memory that it is in, of so many values, within which it may move from step to step.
struct Shown {
  void* origin;
  std::int64_t row, cell;
  bool as_levels;
  void* memory;
  std::int64_t values;
};

// A stream, whatever number format its maps are in.
class Stream {
 public:
  virtual ~Stream() = default;
  // One frame. No field: nothing is known of the motion, everything is computed. `given` and `reports` are by node.
  virtual void step(const Given* given, const Field* field, Report* reports) = 0;
  virtual int nodes() const = 0;
  virtual Shown shown(int node) = 0;
  virtual const Set& dirty(int node) const = 0;
  virtual std::int64_t bytes() const = 0;
};

// `threads` that a step computes with; results are the same bits for any number. `frame`: the node of the picture; a step
// in which more than the share `dense_above` of it is new computes everything, since finding out more would cost more.
std::unique_ptr<Stream> make_stream(const Plan& plan, int threads, int frame, double dense_above);

// What a thread computes with.
template <class T>
struct Bench {
  Workspace<T> work;
  Aligned<float> fresh, sums;
  Aligned<T> kept;
  std::vector<std::int32_t> places;
  std::int64_t changed;
};

// A stream with maps of T.
template <class T>
class StreamOf final : public Stream {
 public:
  StreamOf(const Plan& plan, int threads, int frame, double dense_above);

  void step(const Given* given, const Field* field, Report* reports) override;
  int nodes() const override { return static_cast<int>(maps_.size()); }
  Shown shown(int node) override;
  const Set& dirty(int node) const override { return dirty_[node]; }
  std::int64_t bytes() const override;

 private:
  const Plan& plan_;
  std::size_t frame_;
  double dense_above_;
  bool sticky() const { return plan_.mode == Mode::kSticky; }
  // Whether what is computed of a node goes straight into its map, without being compared with what is there.
  bool keeps_all(const Node& node) const { return dense_ || plan_.mode == Mode::kTiles || node.threshold < 0.0f; }
  bool ready_ = false, dense_ = true;
  // A picture of levels that only copies read stays as it is given, and its own map has no memory.
  bool as_levels_ = false;
  Map<std::uint8_t> picture_;
  std::vector<std::array<T, 256>> level_results_;  // by node: what a copy of the picture has for each level
  std::vector<Map<T>> maps_;
  std::vector<Set> dirty_;        // S: positions that differ, or may differ, from their cached value
  std::vector<Set> flags_;        // F, for `sticky`: positions that motion does not vouch for
  std::vector<Remainder> remainders_;

  // Scratch, of no meaning after the step.
  std::vector<Moved> moved_;      // by slot
  std::vector<Set> misaligned_;   // by class of alignment
  std::vector<std::uint8_t> known_;
  std::vector<std::optional<Covers>> covers_;  // by grid, for the size of blocks that was last given
  int covered_ = 0;
  std::vector<Cells> cells_;      // by grid
  std::vector<Ways> ways_;        // by grid
  std::vector<std::uint8_t> cells_known_, ways_known_;
  std::vector<Spread> spreads_;
  Set compacted_;                 // for `paper`
  bool compacted_known_ = false;
  Remainder rest_;
  std::vector<std::int32_t> positions_;
  Aligned<float> fresh_;
  std::vector<T> row_, copy_;
  std::vector<Run> line_runs_;
  std::vector<std::uint8_t> line_;
  Set candidates_;
  std::vector<double> cost_;      // by node: of one position
  std::vector<Bench<T>> benches_;  // by thread
  Tiles tiles_;                   // Mode::kTiles
  LevelKernels levels_;
  BlendKernels<T> blend_;
  RunKernels<T> runs_;
  ThreadPool pool_;

  void step_tiles(const Given* given, const Field* field, Report* reports);
  void take_tiled(int node, const Given& given);
  template <class Value, class GatherRow, class Measure>
  void follow(const Node& node, Map<Value>& map, GatherRow gather_row, Measure unexplained, double whole);
  void find_levels();
  bool reads_levels(const Node& node) const { return as_levels_ && !node.inputs.empty() && node.inputs[0] == static_cast<int>(frame_); }
  void look_up(int node, std::int32_t position, int count, T* results) const;
  std::int64_t look_up(int node, const Set& positions);
  void take_levels(const Given& given);
  void take_values(int node, const Given& given, Report& report);
  void flag_unfounded(int node);
  void keep(Map<T>& map, const Asked& asked);
  void find_doubts(Report& report);
  void compute_all(int node, const std::vector<std::int32_t>& positions);
  void begin_dense(std::size_t kept);
  float* raw(const Node& node, const std::int32_t* positions, int count, Bench<T>& bench);
  const T* results(const Node& node, const std::int32_t* positions, int count, Bench<T>& bench);
  void add_addend(const Node& node, std::int32_t position, int together, T* values, Bench<T>& bench);
  void commit(int node, const std::int32_t* positions, int count, const T* results, Bench<T>& bench);
  void gather(const Node& node, const Given& given, int y, int width, Aligned<float>& scratch, T* row);
  void prepare_slot(const Field& field, int slot);
  void find_displacement(const Field& field, int slot);
  void take(int node, const Given& given, Report& report);
  void run(int node, const Field* field, Report& report);
  const Covers& covers(const Field& field, int grid);
  const Cells& cells(const Field& field, int grid);
  const Set& misaligned(const Field& field, const Node& node);
  const Set& far(const Field& field, int window, int from, int grid);
  void add_compacted(const Field& field, const Node& node);
  void compute_part(int node, const std::int32_t* positions, int count, Bench<T>& bench);
  void compute_in_place(int node, const std::int32_t* positions, int count, Bench<T>& bench);
};

}  // namespace dedelayed::sparse
