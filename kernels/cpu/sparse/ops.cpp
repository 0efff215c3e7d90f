#include "ops.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dedelayed::sparse {
namespace {

// Row and column of positions that are taken in their order. Most are neighbours, which spares a division.
class Cursor {
 public:
  explicit Cursor(int width) : width_(width) {}

  void go(std::int32_t position) {
    if (position == last_ + 1 && x + 1 < width_) {
      ++x;
    } else {
      y = position / width_, x = position - y * width_;
    }
    last_ = position;
  }

  int y = 0, x = 0;

 private:
  int width_;
  std::int32_t last_ = -2;
};

void convolve(const Node& node, const Map& in, const Map& to, const std::int32_t* positions, int count,
              const std::int32_t* places, Workspace& work, float* out) {
  work.pixels.resize(static_cast<std::size_t>(count));
  Cursor at(to.width);
  for (int i = 0; i < count; ++i) {
    at.go(positions[i]);
    work.pixels[i] = in.at(at.y * node.stride[0] - node.before[0], at.x * node.stride[1] - node.before[1]);
  }
  work.offsets.clear(), work.lengths.clear();
  int depth = 0;
  for (const Segment& segment : node.segments) {
    work.offsets.push_back((segment.row * in.pitch + segment.col) * in.channels);
    work.lengths.push_back(segment.length);
    depth += segment.length;
  }
  const ConvJob job{node.weight.data(), node.bias.data(), work.offsets.data(), work.lengths.data(),
                    static_cast<int>(node.segments.size()), depth, node.channels, places};
  work.convolve(job, work.pixels.data(), count, out);
}

// A transposed convolution whose taps do not overlap: for the positions of each tap a convolution of one cell.
void convolve_apart(const Plan& plan, const Node& node, const Map& in, const Map& to, const std::int32_t* positions,
                    int count, const std::int32_t* places, Workspace& work, float* out) {
  const Axis &rows = plan.rows(node.windows[0]), &cols = plan.cols(node.windows[0]);
  work.by_tap.resize(static_cast<std::size_t>(rows.taps) * cols.taps);
  for (Workspace::Tap& tap : work.by_tap) tap.begin(static_cast<std::size_t>(count));
  Cursor at(to.width);
  for (int i = 0; i < count; ++i) {
    at.go(positions[i]);
    const int row = rows.first_tap[at.y], col = cols.first_tap[at.x];
    const std::int32_t place = places ? places[i] : i;
    if (row < 0 || col < 0) {
      std::copy_n(node.bias.data(), node.channels, out + static_cast<std::int64_t>(place) * node.channels);
      continue;
    }
    Workspace::Tap& tap = work.by_tap[static_cast<std::size_t>(row) * cols.taps + col];
    tap.places[static_cast<std::size_t>(tap.count)] = place;
    tap.pixels[static_cast<std::size_t>(tap.count++)] = in.at(rows.taps_of(at.y)[row], cols.taps_of(at.x)[col]);
  }
  const std::int64_t offset = 0;
  const float* weight = node.weight.data();
  for (const Workspace::Tap& tap : work.by_tap) {
    const ConvJob job{weight, node.bias.data(), &offset, &in.channels, 1, in.channels, node.channels, tap.places.data()};
    work.convolve(job, tap.pixels.data(), tap.count, out);
    weight += node.tap_weights;
  }
}

// Other convolutions in groups and transposed ones: tap by tap, by the tables of the footprint.
void convolve_taps(const Plan& plan, const Node& node, const Map& in, const Map& to, const std::int32_t* positions,
                   int count, float* out) {
  const Axis &rows = plan.rows(node.windows[0]), &cols = plan.cols(node.windows[0]);
  const int inputs = in.channels / node.groups, outputs = node.channels / node.groups;
  Cursor at(to.width);
  for (int i = 0; i < count; ++i, out += node.channels) {
    at.go(positions[i]);
    const std::int32_t *row = rows.taps_of(at.y), *col = cols.taps_of(at.x);
    std::copy_n(node.bias.data(), node.channels, out);
    for (int r = 0; r < rows.taps; ++r) {
      if (row[r] == rows.in) continue;
      for (int c = 0; c < cols.taps; ++c) {
        if (col[c] == cols.in) continue;
        const float* x = in.at(row[r], col[c]);
        const float* w = node.weight.data() + static_cast<std::size_t>(r * cols.taps + c) * inputs * node.channels;
        for (int k = 0; k < inputs; ++k, w += node.channels) {
          for (int g = 0; g < node.groups; ++g) {
            const float value = x[g * inputs + k];
            float* sum = out + g * outputs;
            const float* weight = w + g * outputs;
            for (int o = 0; o < outputs; ++o) sum[o] += value * weight[o];
          }
        }
      }
    }
  }
}

void convolve_depthwise(const Plan& plan, const Node& node, const Map& in, const Map& to, const std::int32_t* positions,
                        int count, float* out) {
  const Axis &rows = plan.rows(node.windows[0]), &cols = plan.cols(node.windows[0]);
  const int channels = node.channels;
  Cursor at(to.width);
  for (int i = 0; i < count; ++i, out += channels) {
    at.go(positions[i]);
    const std::int32_t *row = rows.taps_of(at.y), *col = cols.taps_of(at.x);
    std::copy_n(node.bias.data(), channels, out);
    for (int r = 0; r < rows.taps; ++r) {
      if (row[r] == rows.in) continue;
      for (int c = 0; c < cols.taps; ++c) {
        if (col[c] == cols.in) continue;
        const float* x = in.at(row[r], col[c]);
        const float* w = node.weight.data() + static_cast<std::size_t>(r * cols.taps + c) * channels;
        for (int k = 0; k < channels; ++k) out[k] += x[k] * w[k];
      }
    }
  }
}

template <class Combine>
void reduce(const Plan& plan, const Node& node, const Map& in, const Cursor& at, float start, float* out, Combine combine) {
  const Axis &rows = plan.rows(node.windows[0]), &cols = plan.cols(node.windows[0]);
  const std::int32_t *row = rows.taps_of(at.y), *col = cols.taps_of(at.x);
  std::fill_n(out, node.channels, start);
  for (int r = 0; r < rows.taps; ++r) {
    if (row[r] == rows.in) continue;
    for (int c = 0; c < cols.taps; ++c) {
      if (col[c] == cols.in) continue;
      const float* x = in.at(row[r], col[c]);
      for (int k = 0; k < node.channels; ++k) out[k] = combine(out[k], x[k]);
    }
  }
}

void pool(const Plan& plan, const Node& node, const Map& in, const Map& to, const std::int32_t* positions, int count,
          float* out) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Cursor at(to.width);
  for (int i = 0; i < count; ++i, out += node.channels) {
    at.go(positions[i]);
    const auto run = [&](float start, auto combine) { reduce(plan, node, in, at, start, out, combine); };
    // What is not a number wins, as in torch.
    switch (node.pool) {
      case Pool::kMax: run(-kInfinity, [](float a, float b) { return b > a || b != b ? b : a; }); continue;
      case Pool::kMin: run(kInfinity, [](float a, float b) { return b < a || b != b ? b : a; }); continue;
      default: run(0.0f, [](float a, float b) { return a + b; });
    }
    const float h = node.factors[0][at.y], w = node.factors[1][at.x];
    if (node.pool == Pool::kMean) {
      for (int k = 0; k < node.channels; ++k) out[k] /= h * w;
    } else if (node.pool == Pool::kMeanTwice) {
      for (int k = 0; k < node.channels; ++k) out[k] = out[k] / h / w;
    }
  }
}

