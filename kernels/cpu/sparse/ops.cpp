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

// Between which a convolution's results are kept.
struct Bounds {
  float low = -std::numeric_limits<float>::infinity(), high = std::numeric_limits<float>::infinity();
};

template <class T>
void convolve(const Node& node, const Map<T>& in, const Map<T>& to, const std::int32_t* positions, int count,
              const std::int32_t* places, const Bounds& bounds, Workspace<T>& work, T* out) {
  work.pixels.resize(static_cast<std::size_t>(count));
  const std::ptrdiff_t step = static_cast<std::ptrdiff_t>(node.stride[1]) * in.channels;
  for (int i = 0, together; i < count; i += together) {
    together = run_length(positions + i, count - i, to.width);
    const int y = positions[i] / to.width, x = positions[i] % to.width;
    const T* pixel = in.at(y * node.stride[0] - node.before[0], x * node.stride[1] - node.before[1]);
    for (int k = 0; k < together; ++k) work.pixels[i + k] = pixel + k * step;
  }
  work.offsets.clear(), work.lengths.clear();
  int depth = 0;
  for (const Segment& segment : node.segments) {
    work.offsets.push_back((segment.row * in.pitch + segment.col) * in.channels);
    work.lengths.push_back(segment.length);
    depth += segment.length;
  }
  const ConvJob job{node.weight.data(), node.bias.data(), work.offsets.data(), work.lengths.data(),
                    static_cast<int>(node.segments.size()), depth, node.channels, places, node.channels, bounds.low, bounds.high,
                    step, work.scratch_for(depth, static_cast<int>(node.segments.size()))};
  work.conv.convolve(job, work.pixels.data(), count, out);
}

// The result where no tap reaches.
template <class T>
void fill_with_bias(const Node& node, const Bounds& bounds, Workspace<T>& work, T* out) {
  work.line.assign(node.bias.begin(), node.bias.begin() + node.channels);
  const Function clamp{Unary::kClamp, bounds.low, bounds.high, 0.0f};
  work.runs.keep(work.line.data(), node.channels, &clamp, 1, out);
}

// A transposed convolution whose taps do not overlap: for the positions of each tap, or of each row of them where those lie
// side by side, a convolution of one cell.
template <class T>
void convolve_apart(const Plan& plan, const Node& node, const Map<T>& in, const Map<T>& to, const std::int32_t* positions,
                    int count, const std::int32_t* places, const Bounds& bounds, Workspace<T>& work, T* out) {
  const Axis &rows = plan.rows(node.windows[0]), &cols = plan.cols(node.windows[0]);
  const int groups = cols.taps / node.beside;  // of a row's taps
  work.by_tap.resize(static_cast<std::size_t>(rows.taps) * groups);
  for (typename Workspace<T>::Tap& tap : work.by_tap) tap.begin(static_cast<std::size_t>(count));
  const std::int64_t offset = 0;
  void* const scratch = work.scratch_for(in.channels, 1);
  const auto job = [&](std::ptrdiff_t number, const std::int32_t* to_places) {
    const float* weight = node.weight.data() + number * static_cast<std::ptrdiff_t>(node.tap_weights);
    return ConvJob{weight, node.bias.data(), &offset, &in.channels, 1, in.channels, node.beside * node.channels, to_places,
                   node.channels, bounds.low, bounds.high, in.channels, scratch};
  };
  for (int i = 0, together; i < count; i += together) {
    together = run_length(positions + i, count - i, to.width);
    const int y = positions[i] / to.width, x = positions[i] % to.width, row = rows.first_tap[y];
    const T* inputs = row < 0 ? nullptr : in.at(rows.taps_of(y)[row], 0);
    const std::ptrdiff_t first = static_cast<std::ptrdiff_t>(std::max(row, 0)) * groups;
    for (int k = 0, many; k < together; k += many) {
      many = 1;
      const int col = cols.first_tap[x + k];
      const std::int32_t place = places ? places[i + k] : i + k;
      if (row < 0 || col < 0) {
        fill_with_bias(node, bounds, work, out + static_cast<std::int64_t>(place) * node.channels);
        continue;
      }
      const T* pixel = inputs + static_cast<std::ptrdiff_t>(cols.taps_of(x + k)[col]) * in.channels;
      const int skip = node.beside > 1 ? col : 0;  // outputs of its pixel before this one
      const std::ptrdiff_t number = first + col - skip;
      const int pixels = skip ? 0 : (together - k) / node.beside;
      if (!pixels) {  // some of a pixel's outputs
        many = std::min(node.beside - skip, together - k);
        work.cells.resize(static_cast<std::size_t>(node.beside) * node.channels);
        work.conv.convolve(job(number, nullptr), &pixel, 1, work.cells.data());
        std::copy_n(work.cells.data() + static_cast<std::ptrdiff_t>(skip) * node.channels,
                    static_cast<std::ptrdiff_t>(many) * node.channels, out + static_cast<std::int64_t>(place) * node.channels);
        continue;
      }
      typename Workspace<T>::Tap& tap = work.by_tap[static_cast<std::size_t>(number)];
      many = node.beside > 1 ? pixels * node.beside : 1;
      for (int done = 0; done < many; done += node.beside, pixel += in.channels) tap.add(place + done, pixel);
    }
  }
  for (std::size_t number = 0; number < work.by_tap.size(); ++number) {
    const typename Workspace<T>::Tap& tap = work.by_tap[number];
    work.conv.convolve(job(static_cast<std::ptrdiff_t>(number), tap.places.data()), tap.pixels.data(), tap.count, out);
  }
}

