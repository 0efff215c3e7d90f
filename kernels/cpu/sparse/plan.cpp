#include "plan.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "conv.h"

namespace dedelayed::sparse {
namespace {

class Reader {
 public:
  Reader(const std::int64_t* words, std::int64_t word_count, const float* floats, std::int64_t float_count)
      : word_(words), words_end_(words + word_count), float_(floats), floats_end_(floats + float_count) {}

  std::int64_t wide() {
    require(word_ != words_end_);
    return *word_++;
  }
  int number(std::int64_t least, std::int64_t most) {
    const std::int64_t value = wide();
    require(value >= least && value <= most);
    return static_cast<int>(value);
  }
  int size() { return number(0, 1 << 30); }
  bool flag() { return number(0, 1) != 0; }
  double wide_real() {  // the bits of a double in a word
    const std::int64_t bits = wide();
    double value;
    std::memcpy(&value, &bits, sizeof value);
    require(value >= 0.0);
    return value;
  }
  float real() {
    require(float_ != floats_end_);
    return *float_++;
  }
  template <class T>
  std::vector<T> numbers(std::int64_t count, std::int64_t least, std::int64_t most) {
    require(count >= 0 && count <= words_end_ - word_);
    std::vector<T> result(static_cast<std::size_t>(count));
    for (auto& item : result) item = static_cast<T>(number(least, most));
    return result;
  }
  std::vector<float> reals(std::int64_t count) {
    require(count >= 0 && count <= floats_end_ - float_);
    std::vector<float> result(float_, float_ + count);
    float_ += count;
    return result;
  }
  void finish() const { require(word_ == words_end_ && float_ == floats_end_); }
  static void require(bool condition) {
    if (!condition) throw std::invalid_argument("description of a plan");
  }