// Bilinear: four cells, of which those outside of the map are left out; the weights of each axis one after the other.
void resize(const Plan& plan, const Node& node, const Map& in, const Map& to, const std::int32_t* positions, int count,
            Workspace& work, float* out) {
  const Axis &rows = plan.rows(node.windows[0]), &cols = plan.cols(node.windows[0]);
  const int channels = node.channels;
  work.line.resize(static_cast<std::size_t>(channels));
  float* line = work.line.data();
  Cursor at(to.width);
  for (int i = 0; i < count; ++i, out += channels) {
    at.go(positions[i]);
    const std::int32_t *row = rows.taps_of(at.y), *col = cols.taps_of(at.x);
    const float* row_weight = node.factors[0].data() + static_cast<std::size_t>(at.y) * rows.taps;
    const float* col_weight = node.factors[1].data() + static_cast<std::size_t>(at.x) * cols.taps;
    if (rows.taps == 2 && cols.taps == 2 && row[0] != rows.in && row[1] != rows.in && col[0] != cols.in && col[1] != cols.in) {
      const float *a = in.at(row[0], col[0]), *b = in.at(row[0], col[1]), *c = in.at(row[1], col[0]), *d = in.at(row[1], col[1]);
      const float left = col_weight[0], right = col_weight[1], up = row_weight[0], down = row_weight[1];
      for (int k = 0; k < channels; ++k) {
        const float above = 0.0f + left * a[k] + right * b[k], below = 0.0f + left * c[k] + right * d[k];
        out[k] = 0.0f + up * above + down * below;
      }
      continue;
    }
    std::fill_n(out, channels, 0.0f);
    for (int r = 0; r < rows.taps; ++r) {
      if (row[r] == rows.in) continue;
      std::fill_n(line, channels, 0.0f);
      for (int c = 0; c < cols.taps; ++c) {
        if (col[c] == cols.in) continue;
        const float* from = in.at(row[r], col[c]);
        for (int k = 0; k < channels; ++k) line[k] += col_weight[c] * from[k];
      }
      for (int k = 0; k < channels; ++k) out[k] += row_weight[r] * line[k];
    }
  }
}

