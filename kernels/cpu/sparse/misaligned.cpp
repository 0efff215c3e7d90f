// Where motion does not vouch for cached values, exactly: dedelayed_ros/sparse/alignment.py's `misaligned`.
//
// Codecs' vectors are those of blocks, so that most rows of a grid move as the row above, and neighbours in a row alike:
// what is found out for one of them is used for all.
#include <algorithm>

#include "motion.h"

namespace dedelayed::sparse {
namespace {

// Whether the taps of output p lie `expected` inputs beyond those of the output `cells` before it.
bool moves(const Axis& axis, int p, int cells, int expected, bool tapped) {
  if (cells == 0) return !tapped || expected == 0;
  const int source = std::clamp(p - cells, 0, axis.out - 1);
  return axis.inside[p] && axis.inside[source] && axis.phase[p] == axis.phase[source] &&
         (!tapped || axis.base[p] - axis.base[source] == expected);
}

// Neighbours in a row of outputs that moved by one displacement, and so did all that they read, by `expected` inputs; or
// that read what moved in more than one way.
struct Stretch {
  int first, last;
  std::int32_t key, expected;
  bool tapped, unlike;
};

class Rows {
 public:
  Rows(const Axis& rows, const Axis& cols, const Moved& out, const Moved& source)
      : rows_(rows), cols_(cols), out_(out), source_(source) {
    differs_.assign(static_cast<std::size_t>(cols.in) + 1, 0), first_ = differs_;
  }

  // Rows one after the other, from the first one on.
  const std::vector<Stretch>& find(int y) {
    if (is_as_above(y)) return stretches_;
    read(y);
    stretches_.clear();
    const std::int32_t* keys = out_.still ? nullptr : out_.key.data() + static_cast<std::size_t>(y) * cols_.out;
    for (int x = 0; x < cols_.out; ++x) {
      Stretch now{x, x + 1, keys ? keys[x] : 0, 0, rows_.tapped[y] && cols_.tapped[x], false};
      if (now.tapped && !source_.still) {
        now.expected = first_[cols_.base[x]];
        const std::int32_t* column = cols_.taps_of(x);
        std::int32_t unlike = 0;
        for (int k = 0; k < cols_.taps; ++k) {
          if (column[k] != cols_.in) unlike |= differs_[column[k]] | (first_[column[k]] ^ now.expected);
        }
        now.unlike = unlike != 0;
      }
      if (x && stretches_.back().key == now.key && stretches_.back().tapped == now.tapped &&
          stretches_.back().unlike == now.unlike && (now.unlike || stretches_.back().expected == now.expected)) {
        stretches_.back().last = now.last;
      } else {
        stretches_.push_back(now);
      }
    }
    return stretches_;
  }

 private:
  const Axis &rows_, &cols_;
  const Moved &out_, &source_;
  std::vector<std::int32_t> differs_, first_;  // by input column: the first row's key, and whether another row has another
  std::vector<Stretch> stretches_;
  std::vector<int> reads_, read_above_;  // of the row and the one before: rows that stand for those that they read

  // Whether a row moved as the one before and reads rows that moved as those which that one read.
  bool is_as_above(int y) {
    reads_.swap(read_above_);
    reads_.clear();
    const std::int32_t* tap = rows_.taps_of(y);
    for (int k = 0; k < rows_.taps; ++k) {
      if (tap[k] != rows_.in) reads_.push_back(source_.still ? 0 : source_.alike[tap[k]]);
    }
    return y && (out_.still || out_.alike[y] == out_.alike[y - 1]) && reads_ == read_above_;
  }

