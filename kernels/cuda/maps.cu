// Feature maps that are remembered: new inputs, cached values brought to where motion says, late decisions.
#include "commit.h"

// An input: what differs from the cached value by more than its threshold is new (Eq. 16).
template <class T>
__device__ void take_input(const Layer& layer) {
  const int lane = threadIdx.x % 32, words = words_of(layer.width), total = words * layer.height;
  const int cells = layer.height * layer.width;
  const T* given = static_cast<const T*>(layer.given);
  for (int w = blockIdx.x * kWarps + threadIdx.x / 32; w < total; w += gridDim.x * kWarps) {
    const int y = w / words, x = w % words * 32 + lane, position = y * layer.width + x;
    const bool inside = x < layer.width;
    const bool usable = inside && layer.key[position] != kNowhere;
    T* cell = static_cast<T*>(layer.origin) + static_cast<long long>(position) * layer.channels;
    bool dirty = inside && !usable;
    if (usable && layer.given_is_dirty >= 0) {
      dirty = layer.given_is_dirty;
    } else if (usable && given) {
      for (int c = 0; c < layer.channels && !dirty; ++c) {
        dirty = !agrees(to_float(given[static_cast<long long>(c) * cells + position]), to_float(cell[c]), layer.threshold);
      }
    }
    if (dirty) {
      for (int c = 0; c < layer.channels; ++c) {
        cell[c] = given ? given[static_cast<long long>(c) * cells + position] : from_float<T>(0.0f);
      }
      if (layer.remainder) layer.remainder[position] = layer.remainder[cells + position] = 0;
    }
    const unsigned word = __ballot_sync(kFullWarp, dirty);
    const unsigned flags = __ballot_sync(kFullWarp, inside && !usable);
    if (lane == 0) {
      layer.dirty[w] = word;
      if (layer.flags) layer.flags[w] = flags;
      if (word) atomicAdd(layer.count + 1, static_cast<unsigned>(__popc(word)));
    }
  }
}

// Cached values of the strays, from their places in the old map.
template <class T>
__device__ void gather_strays(const Layer& layer) {
  const int count = static_cast<int>(*layer.stray_count);
  const T* old = static_cast<const T*>(layer.origin) + static_cast<long long>(layer.shift) * layer.channels;
  T* scratch = static_cast<T*>(layer.scratch);
  for (int i = blockIdx.x * kWarps + threadIdx.x / 32; i < count; i += gridDim.x * kWarps) {
    const int position = layer.strays[i], key = layer.key[position];
    const long long from = position - key_rows(key) * layer.width - key_cols(key);
    for (int c = threadIdx.x % 32; c < layer.channels; c += 32) {
      scratch[static_cast<long long>(i) * layer.channels + c] = old[from * layer.channels + c];
    }
  }
}

// The same values, to their places in the new one. Apart, so that no position is written before it is read.
template <class T>
__device__ void scatter_strays(const Layer& layer) {
  const int count = static_cast<int>(*layer.stray_count);
  const T* scratch = static_cast<const T*>(layer.scratch);
  T* map = static_cast<T*>(layer.origin);
  for (int i = blockIdx.x * kWarps + threadIdx.x / 32; i < count; i += gridDim.x * kWarps) {
    const long long to = layer.strays[i];
    for (int c = threadIdx.x % 32; c < layer.channels; c += 32) {
      map[to * layer.channels + c] = scratch[static_cast<long long>(i) * layer.channels + c];
    }
  }
}

// Results whose channels came from several blocks: keep a position's cached ones or take all.
template <class T>
__device__ void commit_staged(const Layer& layer) {
  const int count = static_cast<int>(*layer.count), lane = threadIdx.x % 32;
  for (int i = blockIdx.x * kWarps + threadIdx.x / 32; i < count; i += gridDim.x * kWarps) {
    const int position = layer.list[i];
    T* cell = static_cast<T*>(layer.origin) + static_cast<long long>(position) * layer.channels;
    const T* fresh = static_cast<const T*>(layer.fresh) + static_cast<long long>(i) * layer.channels;
    bool unlike = false;
    if (layer.key[position] != kNowhere) {
      for (int c = lane; c < layer.channels; c += 32) {
        unlike |= !agrees(to_float(fresh[c]), to_float(cell[c]), layer.threshold);
      }
    }
    if (is_kept(layer, position, unlike)) continue;
    for (int c = lane; c < layer.channels; c += 32) cell[c] = fresh[c];
    if (lane == 0) mark(layer, position);
  }
}

#define MAP_KERNEL(name, type, body)                                                                     \
  extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) name(const Layer* layers, int number) {         \
    body<type>(layers[number]);                                                                          \
  }                                                                                                      \
  CU_KERNEL(name, kThreads)

MAP_KERNEL(take_f32, float, take_input)
MAP_KERNEL(take_f16, __half, take_input)
MAP_KERNEL(gather_f32, float, gather_strays)
MAP_KERNEL(gather_f16, __half, gather_strays)
MAP_KERNEL(scatter_f32, float, scatter_strays)
MAP_KERNEL(scatter_f16, __half, scatter_strays)
MAP_KERNEL(commit_f32, float, commit_staged)
MAP_KERNEL(commit_f16, __half, commit_staged)