// The cell of an input that a position reads, or null where that is padding.
const float* cell_of(const Plan& plan, const Node& node, const std::vector<Map>& maps, int input, int y, int x) {
  const Axis &rows = plan.rows(node.windows[input]), &cols = plan.cols(node.windows[input]);
  const int row = rows.taps_of(y)[0], col = cols.taps_of(x)[0];
  return row == rows.in || col == cols.in ? nullptr : maps[node.inputs[input]].at(row, col);
}

// Whether a part takes every channel of the input's cell at the same position, so that neighbours can go together.
bool is_whole(const Plan& plan, const Node& node, const std::vector<Map>& maps, const Part& part) {
  if (part.input < 0 || !part.straight) return false;
  const int window = node.windows[part.input];
  return plan.rows(window).is_point && plan.cols(window).is_point && maps[node.inputs[part.input]].channels == node.channels &&
         static_cast<int>(part.channels.size()) == node.channels;
}

void move(const Plan& plan, const Node& node, const std::vector<Map>& maps, int width, const std::int32_t* positions,
          int count, float* out) {
  if (node.parts.size() == 1 && is_whole(plan, node, maps, node.parts[0])) {
    const Map& in = maps[node.inputs[node.parts[0].input]];
    for (int i = 0; i < count;) {
      const int n = run_length(positions + i, count - i, width);
      const std::ptrdiff_t floats = static_cast<std::ptrdiff_t>(n) * node.channels;
      std::copy_n(in.cell(positions[i]), floats, out + static_cast<std::ptrdiff_t>(i) * node.channels);
      i += n;
    }
    return;
  }
  Cursor at(width);
  for (int i = 0; i < count; ++i, out += node.channels) {
    at.go(positions[i]);
    for (const Part& part : node.parts) {
      const int n = static_cast<int>(part.input < 0 ? part.constant.size() : part.channels.size());
      float* to = out + part.first;
      if (part.input < 0) {
        std::copy_n(part.constant.data(), n, to);
        continue;
      }
      const float* from = cell_of(plan, node, maps, part.input, at.y, at.x);
      if (!from) {
        std::fill_n(to, n, node.fill);
      } else if (part.straight) {
        std::copy_n(from + part.channels[0], n, to);
      } else {
        for (int c = 0; c < n; ++c) to[c] = from[part.channels[c]];
      }
    }
  }
}

template <class Combine>
void combine_all(const float* a, const float* b, float* out, int n, Combine combine) {
  for (int k = 0; k < n; ++k) out[k] = combine(a[k], b[k]);
}

void binary(const Plan& plan, const Node& node, const std::vector<Map>& maps, int width, const std::int32_t* positions,
            int count, Workspace& work, float* out) {
  const int n = node.channels;
  work.line.resize(2 * static_cast<std::size_t>(n));
  const float alpha = node.alpha;
  const bool together = is_whole(plan, node, maps, node.parts[0]) && is_whole(plan, node, maps, node.parts[1]);
  int length = 1;
  for (int i = 0; i < count; i += length, out += static_cast<std::ptrdiff_t>(length) * n) {
    if (together) length = run_length(positions + i, count - i, width);
    const int y = positions[i] / width, x = positions[i] % width;
    const float* operand[2];
    for (int k = 0; k < 2; ++k) {
      const Part& part = node.parts[k];
      if (part.input < 0) {
        operand[k] = part.constant.data();
        continue;
      }
      const float* from = cell_of(plan, node, maps, part.input, y, x);
      operand[k] = from + part.channels[0];
      if (part.straight) continue;
      float* to = work.line.data() + static_cast<std::ptrdiff_t>(k) * n;
      for (int c = 0; c < n; ++c) to[c] = from[part.channels[c]];
      operand[k] = to;
    }
    const auto run = [&](auto combine) { combine_all(operand[0], operand[1], out, n * length, combine); };
    switch (node.binary) {
      case Binary::kAdd: run([alpha](float a, float b) { return a + alpha * b; }); break;
      case Binary::kSubtract: run([alpha](float a, float b) { return a - alpha * b; }); break;
      case Binary::kMultiply: run([](float a, float b) { return a * b; }); break;
      case Binary::kDivide: run([](float a, float b) { return a / b; }); break;
      case Binary::kMaximum: run([](float a, float b) { return a > b || a != a ? a : b; }); break;
      case Binary::kMinimum: run([](float a, float b) { return a < b || a != a ? a : b; }); break;
      case Binary::kPrelu: run([](float a, float b) { return a > 0 ? a : a * b; }); break;
    }
  }
}

