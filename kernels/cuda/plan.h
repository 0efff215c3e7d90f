// A traced network and one stream through it, as the kernels read them from device memory.
//
// dedelayed_ros/sparse/backends/cuda/records.py has the same fields in the same order; a test compares the two.
#pragma once

#include "device.h"

// Which inputs each output reads along one axis; the tables of dedelayed_ros/sparse/geometry.py.
struct Axis {
  const int* tap;                // [out, taps]: an input, or `in` where there is none (padding, or no tap)
  const int* base;               // [out]: the first input that is read
  const int* phase;              // [out]: outputs of one phase use the same weights
  const unsigned char* inside;   // [out]: no tap reads padding
  const unsigned char* tapped;   // [out]: at least one tap reads an input
  int in, out, taps, fixed;      // fixed: no output is computed as any other one is
};

// The motion field of a frame.
struct Field {
  const short* vectors;          // [rows, cols, 2], x then y, quarter pixels
  const unsigned char* valid;    // [rows, cols]
  int rows, cols, block, frame_height, frame_width, unused;
};

// Displacement of the positions of a grid.
struct Slot {
  int* key;                      // [height, width]
  const int* remainder;          // carried, tolerant: [2, height, width], quarter pixels by which cached values are behind
  int* rest;                     // the same for this frame
  int* strays;                   // positions that do not move as `main` says
  unsigned* stray_count;
  const int* from;               // propagated: displacement of the input
  Axis rows, cols;               // propagated: footprint on that input
  int num[2], den[2];            // frame pixels a cell, as a fraction; den is 0 on an axis without positions
  int ratio_num[2], ratio_den[2];  // propagated: cells of the input in cells of this grid
  int height, width, main, unused;
  float share[2], spread[2];     // tolerant: quarter pixels that may remain, and by which vectors may differ
};

// Vectors of the field under a cell, quarter pixels: rows, then columns.
struct Range {
  short low[2], high[2];
};

// The ranges of a grid.
struct Cells {
  Range* range;                  // [height, width]
  int num[2], den[2], height, width;
};

// An input of a misaligned set: a footprint, and the displacement of what it reads.
struct Reach {
  Axis rows, cols;
  const int* key;
  const Range* range;            // tolerant: of the input's cells; null where they have no place
};

// Positions whose cached value motion does not vouch for; operations that agree in that share it.
struct Check {
  unsigned* bad;                 // set [height, width]
  const int* key;
  const Reach* reaches;
  int reach_count, height, width, tolerant;
  int placed[2];                 // whether there are positions along an axis
  float spread[2];               // tolerant: quarter pixels by which vectors in a footprint may differ
};

// A function of one number that follows an operation; the codes are those of backends/unary.py.
struct Function {
  int code;
  float a, b, c;
};

// An input of an operation.
struct Source {
  const void* origin;            // [height, width, channels]
  const unsigned* dirty;         // set
  const unsigned* flags;         // set, `sticky` alone
  Axis rows, cols;
  int height, width, channels, unused;
};

// Where an output channel comes from: a channel of an input, or with input -1 a constant.
struct Pick {
  int input, channel;
  float constant;
};

struct Layer {
  void* origin;                  // cached values, then the new ones: [height, width, channels]
  unsigned* dirty;               // S: set of positions that are not their cached value
  unsigned* flags;               // F, or null
  const unsigned* bad;           // set of positions that motion does not vouch for
  const int* key;                // displacement
  const Source* sources;
  int* list;                     // positions to compute
  unsigned* count;               // how many; after it, how many turned out dirty
  void* fresh;                   // [count, channels]: results whose channels are compared together, later
  void* scratch;                 // [strays, channels]
  const int* strays;
  const unsigned* stray_count;
  const void* weight;
  const float* bias;
  const Function* functions;
  const float* factors[2];       // resampling: weight of each tap by axis; pooling: divisor of each output by axis
  const Pick* picks;             // [operands, channels]
  const void* given;             // inputs: [channels, height, width], or null where nothing new has arrived
  int* remainder;                // of the displacement, where one is kept: 0 where the position is new
  int height, width, channels, source_count, function_count;
  int kernel[2], groups, mode, lanes, staged;
  int weight_pitch, depth;       // convolutions: floats from a row of weights to the next one, rows
  int shift;                     // cells from a position's place in the old map to its place in the new one
  int given_is_dirty;            // a vector that the caller computes: -1 for other inputs
  float threshold, alpha, fill;
};