 private:
  const std::int64_t* word_;
  const std::int64_t* words_end_;
  const float* float_;
  const float* floats_end_;
};

constexpr std::int64_t kLargest = 30000;  // cells along an axis: displacements have 16 bits

// Whether taps follow each other at one distance, and outputs likewise.
void find_distances(Axis& axis) {
  const auto distance = [&](auto one, auto next, int count) {
    for (int k = 0; k < count; ++k) {
      if (one(k) != axis.in && next(k) != axis.in) return next(k) - one(k);
    }
    return 1;
  };
  const auto tap = [&](int p, int k) { return axis.taps_of(p)[k]; };
  const int middle = axis.out / 2;
  axis.apart = axis.step = 1;
  if (axis.taps > 1) axis.apart = distance([&](int p) { return tap(p, 0); }, [&](int p) { return tap(p, 1); }, axis.out);
  if (middle) axis.step = distance([&](int k) { return tap(middle - 1, k); }, [&](int k) { return tap(middle, k); }, axis.taps);
  axis.is_even = false;
  for (int p = 0; p < axis.out; ++p) {
    const int k = axis.first_tap[p];
    if (k < 0) continue;
    axis.start = axis.taps_of(p)[k] - p * axis.step - k * axis.apart;
    axis.is_even = axis.step > 0 && axis.apart > 0;
    break;
  }
  for (int p = 0; p < axis.out; ++p) {
    for (int k = 0; k < axis.taps; ++k) {
      const int at = axis.start + p * axis.step + k * axis.apart;
      axis.is_even &= axis.taps_of(p)[k] == (at < 0 || at >= axis.in ? axis.in : at);
    }
  }
}

Axis read_axis(Reader& read) {
  Axis axis{};
  axis.in = read.number(1, kLargest);
  axis.out = read.number(1, kLargest);
  axis.taps = read.number(1, kLargest);
  axis.fixed = read.flag();
  axis.tap = read.numbers<std::int32_t>(static_cast<std::int64_t>(axis.out) * axis.taps, 0, axis.in);
  axis.inside = read.numbers<std::uint8_t>(axis.out, 0, 1);
  axis.tapped = read.numbers<std::uint8_t>(axis.out, 0, 1);
  axis.base = read.numbers<std::int32_t>(axis.out, 0, axis.in - 1);
  axis.phase = read.numbers<std::int32_t>(axis.out, 0, axis.out);
  for (int p = 0; p < axis.out; ++p) {
    const std::int32_t* tap = axis.taps_of(p);
    const auto* first = std::find_if(tap, tap + axis.taps, [&](std::int32_t in) { return in != axis.in; });
    axis.first_tap.push_back(first == tap + axis.taps ? -1 : static_cast<int>(first - tap));
  }
  axis.is_point = axis.taps == 1 && axis.in == axis.out;
  for (int p = 0; axis.is_point && p < axis.out; ++p) axis.is_point = axis.tap[p] == p;
  find_distances(axis);
  axis.is_beside = axis.out == axis.in * axis.taps;
  for (int p = 0; axis.is_beside && p < axis.out; ++p) {
    const std::int32_t* tap = axis.taps_of(p);
    for (int k = 0; k < axis.taps; ++k) axis.is_beside &= tap[k] == (k == p % axis.taps ? p / axis.taps : axis.in);
  }
  return axis;
}

Grid read_grid(Reader& read) {
  Grid grid;
  grid.height = read.number(1, kLargest);
  grid.width = read.number(1, kLargest);
  for (auto& stride : grid.stride) stride = {read.number(0, 1 << 30), read.number(0, 1 << 30)};
  return grid;
}

// Whether no output along an axis is reached by more than one tap.
bool is_apart(const Axis& axis) {
  for (int p = 0; p < axis.out; ++p) {
    const std::int32_t* tap = axis.taps_of(p);
    if (std::count_if(tap, tap + axis.taps, [&](std::int32_t in) { return in != axis.in; }) > 1) return false;
  }
  return true;
}

// Weights [tap, in, out] of a transposed convolution whose taps do not overlap, packed for each tap by itself or, where
// outputs lie side by side, for those of a row as one with so many times the channels.
void pack_taps(Node& node, const std::vector<float>& weight, const Axis& cols, int in, const Blocks& blocks) {
  node.beside = cols.is_beside ? cols.taps : 1;
  const int taps = node.kernel[0] * node.kernel[1], out = node.channels;
  std::vector<float> joined(static_cast<std::size_t>(in) * node.beside * out);
  for (int tap = 0; tap < taps; tap += node.beside) {
    float* to = joined.data();
    for (int i = 0; i < in; ++i) {
      for (int k = tap; k < tap + node.beside; ++k, to += out) {
        std::copy_n(weight.data() + (static_cast<std::size_t>(k) * in + i) * out, out, to);
      }
    }
    const Aligned<float> own = packed(joined.data(), {in}, node.beside * out, blocks);
    node.weight.insert(node.weight.end(), own.begin(), own.end());
    node.tap_weights = own.size();
  }
  const Aligned<float> bias = node.bias;
  for (int k = 1; k < node.beside; ++k) node.bias.insert(node.bias.end(), bias.begin(), bias.end());
  pad_bias(node.bias, blocks);
}

void read_convolution(Reader& read, Plan& plan, Node& node) {
  for (auto* pair : {&node.kernel, &node.stride, &node.before, &node.dilation}) {
    for (int& item : *pair) item = read.number(0, kLargest);
  }
  node.groups = read.number(1, kLargest);
  const int in = plan.nodes[node.inputs[0]].channels, out = node.channels;
  const int taps = node.kernel[0] * node.kernel[1];
  Reader::require(taps > 0 && in % node.groups == 0 && out % node.groups == 0);
  // As [tap, input of the group, output].
  const std::vector<float> weight = read.reals(static_cast<std::int64_t>(taps) * (in / node.groups) * out);
  const std::vector<float> bias = read.reals(out);
  node.bias.assign(bias.begin(), bias.end());
  node.tap_weights = 0;
  const Blocks blocks = convolve_blocks(plan);
  if (node.kind == Kind::kTaps && node.groups == 1 && is_apart(plan.rows(node.windows[0])) &&
      is_apart(plan.cols(node.windows[0]))) {
    pack_taps(node, weight, plan.cols(node.windows[0]), in, blocks);
    Border& border = plan.borders[node.inputs[0]];
    border.after = std::max(border.after, kStepsBeyond);
    return;
  }
  if (node.kind != Kind::kConv) {
    node.weight.assign(weight.begin(), weight.end());
    return;
  }
  Reader::require(node.groups == 1);
  const bool joined = node.dilation[1] == 1 || node.kernel[1] == 1;  // the taps of a row lie side by side
  for (int r = 0; r < node.kernel[0]; ++r) {
    for (int c = 0; c < (joined ? 1 : node.kernel[1]); ++c) {
      const int length = joined ? node.kernel[1] * in : in;
      const std::int64_t row = static_cast<std::int64_t>(r) * node.dilation[0];
      node.segments.push_back({row, static_cast<std::int64_t>(c) * node.dilation[1], length});
    }
  }
  std::vector<int> lengths;
  for (const Segment& segment : node.segments) lengths.push_back(segment.length);
  node.weight = packed(weight.data(), lengths, out, blocks);
  pad_bias(node.bias, blocks);
  const Grid& from = plan.grids[plan.nodes[node.inputs[0]].grid];
  const Grid& to = plan.grids[node.grid];
  Border& border = plan.borders[node.inputs[0]];
  const auto beyond = [&](int axis, int cells, int outputs) {
    const int last = (outputs - 1) * node.stride[axis] - node.before[axis] + (node.kernel[axis] - 1) * node.dilation[axis];
    return std::max(0, last - (cells - 1));
  };
  border.top = std::max(border.top, node.before[0]);
  border.left = std::max(border.left, node.before[1]);
  border.bottom = std::max(border.bottom, beyond(0, from.height, to.height));
  border.right = std::max(border.right, beyond(1, from.width, to.width));
  border.after = std::max(border.after, kStepsBeyond * node.stride[1]);
}

Part read_part(Reader& read, const Plan& plan, const Node& node) {
  Part part;
  part.input = read.number(-1, static_cast<std::int64_t>(node.inputs.size()) - 1);
  part.first = read.number(0, node.channels);
  const int count = read.number(0, node.channels - part.first);
  part.straight = false;
  if (part.input < 0) {
    part.constant = read.reals(count);
    return part;
  }
  const int inputs = plan.nodes[node.inputs[part.input]].channels;
  part.channels = read.numbers<std::int32_t>(count, 0, inputs - 1);
  part.straight = true;
  for (int c = 1; c < count; ++c) part.straight &= part.channels[c] == part.channels[0] + c;
  return part;
}

void read_operation(Reader& read, Plan& plan, Node& node) {
  const Grid& grid = plan.grids[node.grid];
  switch (node.kind) {
    case Kind::kConv:
    case Kind::kTaps:
    case Kind::kDepthwise: return read_convolution(read, plan, node);
    case Kind::kPool:
      node.pool = static_cast<Pool>(read.number(0, 4));
      node.factors[0] = read.reals(grid.height);
      node.factors[1] = read.reals(grid.width);
      return;
    case Kind::kResize:
      for (int axis = 0; axis < 2; ++axis) {
        const Axis& table = axis ? plan.cols(node.windows[0]) : plan.rows(node.windows[0]);
        node.factors[axis] = read.reals(static_cast<std::int64_t>(table.out) * table.taps);
      }
      return;
    case Kind::kMove: node.fill = read.real(); break;
    case Kind::kBinary:
      node.binary = static_cast<Binary>(read.number(0, 6));
      node.alpha = read.real();
      break;
    default: return;
  }
  const int parts = read.number(1, kLargest);
  for (int k = 0; k < parts; ++k) node.parts.push_back(read_part(read, plan, node));
  if (node.kind == Kind::kBinary) {
    Reader::require(parts == 2);
    for (const Part& part : node.parts) Reader::require(part.first == 0);
  }
}

void read_epilogue(Reader& read, const Plan& plan, Node& node) {
  constexpr int kAddend = static_cast<int>(Unary::kSquare) + 1;  // not a function of one number
  node.addend = -1;
  const int steps = read.number(0, kLargest);
  for (int k = 0; k < steps; ++k) {
    const int code = read.number(0, kAddend);
    const float a = read.real(), b = read.real(), c = read.real();
    if (code != kAddend) {
      (node.addend < 0 ? node.epilogue : node.after).push_back({static_cast<Unary>(code), a, b, c});
      continue;
    }
    Reader::require(node.addend < 0 && a >= 0 && a < static_cast<float>(node.inputs.size()));
    node.addend = static_cast<int>(a);
    const Node& added = plan.nodes[node.inputs[node.addend]];
    Reader::require(added.channels == node.channels && plan.grids[added.grid].cells() == plan.grids[node.grid].cells());
  }
}

Node read_node(Reader& read, Plan& plan) {
  Node node{};
  const std::int64_t before = static_cast<std::int64_t>(plan.nodes.size());
  node.kind = static_cast<Kind>(read.number(0, 9));
  node.motion = static_cast<Motion>(read.number(0, 2));
  node.grid = read.number(0, static_cast<std::int64_t>(plan.grids.size()) - 1);
  node.channels = read.number(1, 1 << 20);
  node.threshold = read.real();
  const int inputs = read.number(0, kLargest);
  node.inputs = read.numbers<int>(inputs, 0, before - 1);
  node.windows = read.numbers<int>(inputs, 0, static_cast<std::int64_t>(plan.windows.size()) - 1);
  for (int k = 0; k < inputs; ++k) {
    const Grid& from = plan.grids[plan.nodes[node.inputs[k]].grid];
    const Grid& to = plan.grids[node.grid];
    const Axis &rows = plan.rows(node.windows[k]), &cols = plan.cols(node.windows[k]);
    Reader::require(rows.in == from.height && cols.in == from.width && rows.out == to.height && cols.out == to.width);
  }
  const bool is_input = node.kind == Kind::kInput || node.kind == Kind::kLevels || node.kind == Kind::kGiven;
  Reader::require(is_input == (inputs == 0));
  node.carrier = read.number(0, std::max(inputs - 1, 0));
  const int entries = read.number(0, inputs);
  node.entries = read.numbers<int>(entries, 0, inputs - 1);
  read_epilogue(read, plan, node);
  read_operation(read, plan, node);
  return node;
}

template <class T>
int numbered(std::vector<T>& items, const T& item) {
  const auto found = std::find(items.begin(), items.end(), item);
  if (found != items.end()) return static_cast<int>(found - items.begin());
  items.push_back(item);
  return static_cast<int>(items.size()) - 1;
}

// The input whose displacement a point-wise node can take over, or -1; Python's Plan.leader has the rule.
int leader(const Plan& plan, const Node& node) {
  for (std::size_t k = 0; k < node.inputs.size(); ++k) {
    const int window = node.windows[k];
    const bool is_point = plan.rows(window).is_point && plan.cols(window).is_point;
    if (!is_point && plan.grids[plan.nodes[node.inputs[k]].grid].cells() > 1) return -1;
  }
  for (const int input : node.inputs) {
    if (plan.nodes[input].motion == Motion::kFrame && plan.nodes[input].grid == node.grid) return input;
  }
  return -1;
}

// Nodes on one grid that follow the frame share a displacement; what keeps a remainder has its own.
void number_displacements(Plan& plan) {
  plan.slots.push_back({Slot::Source::kStill, 0, -1});
  std::vector<int> of_grid(plan.grids.size(), -1);
  for (std::size_t n = 0; n < plan.nodes.size(); ++n) {
    Node& node = plan.nodes[n];
    const Grid& grid = plan.grids[node.grid];
    if (node.motion == Motion::kNone || grid.cells() == 1 || plan.mode == Mode::kTiles) {
      node.moved = 0;
    } else if (node.motion == Motion::kFrame && plan.mode != Mode::kTolerant) {
      if (of_grid[node.grid] < 0) {
        const bool sampled = plan.mode == Mode::kPaper || plan.mode == Mode::kOff;
        of_grid[node.grid] = static_cast<int>(plan.slots.size());
        const auto source = sampled ? Slot::Source::kSampled : Slot::Source::kExact;
        plan.slots.push_back({source, node.grid, static_cast<int>(n)});
      }
      node.moved = of_grid[node.grid];
    } else if (const int followed = leader(plan, node); node.motion == Motion::kFrame && followed >= 0) {
      node.moved = plan.nodes[followed].moved;
    } else if (node.motion == Motion::kFrame) {
      node.moved = static_cast<int>(plan.slots.size());
      plan.slots.push_back({Slot::Source::kTolerant, node.grid, static_cast<int>(n)});
    } else {
      const auto source = node.inputs.empty() ? Slot::Source::kCarried : Slot::Source::kPropagated;
      node.moved = static_cast<int>(plan.slots.size());
      plan.slots.push_back({source, node.grid, static_cast<int>(n)});
    }
    const bool frame = node.motion == Motion::kFrame;
    const bool believed = frame && (plan.mode == Mode::kPaper || plan.mode == Mode::kOff);
    Alignment alignment{node.moved, frame && plan.mode == Mode::kTolerant, believed, {}};
    for (std::size_t k = 0; k < node.inputs.size(); ++k) {
      const Node& before = plan.nodes[node.inputs[k]];
      const bool placed = plan.grids[before.grid].cells() > 1 && before.motion != Motion::kNone;
      alignment.sources.push_back({node.windows[k], before.moved, placed ? before.grid : -1});
    }
    node.alignment = numbered(plan.alignments, alignment);
  }
}

}  // namespace

Plan read_plan(const std::int64_t* words, std::int64_t word_count, const float* floats, std::int64_t float_count,
               Element element, int instruction_set) {
  Reader read(words, word_count, floats, float_count);
  Plan plan;
  plan.element = element;
  plan.instruction_set = instruction_set;
  plan.frame_height = read.number(1, kLargest);
  plan.frame_width = read.number(1, kLargest);
  plan.mode = static_cast<Mode>(read.number(0, 5));
  plan.r_max = read.number(1, 1 << 30);
  plan.s_max = read.number(1, 1 << 30);
  plan.remainder = read.wide_real();
  plan.spread = read.wide_real();
  if (plan.mode == Mode::kTiles) {
    plan.tile = read.number(1, kLargest);
    plan.logits = read.number(-1, kLargest);
    plan.margin = read.wide_real();
  }
  const std::vector<int> roles = read.numbers<int>(read.size(), 0, 3);
  const int axes = read.size();
  for (int k = 0; k < axes; ++k) plan.axes.push_back(read_axis(read));
  const int windows = read.size();
  for (int k = 0; k < windows; ++k) plan.windows.push_back({read.number(0, axes - 1), read.number(0, axes - 1)});
  const int grids = read.size();
  for (int k = 0; k < grids; ++k) plan.grids.push_back(read_grid(read));
  const int nodes = read.size();
  plan.borders.resize(static_cast<std::size_t>(nodes));
  for (int k = 0; k < nodes; ++k) plan.nodes.push_back(read_node(read, plan));
  Reader::require(roles.size() == plan.nodes.size() && plan.logits < nodes);
  for (std::size_t k = 0; k < roles.size(); ++k) plan.nodes[k].where_read = roles[k] & 1, plan.nodes[k].kept = roles[k] & 2;
  read.finish();
  number_displacements(plan);
  return plan;
}

}  // namespace dedelayed::sparse