// Clamping that lets through what is not a number.
inline float clamped(float x, float low, float high) {
  const float above = x < low ? low : x;
  return above > high ? high : above;
}

template <class F>
void each(float* values, std::int64_t count, F function) {
  for (std::int64_t i = 0; i < count; ++i) values[i] = function(values[i]);
}

}  // namespace

bool is_copy(const Plan& plan, const Node& node, const std::vector<Map>& maps) {
  return node.kind == Kind::kMove && node.parts.size() == 1 && node.parts[0].input == 0 && node.inputs.size() == 1 &&
         node.parts[0].channels.size() == static_cast<std::size_t>(node.channels) && node.parts[0].channels[0] == 0 &&
         is_whole(plan, node, maps, node.parts[0]);
}

bool takes_places(const Node& node) { return node.kind == Kind::kConv || node.tap_weights > 0; }

void compute(const Plan& plan, const Node& node, const std::vector<Map>& maps, const std::int32_t* positions, int count,
             const std::int32_t* places, Workspace& work, float* out) {
  const Map& in = maps[node.inputs[0]];
  const Map& to = maps[&node - plan.nodes.data()];
  switch (node.kind) {
    case Kind::kConv: return convolve(node, in, to, positions, count, places, work, out);
    case Kind::kTaps:
      if (node.tap_weights > 0) return convolve_apart(plan, node, in, to, positions, count, places, work, out);
      return convolve_taps(plan, node, in, to, positions, count, out);
    case Kind::kDepthwise: return convolve_depthwise(plan, node, in, to, positions, count, out);
    case Kind::kPool: return pool(plan, node, in, to, positions, count, out);
    case Kind::kResize: return resize(plan, node, in, to, positions, count, work, out);
    case Kind::kMove: return move(plan, node, maps, to.width, positions, count, out);
    case Kind::kBinary: return binary(plan, node, maps, to.width, positions, count, work, out);
    case Kind::kInput:
    case Kind::kGiven: return;
  }
}

void apply(const std::vector<Function>& epilogue, float* values, std::int64_t count) {
  for (const Function& f : epilogue) {
    const float a = f.a, b = f.b, c = f.c;
    const auto run = [&](auto function) { each(values, count, function); };
    switch (f.unary) {
      case Unary::kClamp: run([=](float x) { return clamped(x, a, b); }); break;
      case Unary::kLeaky: run([=](float x) { return x > 0 ? x : x * a; }); break;
      case Unary::kHardswish: run([](float x) { return x * clamped(x + 3.0f, 0.0f, 6.0f) / 6.0f; }); break;
      case Unary::kHardsigmoid: run([](float x) { return clamped(x + 3.0f, 0.0f, 6.0f) / 6.0f; }); break;
      case Unary::kSigmoid: run([](float x) { return 1.0f / (1.0f + std::exp(-x)); }); break;
      case Unary::kSilu: run([](float x) { return x / (1.0f + std::exp(-x)); }); break;
      case Unary::kTanh: run([](float x) { return std::tanh(x); }); break;
      case Unary::kGelu: run([](float x) { return 0.5f * x * (1.0f + std::erf(x * 0.70710678f)); }); break;
      case Unary::kGeluTanh:
        run([](float x) { return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x))); });
        break;
      // alpha, scale and input scale, in torch's order of arguments.
      case Unary::kElu: run([=](float x) { return x > 0 ? x * b : std::expm1(x * c) * a * b; }); break;
      case Unary::kExp: run([](float x) { return std::exp(x); }); break;
      case Unary::kLog: run([](float x) { return std::log(x); }); break;
      case Unary::kSqrt: run([](float x) { return std::sqrt(x); }); break;
      case Unary::kAbs: run([](float x) { return std::fabs(x); }); break;
      case Unary::kNegate: run([](float x) { return -x; }); break;
      case Unary::kFloor: run([](float x) { return std::floor(x); }); break;
      case Unary::kCeil: run([](float x) { return std::ceil(x); }); break;
      case Unary::kRound: run([](float x) { return std::nearbyint(x); }); break;
      case Unary::kAdd: run([=](float x) { return x + a; }); break;
      case Unary::kMultiply: run([=](float x) { return x * a; }); break;
      case Unary::kDivide: run([=](float x) { return x / a; }); break;
      case Unary::kSubtractFrom: run([=](float x) { return a - x; }); break;
      case Unary::kSquare: run([](float x) { return x * x; }); break;
    }
  }
}

}  // namespace dedelayed::sparse
