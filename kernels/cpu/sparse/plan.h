// A traced network as the sparse engine runs it: what does not change from frame to frame.
//
// Python describes it once as a stream of whole numbers and one of floats (dedelayed_ros/sparse/backends/describe.py has
// the same order); weights are packed while it is read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "aligned.h"

namespace dedelayed::sparse {

// Which inputs each output reads along one axis; the tables of dedelayed_ros/sparse/geometry.py.
struct Axis {
  int in, out, taps;
  bool is_point;                       // each output reads its own input
  bool fixed;                          // no output is computed as any other one is
  std::vector<std::int32_t> tap;       // [out, taps]: an input, or `in` where there is none (padding, or no tap)
  std::vector<std::uint8_t> inside;    // [out]: no tap reads padding
  std::vector<std::uint8_t> tapped;    // [out]: at least one tap reads an input
  std::vector<std::int32_t> base;      // [out]: the first input that is read
  std::vector<std::int32_t> phase;     // [out]: outputs of one phase use the same weights
  bool is_even;                        // tap k of output p reads input start + p · step + k · apart, or none outside
  int start, step, apart;
  bool is_beside;                      // the taps of each input make outputs of their own, side by side in the taps' order
  std::vector<std::int32_t> first_tap;  // [out]: the number of the first tap that reads an input, or -1

  const std::int32_t* taps_of(int output) const { return tap.data() + static_cast<std::size_t>(output) * taps; }
};

struct Window {
  int rows, cols;  // numbers of axes
};

// Frame pixels a cell, as a fraction; den is 0 on an axis that has no positions.
struct Stride {
  std::int64_t num, den;
  bool operator==(const Stride& other) const { return num == other.num && den == other.den; }
};

struct Grid {
  int height, width;
  std::array<Stride, 2> stride;
  int cells() const { return height * width; }
  bool operator==(const Grid& other) const {
    return height == other.height && width == other.width && stride == other.stride;
  }
};

// How reuse is checked against motion; dedelayed_ros/sparse/alignment.py says what each mode means. kTolerant is
// 'calibrated' with a tolerance that is not zero.
enum class Mode : int { kPerLayer, kSticky, kPaper, kTolerant, kOff, kTiles };

// The numbers of these are part of the C interface; element.h has them.
enum class Element : int { kFloat, kBf16 };

enum class Motion : int { kNone = 0, kFrame = 1, kCarried = 2 };

// The numbers of these are part of the description. kLevels is a picture that the caller gives as levels.h has them.
enum class Kind : int { kInput, kGiven, kConv, kTaps, kDepthwise, kPool, kResize, kMove, kBinary, kLevels };

enum class Unary : int {
  kClamp, kLeaky, kHardswish, kHardsigmoid, kSigmoid, kSilu, kTanh, kGelu, kGeluTanh, kElu, kExp, kLog, kSqrt, kAbs,
  kNegate, kFloor, kCeil, kRound, kAdd, kMultiply, kDivide, kSubtractFrom, kSquare,
};

struct Function {
  Unary unary;
  float a, b, c;
};

enum class Pool : int { kMax, kMin, kSum, kMean, kMeanTwice };
enum class Binary : int { kAdd, kSubtract, kMultiply, kDivide, kMaximum, kMinimum, kPrelu };

// Channels that go from one input to consecutive outputs.
struct Part {
  int input;                            // which of the node's inputs, -1 for a constant
  int first;                            // first output channel
  std::vector<std::int32_t> channels;   // channel of the input, for each output channel
  bool straight;                        // those are consecutive
  std::vector<float> constant;          // with input -1: the values, by output channel
};

// A stretch of memory that a convolution reads for every output pixel, relative to its first tap.
struct Segment {
  std::int64_t row, col;  // cells
  int length;             // floats
};

struct Node {
  Kind kind;
  Motion motion;
  int grid, channels;
  std::vector<int> inputs, windows;
  std::vector<Function> epilogue;  // that follow the operation
  int addend;                      // number of the input that is then added, position by position, or -1
  std::vector<Function> after;     // that follow the sum
  std::vector<int> entries;  // Mode::kPaper: inputs at which its flags are merged
  int carrier;    // Motion::kCarried, not an input: number of the input whose displacement is taken over
  int moved;      // slot of its displacement
  int alignment;  // class of its misaligned set
  float threshold;  // below zero: it is not compared, and what is computed of it counts as new
  bool where_read;  // kTiles: it is computed wherever it is read
  bool kept;        // its last value is needed by more than what is computed: as a result, and in kTiles elsewhere too

  std::array<int, 2> kernel, stride, before, dilation;  // convolutions: rows, columns
  int groups;
  std::vector<Segment> segments;
  Aligned<float> weight, bias;  // packed as the kind's kernel reads them
  std::size_t tap_weights;          // kTaps: floats of one tap's own packed weights; 0: taps overlap, nothing is packed
  int beside;                       // kTaps: taps of a row whose outputs lie side by side and are packed as one; or 1
  std::vector<float> factors[2];    // kResize: weights of the taps by axis; kPool: divisor of each output by axis
  Pool pool;
  Binary binary;
  float alpha, fill;
  std::vector<Part> parts;          // kMove, kBinary (two)
};

// What decides a misaligned set: nodes that agree in it share the work.
struct Alignment {
  int out;                                   // displacement slot
  bool tolerant;                             // within the plan's tolerances, and not exactly
  bool believed;                             // nothing is checked but that there is a cached value
  std::vector<std::array<int, 3>> sources;   // window, displacement slot, grid of the input or -1 if it has no motion
  bool operator==(const Alignment& other) const {
    return out == other.out && tolerant == other.tolerant && believed == other.believed && sources == other.sources;
  }
};

// Where displacements come from.
struct Slot {
  enum class Source : int { kStill, kExact, kSampled, kTolerant, kCarried, kPropagated } source;
  int grid, node;
};

struct Border {
  int top = 0, left = 0, bottom = 0, right = 0;  // cells of zeros that convolutions read around a map
  int after = 0;  // and cells of anything that they may read after it all
};

struct Plan {
  int frame_height, frame_width, instruction_set;
  Element element;           // of feature maps
  Mode mode;
  int r_max, s_max;          // kPaper: side of the neighbourhood with one vector, divisor of vectors; frame pixels
  double remainder, spread;  // kTolerant: cells
  int tile;                  // kTiles: frame pixels
  int logits = -1;           // kTiles: number of the node that tells how sure the network is, or -1
  double margin = 0.0;       // its lead of the first class over the second at which a difference counts half
  std::vector<Axis> axes;
  std::vector<Window> windows;
  std::vector<Grid> grids;
  std::vector<Node> nodes;
  std::vector<Slot> slots;
  std::vector<Alignment> alignments;
  std::vector<Border> borders;  // by node

  const Axis& rows(int window) const { return axes[windows[window].rows]; }
  const Axis& cols(int window) const { return axes[windows[window].cols]; }
};

// Throws std::invalid_argument for a description that is cut short or inconsistent.
Plan read_plan(const std::int64_t* words, std::int64_t word_count, const float* floats, std::int64_t float_count,
               Element element, int instruction_set);

}  // namespace dedelayed::sparse
