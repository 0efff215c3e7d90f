// Sets of positions: which of them motion does not vouch for, how they grow through footprints, and their lists.
//
// A warp makes a word of a set. Where footprints are small each lane asks for a position of its own; where they are wide
// (a global pool reads the whole picture) the lanes share the footprint of one position after the other: k*_wide.
#include "plan.h"

// Whether the taps of output p lie `expected` inputs beyond those of the output `cells` before it.
__device__ inline bool moves(const Axis& axis, int p, int cells, int expected, bool tapped) {
  if (cells == 0) return !tapped || expected == 0;
  int source = p - cells;
  source = source < 0 ? 0 : source < axis.out ? source : axis.out - 1;
  return axis.inside[p] && axis.inside[source] && axis.phase[p] == axis.phase[source] &&
         (!tapped || axis.base[p] - axis.base[source] == expected);
}

// Whether one of the taps from `first` on, every `step`-th, has another displacement than `expected`, or none.
__device__ inline bool reads_unlike(const Reach& reach, int y, int x, int expected, int first, int step) {
  for (int t = first; t < reach.rows.taps * reach.cols.taps; t += step) {
    const int row = reach.rows.tap[y * reach.rows.taps + t / reach.cols.taps];
    const int col = reach.cols.tap[x * reach.cols.taps + t % reach.cols.taps];
    if (row == reach.rows.in || col == reach.cols.in) continue;
    const int key = reach.key[row * reach.cols.in + col];
    if (key != expected || key == kNowhere) return true;
  }
  return false;
}

__device__ inline bool is_misaligned(const Check& check, int y, int x, int first, int step) {
  const int key = check.key[y * check.width + x];
  if (key == kNowhere) return true;
  for (int k = 0; k < check.reach_count; ++k) {
    const Reach& reach = check.reaches[k];
    const bool tapped = reach.rows.tapped[y] && reach.cols.tapped[x];
    int expected = 0;
    if (tapped) {
      expected = reach.key[reach.rows.base[y] * reach.cols.in + reach.cols.base[x]];
      if (expected == kNowhere || reads_unlike(reach, y, x, expected, first, step)) return true;
    }
    if (!moves(reach.rows, y, key_rows(key), key_rows(expected), tapped) ||
        !moves(reach.cols, x, key_cols(key), key_cols(expected), tapped)) {
      return true;
    }
  }
  return false;
}

// The least value of the warp, or the value itself where each lane has a position of its own.
template <bool kWide>
__device__ inline int least(int value) {
  for (int offset = 16; kWide && offset > 0; offset /= 2) {
    const int other = __shfl_sync(kFullWarp, value, (threadIdx.x % 32) ^ offset);
    value = other < value ? other : value;
  }
  return value;
}

// Whether the output moves along an axis across padding, or from an output of another kind.
__device__ inline bool crosses(const Axis& axis, int p, int source, int cells) {
  return cells != 0 && (axis.fixed || !axis.inside[p] || !axis.inside[source]);
}

// The same with tolerance: a tap may be off by the one cell that rounding explains, and vectors may differ a little. All
// lanes of a warp have to ask.
template <bool kWide>
__device__ bool is_misaligned_within(const Check& check, int y, int x, int first, int step) {
  const int key = check.key[y * check.width + x];
  bool bad = key == kNowhere;
  const int moved[2] = {bad ? 0 : key_rows(key), bad ? 0 : key_cols(key)};
  for (int k = 0; k < check.reach_count; ++k) {
    const Reach& reach = check.reaches[k];
    const Axis* axes[2] = {&reach.rows, &reach.cols};
    const int here[2] = {y, x};
    int expected[2];
    for (int a = 0; a < 2; ++a) {
      int source = here[a] - moved[a];
      source = source < 0 ? 0 : source < axes[a]->out ? source : axes[a]->out - 1;
      bad |= crosses(*axes[a], here[a], source, moved[a]);
      expected[a] = axes[a]->base[here[a]] - axes[a]->base[source];
    }
    // Bounds of the vectors as least values of two signs, so that one function of the warp serves both.
    int low[2] = {32767, 32767}, high[2] = {32767, 32767};
    for (int t = first; t < reach.rows.taps * reach.cols.taps; t += step) {
      const int row = reach.rows.tap[y * reach.rows.taps + t / reach.cols.taps];
      const int col = reach.cols.tap[x * reach.cols.taps + t % reach.cols.taps];
      if (row == reach.rows.in || col == reach.cols.in) continue;
      const int at = row * reach.cols.in + col, found = reach.key[at];
      const int off[2] = {expected[0] - key_rows(found), expected[1] - key_cols(found)};
      bad |= found == kNowhere;
      for (int a = 0; a < 2; ++a) {
        bad |= (off[a] < 0 ? -off[a] : off[a]) > (check.placed[a] ? 1 : 0);
        if (!reach.range) continue;
        const Range& range = reach.range[at];
        low[a] = range.low[a] < low[a] ? range.low[a] : low[a];
        high[a] = -range.high[a] < high[a] ? -range.high[a] : high[a];
      }
    }
    const bool tapped = reach.rows.tapped[y] && reach.cols.tapped[x];
    for (int a = 0; a < 2; ++a) {
      const int lowest = least<kWide>(low[a]), highest = -least<kWide>(high[a]);
      bad |= tapped && reach.range && check.placed[a] && static_cast<float>(highest - lowest) > check.spread[a];
    }
  }
  return bad;
}