// Other convolutions in groups and transposed ones: tap by tap, by the tables of the footprint.
template <class T>
void convolve_taps(const Plan& plan, const Node& node, const Map<T>& in, const Map<T>& to, const std::int32_t* positions,
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
        const T* x = in.at(row[r], col[c]);
        const float* w = node.weight.data() + static_cast<std::size_t>(r * cols.taps + c) * inputs * node.channels;
        for (int k = 0; k < inputs; ++k, w += node.channels) {
          for (int g = 0; g < node.groups; ++g) {
            const float value = widened(x[g * inputs + k]);
            float* sum = out + g * outputs;
            const float* weight = w + g * outputs;
            for (int o = 0; o < outputs; ++o) sum[o] += value * weight[o];
          }
        }
      }
    }
  }
}

template <class T>
void convolve_depthwise(const Plan& plan, const Node& node, const Map<T>& in, const Map<T>& to, const std::int32_t* positions,
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
        const T* x = in.at(row[r], col[c]);
        const float* w = node.weight.data() + static_cast<std::size_t>(r * cols.taps + c) * channels;
        for (int k = 0; k < channels; ++k) out[k] += widened(x[k]) * w[k];
      }
    }
  }
}

template <class T, class Combine>
void reduce(const Plan& plan, const Node& node, const Map<T>& in, const Cursor& at, float start, float* out, Combine combine) {
  const Axis &rows = plan.rows(node.windows[0]), &cols = plan.cols(node.windows[0]);
  const std::int32_t *row = rows.taps_of(at.y), *col = cols.taps_of(at.x);
  std::fill_n(out, node.channels, start);
  for (int r = 0; r < rows.taps; ++r) {
    if (row[r] == rows.in) continue;
    for (int c = 0; c < cols.taps; ++c) {
      if (col[c] == cols.in) continue;
      const T* x = in.at(row[r], col[c]);
      for (int k = 0; k < node.channels; ++k) out[k] = combine(out[k], widened(x[k]));
    }
  }
}