  void read(int y) {
    if (source_.still || !rows_.tapped[y]) return;
    const int width = cols_.in;
    const auto row = [&](int input) { return source_.key.data() + static_cast<std::size_t>(input) * width; };
    const std::int32_t* top = row(rows_.base[y]);
    std::int32_t *first = first_.data(), *differs = differs_.data();
    for (int x = 0; x < width; ++x) first[x] = top[x], differs[x] = top[x] == kNowhere;
    const std::int32_t* tap = rows_.taps_of(y);
    for (int k = 0; k < rows_.taps; ++k) {
      if (tap[k] == rows_.in || tap[k] == rows_.base[y]) continue;
      const std::int32_t* other = row(tap[k]);
      for (int x = 0; x < width; ++x) differs[x] |= other[x] ^ top[x];
    }
  }
};

// By column, whether outputs that moved so do not find their taps where they moved to: found once for each displacement.
class Columns {
 public:
  explicit Columns(const Axis& axis) : axis_(axis) {}

  const std::uint8_t* strays(int cells, int expected, bool tapped) {
    for (const Known& known : known_) {
      if (known.cells == cells && known.expected == expected && known.tapped == tapped) return known.strays.data();
    }
    known_.push_back({cells, expected, tapped, std::vector<std::uint8_t>(static_cast<std::size_t>(axis_.out))});
    std::vector<std::uint8_t>& strays = known_.back().strays;
    for (int x = 0; x < axis_.out; ++x) strays[x] = !moves(axis_, x, cells, expected, tapped);
    return strays.data();
  }

 private:
  struct Known {
    int cells, expected;
    bool tapped;
    std::vector<std::uint8_t> strays;
  };
  const Axis& axis_;
  std::vector<Known> known_;
};

void add_unlike(const Axis& rows, const Axis& cols, const Moved& out, const Moved& source, Set& bad) {
  Rows moving(rows, cols, out, source);
  Columns columns(cols);
  for (int y = 0; y < bad.height; ++y) {
    std::uint8_t* flag = bad.row(y);
    for (const Stretch& s : moving.find(y)) {
      if (s.key == kNowhere) continue;  // flagged already
      if (!s.unlike && !(s.key | s.expected)) continue;
      if (s.unlike || !moves(rows, y, key_rows(s.key), key_rows(s.expected), s.tapped)) {
        std::fill(flag + s.first, flag + s.last, 1);
        bad.rows[y] = 1;
        continue;
      }
      const std::uint8_t* strays = columns.strays(key_cols(s.key), key_cols(s.expected), s.tapped);
      std::uint8_t any = 0;
      for (int x = s.first, last = s.last; x < last; ++x) flag[x] |= strays[x], any |= strays[x];
      bad.rows[y] |= any;
    }
  }
}

}  // namespace

void flag_nowhere(const Moved& moved, const Grid& grid, Set& bad) {
  bad.resize(grid.height, grid.width);
  if (moved.still) return;
  for (int y = 0, width = grid.width; y < grid.height; ++y) {
    const std::int32_t* key = moved.key.data() + static_cast<std::size_t>(y) * width;
    std::uint8_t* flag = bad.row(y);
    std::uint8_t any = 0;
    for (int x = 0; x < width; ++x) flag[x] = key[x] == kNowhere, any |= flag[x];
    bad.rows[y] = any;
  }
}

void find_misaligned(const Plan& plan, const Grid& grid, const Alignment& alignment, const std::vector<Moved>& moved,
                     Set& bad) {
  const Moved& out = moved[alignment.out];
  flag_nowhere(out, grid, bad);
  for (const auto& [window, slot, from] : alignment.sources) {
    const Axis &rows = plan.rows(window), &cols = plan.cols(window);
    if (out.still && moved[slot].still) continue;
    if (alignment.out == slot && rows.is_point && cols.is_point && rows.out > 0) {
      bool one_phase = true;
      for (const Axis* axis : {&rows, &cols}) {
        for (int p = 1; p < axis->out; ++p) one_phase &= axis->phase[p] == axis->phase[0];
      }
      if (one_phase) continue;  // it moves as what it reads
    }
    add_unlike(rows, cols, out, moved[slot], bad);
  }
}

}  // namespace dedelayed::sparse