// Whether one of the taps from `first` on, every `step`-th, is in the set.
__device__ inline bool reads_any(const unsigned* set, const Source& source, int y, int x, int first, int step) {
  for (int t = first; t < source.rows.taps * source.cols.taps; t += step) {
    const int row = source.rows.tap[y * source.rows.taps + t / source.cols.taps];
    const int col = source.cols.tap[x * source.cols.taps + t % source.cols.taps];
    if (row != source.rows.in && col != source.cols.in && contains(set, source.width, row, col)) return true;
  }
  return false;
}

// The word of a set whose positions begin at x: the test is asked with where it starts in a footprint, and its step.
template <bool kWide, class Test>
__device__ inline unsigned word_of(int x, int width, Test test) {
  const int lane = threadIdx.x % 32;
  if (!kWide) {
    const bool on = x + lane < width && test(x + lane, 0, 1);
    return __ballot_sync(kFullWarp, on);
  }
  unsigned word = 0;
  for (int n = 0; n < 32 && x + n < width; ++n) {
    const bool on = test(x + n, lane, 32);
    if (__any_sync(kFullWarp, on)) word |= 1u << n;
  }
  return word;
}

template <bool kWide>
__device__ void find_misaligned(const Check& check) {
  const int words = words_of(check.width), total = words * check.height;
  for (int w = blockIdx.x * kWarps + threadIdx.x / 32; w < total; w += gridDim.x * kWarps) {
    const int y = w / words;
    const unsigned word = word_of<kWide>(w % words * 32, check.width, [&](int x, int first, int step) {
      return check.tolerant ? is_misaligned_within<kWide>(check, y, x, first, step) : is_misaligned(check, y, x, first, step);
    });
    if (threadIdx.x % 32 == 0) check.bad[w] = word;
  }
}

// What an operation has to compute: where motion does not vouch for it, or an input that it reads is new. The list of
// these positions keeps their order within a block, so that neighbours are computed together.
template <bool kWide>
__device__ void find_candidates(const Layer& layer) {
  CU_SHARED(int, sizes, [kWarps]);
  CU_SHARED(int, starts, [kWarps]);
  const int words = words_of(layer.width), total = words * layer.height;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int first_word = blockIdx.x * kWarps; first_word < total; first_word += gridDim.x * kWarps) {
    const int w = first_word + warp, y = w / words, x = w % words * 32;
    unsigned word = 0;
    if (w < total) {
      const unsigned bad = layer.bad[w];
      word = bad | word_of<kWide>(x, layer.width, [&](int column, int first, int step) {
        bool any = false;
        for (int k = 0; k < layer.source_count && !any; ++k) {
          any = reads_any(layer.sources[k].dirty, layer.sources[k], y, column, first, step);
        }
        return any;
      });
      if (layer.width - x < 32) word &= (1u << (layer.width - x)) - 1u;
      if (layer.flags) {
        unsigned flags = bad | word_of<kWide>(x, layer.width, [&](int column, int first, int step) {
          bool any = false;
          for (int k = 0; k < layer.source_count && !any; ++k) {
            any = reads_any(layer.sources[k].flags, layer.sources[k], y, column, first, step);
          }
          return any;
        });
        if (layer.width - x < 32) flags &= (1u << (layer.width - x)) - 1u;
        if (lane == 0) layer.flags[w] = flags;
      }
      if (lane == 0) layer.dirty[w] = 0;
    }
    if (lane == 0) sizes[warp] = __popc(word);
    __syncthreads();
    if (threadIdx.x == 0) {
      int size = 0;
      for (int n = 0; n < kWarps; ++n) {
        starts[n] = size;
        size += sizes[n];
      }
      const int first = size ? static_cast<int>(atomicAdd(layer.count, static_cast<unsigned>(size))) : 0;
      for (int n = 0; n < kWarps; ++n) starts[n] += first;
    }
    __syncthreads();
    if (word >> lane & 1u) layer.list[starts[warp] + __popc(word & ((1u << lane) - 1u))] = y * layer.width + x + lane;
  }
}

extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) misaligned(const Check* checks, int number) {
  find_misaligned<false>(checks[number]);
}
CU_KERNEL(misaligned, kThreads)

extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) misaligned_wide(const Check* checks, int number) {
  find_misaligned<true>(checks[number]);
}
CU_KERNEL(misaligned_wide, kThreads)

extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) candidates(const Layer* layers, int number) {
  find_candidates<false>(layers[number]);
}
CU_KERNEL(candidates, kThreads)

extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) candidates_wide(const Layer* layers, int number) {
  find_candidates<true>(layers[number]);
}
CU_KERNEL(candidates_wide, kThreads)

// Positions that have a cached value, and not where the displacement of most of the picture brings it.
extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) strays(const Slot* slots, int number) {
  const Slot& slot = slots[number];
  const int cells = slot.height * slot.width, lane = threadIdx.x % 32;
  for (int first = (blockIdx.x * kWarps + threadIdx.x / 32) * 32; first < cells; first += gridDim.x * kThreads) {
    const int p = first + lane;
    const int key = p < cells ? slot.key[p] : kNowhere;
    const bool strays = key != kNowhere && key != slot.main;
    const unsigned word = __ballot_sync(kFullWarp, strays);
    if (!word) continue;
    int start = 0;
    if (lane == 0) start = static_cast<int>(atomicAdd(slot.stray_count, static_cast<unsigned>(__popc(word))));
    start = __shfl_sync(kFullWarp, start, 0);
    if (strays) slot.strays[start + __popc(word & ((1u << lane) - 1u))] = p;
  }
}
CU_KERNEL(strays, kThreads)