template <class T>
void pool(const Plan& plan, const Node& node, const Map<T>& in, const Map<T>& to, const std::int32_t* positions, int count,
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

// Of one position the cells that its taps read, without those outside of the map; the weights of each axis one after the other.
template <class T>
void resize_one(const Plan& plan, const Node& node, const Map<T>& in, int y, int x, float* line, float* out) {
  const Axis &rows = plan.rows(node.windows[0]), &cols = plan.cols(node.windows[0]);
  const std::int32_t *row = rows.taps_of(y), *col = cols.taps_of(x);
  const float* row_weight = node.factors[0].data() + static_cast<std::size_t>(y) * rows.taps;
  const float* col_weight = node.factors[1].data() + static_cast<std::size_t>(x) * cols.taps;
  std::fill_n(out, node.channels, 0.0f);
  for (int r = 0; r < rows.taps; ++r) {
    if (row[r] == rows.in) continue;
    std::fill_n(line, node.channels, 0.0f);
    for (int c = 0; c < cols.taps; ++c) {
      if (col[c] == cols.in) continue;
      const T* from = in.at(row[r], col[c]);
      for (int k = 0; k < node.channels; ++k) line[k] += col_weight[c] * widened(from[k]);
    }
    for (int k = 0; k < node.channels; ++k) out[k] += row_weight[r] * line[k];
  }
}

// Whether an output lies between two inputs.
bool is_between(const Axis& axis, int output) {
  const std::int32_t* tap = axis.taps_of(output);
  return axis.taps == 2 && tap[0] != axis.in && tap[1] != axis.in;
}

// Neighbours of bilinear resampling, which are most positions of most resampling, go together.
template <class T>
void resize(const Plan& plan, const Node& node, const Map<T>& in, const Map<T>& to, const std::int32_t* positions, int count,
            Workspace<T>& work, float* out) {
  const Axis &rows = plan.rows(node.windows[0]), &cols = plan.cols(node.windows[0]);
  work.line.resize(static_cast<std::size_t>(node.channels));
  for (int i = 0, together; i < count; i += together) {
    together = run_length(positions + i, count - i, to.width);
    const int y = positions[i] / to.width, x = positions[i] % to.width;
    const bool between = is_between(rows, y);
    for (int k = 0; k < together;) {
      int inside = 0;
      while (between && k + inside < together && is_between(cols, x + k + inside)) ++inside;
      if (inside) {
        const std::int32_t* row = rows.taps_of(y);
        const float *row_weight = node.factors[0].data() + 2 * y, *col_weight = node.factors[1].data() + 2 * (x + k);
        const T *upper = in.at(row[0], 0), *lower = in.at(row[1], 0);
        work.runs.mix({upper, lower, row_weight[0], row_weight[1], cols.taps_of(x + k), col_weight, node.channels}, inside, out);
      } else {
        resize_one(plan, node, in, y, x + k, work.line.data(), out);
        inside = 1;
      }
      k += inside;
      out += static_cast<std::ptrdiff_t>(inside) * node.channels;
    }
  }
}

// The cell of an input that a position reads, or null where that is padding.
template <class T>
const T* cell_of(const Plan& plan, const Node& node, const std::vector<Map<T>>& maps, int input, int y, int x) {
  const Axis &rows = plan.rows(node.windows[input]), &cols = plan.cols(node.windows[input]);
  const int row = rows.taps_of(y)[0], col = cols.taps_of(x)[0];
  return row == rows.in || col == cols.in ? nullptr : maps[node.inputs[input]].at(row, col);
}

// Whether a part takes every channel of the input's cell at the same position, so that neighbours can go together.
template <class T>
bool is_whole(const Plan& plan, const Node& node, const std::vector<Map<T>>& maps, const Part& part) {
  if (part.input < 0 || !part.straight) return false;
  const int window = node.windows[part.input];
  return plan.rows(window).is_point && plan.cols(window).is_point && maps[node.inputs[part.input]].channels == node.channels &&
         static_cast<int>(part.channels.size()) == node.channels;
}

template <class T>
void move(const Plan& plan, const Node& node, const std::vector<Map<T>>& maps, int width, const std::int32_t* positions,
          int count, Workspace<T>& work, float* out) {
  if (node.parts.size() == 1 && is_whole(plan, node, maps, node.parts[0])) {
    const Map<T>& in = maps[node.inputs[node.parts[0].input]];
    for (int i = 0; i < count;) {
      const int n = run_length(positions + i, count - i, width);
      const std::ptrdiff_t values = static_cast<std::ptrdiff_t>(n) * node.channels;
      work.runs.widen(in.cell(positions[i]), values, out + static_cast<std::ptrdiff_t>(i) * node.channels);
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
      const T* from = cell_of(plan, node, maps, part.input, at.y, at.x);
      if (!from) {
        std::fill_n(to, n, node.fill);
      } else if (part.straight) {
        work.runs.widen(from + part.channels[0], n, to);
      } else {
        for (int c = 0; c < n; ++c) to[c] = widened(from[part.channels[c]]);
      }
    }
  }
}

template <class A, class B, class Combine>
void combine_all(const A* a, const B* b, float* out, int n, Combine combine) {
  for (int k = 0; k < n; ++k) out[k] = combine(widened(a[k]), widened(b[k]));
}

template <class T>
void binary(const Plan& plan, const Node& node, const std::vector<Map<T>>& maps, int width, const std::int32_t* positions,
            int count, Workspace<T>& work, float* out) {
  const int n = node.channels;
  work.line.resize(2 * static_cast<std::size_t>(n));
  const float alpha = node.alpha;
  const bool together = is_whole(plan, node, maps, node.parts[0]) && is_whole(plan, node, maps, node.parts[1]);
  int length = 1;
  for (int i = 0; i < count; i += length, out += static_cast<std::ptrdiff_t>(length) * n) {
    if (together) length = run_length(positions + i, count - i, width);
    const int y = positions[i] / width, x = positions[i] % width;
    // A cell as it is, or floats: constants, and channels in another order.
    const T* cell[2] = {};
    const float* floats[2];
    for (int k = 0; k < 2; ++k) {
      const Part& part = node.parts[k];
      floats[k] = part.constant.data();
      if (part.input < 0) continue;
      const T* from = cell_of(plan, node, maps, part.input, y, x);
      if (part.straight) {
        cell[k] = from + part.channels[0];
        continue;
      }
      float* to = work.line.data() + static_cast<std::ptrdiff_t>(k) * n;
      for (int c = 0; c < n; ++c) to[c] = widened(from[part.channels[c]]);
      floats[k] = to;
    }
    if (node.binary == Binary::kAdd && cell[0] && cell[1]) {
      work.runs.add(cell[0], cell[1], alpha, static_cast<std::ptrdiff_t>(n) * length, out);
      continue;
    }
    const auto run = [&](auto combine) {
      if (cell[0] && cell[1]) return combine_all(cell[0], cell[1], out, n * length, combine);
      if (cell[0]) return combine_all(cell[0], floats[1], out, n, combine);
      if (cell[1]) return combine_all(floats[0], cell[1], out, n, combine);
      combine_all(floats[0], floats[1], out, n, combine);
    };
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

}  // namespace

template <class T>
bool is_copy(const Plan& plan, const Node& node, const std::vector<Map<T>>& maps) {
  return node.kind == Kind::kMove && node.parts.size() == 1 && node.parts[0].input == 0 && node.inputs.size() == 1 &&
         node.parts[0].channels.size() == static_cast<std::size_t>(node.channels) && node.parts[0].channels[0] == 0 &&
         is_whole(plan, node, maps, node.parts[0]);
}

bool is_direct(const Node& node) { return node.kind == Kind::kConv || node.tap_weights > 0; }

template <class T>
std::size_t compute_direct(const Plan& plan, const Node& node, const std::vector<Map<T>>& maps, const std::int32_t* positions,
                           int count, const std::int32_t* places, Workspace<T>& work, T* out) {
  const Map<T>& in = maps[node.inputs[0]];
  const Map<T>& to = maps[&node - plan.nodes.data()];
  const bool clamps = !node.epilogue.empty() && node.epilogue[0].unary == Unary::kClamp;
  const Bounds bounds = clamps ? Bounds{node.epilogue[0].a, node.epilogue[0].b} : Bounds{};
  if (node.kind == Kind::kConv) {
    convolve(node, in, to, positions, count, places, bounds, work, out);
  } else {
    convolve_apart(plan, node, in, to, positions, count, places, bounds, work, out);
  }
  return clamps;
}

template <class T>
void compute(const Plan& plan, const Node& node, const std::vector<Map<T>>& maps, const std::int32_t* positions, int count,
             Workspace<T>& work, float* out) {
  const Map<T>& in = maps[node.inputs[0]];
  const Map<T>& to = maps[&node - plan.nodes.data()];
  switch (node.kind) {
    case Kind::kTaps: return convolve_taps(plan, node, in, to, positions, count, out);
    case Kind::kDepthwise: return convolve_depthwise(plan, node, in, to, positions, count, out);
    case Kind::kPool: return pool(plan, node, in, to, positions, count, out);
    case Kind::kResize: return resize(plan, node, in, to, positions, count, work, out);
    case Kind::kMove: return move(plan, node, maps, to.width, positions, count, work, out);
    case Kind::kBinary: return binary(plan, node, maps, to.width, positions, count, work, out);
    case Kind::kConv:  // is_direct
    case Kind::kInput:
    case Kind::kLevels:
    case Kind::kGiven: return;
  }
}

template std::size_t compute_direct(const Plan&, const Node&, const std::vector<Map<float>>&, const std::int32_t*, int,
                                    const std::int32_t*, Workspace<float>&, float*);
template std::size_t compute_direct(const Plan&, const Node&, const std::vector<Map<Bf16>>&, const std::int32_t*, int,
                                    const std::int32_t*, Workspace<Bf16>&, Bf16*);
template bool is_copy(const Plan&, const Node&, const std::vector<Map<float>>&);
template bool is_copy(const Plan&, const Node&, const std::vector<Map<Bf16>>&);
template void compute(const Plan&, const Node&, const std::vector<Map<float>>&, const std::int32_t*, int,
                      Workspace<float>&, float*);
template void compute(const Plan&, const Node&, const std::vector<Map<Bf16>>&, const std::int32_t*, int,
                      Workspace<Bf16>&, float*);

}  // namespace dedelayed::sparse
