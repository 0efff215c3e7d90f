// CUDA on a CPU: with this header g++ -std=c++20 compiles and runs the kernels of this folder as they are.
//
// Each thread of a block is a fiber with a stack of its own, so a barrier really waits, and a kernel that forgets one
// really reads too early. Blocks run one after the other. A launch takes its fibers in forward, reversed or shuffled
// order; a result that depends on it is a race. Shared memory starts as NaN, each array in an allocation of its own, so
// that AddressSanitizer sees its ends. Under ThreadSanitizer fibers are threads that only barriers and the ends of
// kernels order: it sees two accesses without a barrier between them, of one block or two, even where every order gives the
// right numbers.
//
// What has no counterpart here (inline PTX, cooperative groups, textures) the kernels do not use. Warp functions are
// for full warps. Barriers of threads that have returned, or of some of a block's threads, are errors.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <type_traits>
#include <utility>

#include "emulator_block.h"

namespace emulator {

template <class... Args>
struct Call {
  void (*kernel)(Args...);
  void** arguments;

  static void invoke(void* self) {
    const Call& call = *static_cast<Call*>(self);
    call.apply(std::index_sequence_for<Args...>{});
  }
  template <std::size_t... I>
  void apply(std::index_sequence<I...>) const {
    kernel(*static_cast<std::remove_cv_t<Args>*>(arguments[I])...);
  }
};

struct Kernel {
  void (*run)(void* function, Dim3 grid, Dim3 block, void** arguments, Order order, unsigned seed);
  void* function;
  int most_threads;
};

inline std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}

template <class... Args>
void run(void* function, Dim3 grid, Dim3 size, void** arguments, Order order, unsigned seed) {
  Call<Args...> call{reinterpret_cast<void (*)(Args...)>(function), arguments};
  Block& block = memory();
  block.scheduler.adopt();
  block.size = size, block.grid = grid;
  block.invoke = &Call<Args...>::invoke, block.call = &call;
  std::mt19937 random(seed);
  current() = &block;
  std::vector<std::unique_ptr<Pages>> pages;
  const unsigned blocks = grid.x * grid.y * grid.z;
  for (unsigned n = 0; n < blocks; ++n) {
    const unsigned b = order == Order::kReversed ? blocks - 1 - n : n;
    block.index = {b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)};
    run_block(block, n, order, random, pages);
  }
  acquire(&block.stop);
  current() = nullptr;
}

template <class... Args>
int add_kernel(const char* name, void (*kernel)(Args...), int most_threads) {
  kernels()[name] = {&run<Args...>, reinterpret_cast<void*>(kernel), most_threads};
  return 0;
}

}  // namespace emulator

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define threadIdx (::emulator::thread_index())
#define blockIdx (::emulator::block_index())
#define blockDim (::emulator::block_size())
#define gridDim (::emulator::grid_size())

#define CU_SHARED(type, name, dims)                       \
  using name##_array = type dims;                         \
  static const char name##_tag = 0;                       \
  name##_array& name = *static_cast<name##_array*>(::emulator::shared_array(&name##_tag, sizeof(name##_array)))

#define CU_KERNEL(name, threads) static const int name##_added = ::emulator::add_kernel(#name, &name, threads);

#define __syncthreads() ::emulator::wait_for_block()
#define __syncwarp() ((void)::emulator::exchange(0xffffffffu, 0, true))
#define __ballot_sync(mask, predicate) ::emulator::ballot(mask, predicate)
#define __any_sync(mask, predicate) (::emulator::ballot(mask, predicate) != 0)
#define __all_sync(mask, predicate) (::emulator::ballot(mask, predicate) == 0xffffffffu)
#define __shfl_sync(mask, value, source) ::emulator::shuffle(mask, value, source)
#define __popc(bits) __builtin_popcount(bits)

template <class T>
T atomicAdd(T* to, T value) { return __atomic_fetch_add(to, value, __ATOMIC_RELAXED); }
template <class T>
T atomicOr(T* to, T value) { return __atomic_fetch_or(to, value, __ATOMIC_RELAXED); }

inline float __int_as_float(int bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// Rounded each, where the device would join a product and a sum.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }

// Half precision, rounded to the nearest, ties to even, as the device converts it.
struct __half {
  unsigned short bits;
};

inline float __half2float(__half h) {
  const unsigned sign = (h.bits & 0x8000u) << 16, exponent = h.bits >> 10 & 31u, fraction = h.bits & 1023u;
  float value;
  if (exponent == 0) {
    value = std::ldexp(static_cast<float>(fraction), -24);
    return sign ? -value : value;
  }
  const unsigned word = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
  __builtin_memcpy(&value, &word, sizeof value);
  return value;
}

inline __half __float2half_rn(float value) {
  unsigned word;
  __builtin_memcpy(&word, &value, sizeof word);
  const unsigned sign = word >> 16 & 0x8000u, size = word & 0x7fffffffu;
  unsigned bits;
  if (size > 0x7f800000u) {
    bits = 0x7fffu;
  } else if (size >= 0x47800000u) {
    bits = 0x7c00u;
  } else if (size < 0x38800000u) {  // less than the least normal number: a whole number of 2^-24
    bits = static_cast<unsigned>(std::nearbyint(std::ldexp(std::fabs(value), 24)));
  } else {
    const unsigned kept = size - 0x38000000u;
    bits = (kept + 0xfffu + (kept >> 13 & 1u)) >> 13;
  }
  return {static_cast<unsigned short>(sign | bits)};
}

// The door for ctypes: arguments are given as to cuLaunchKernel. 0, or 1 for a kernel that is not there, 2 for a shape of
// the launch that the device would refuse.
extern "C" __attribute__((visibility("default"))) int emulator_launch(const char* name, const unsigned* grid,
                                                                      const unsigned* block, void** arguments,
                                                                      int order, unsigned seed) {
  const auto found = emulator::kernels().find(name);
  if (found == emulator::kernels().end()) return 1;
  const unsigned threads = block[0] * block[1] * block[2];
  if (threads < 1 || threads > static_cast<unsigned>(found->second.most_threads)) return 2;
  if (threads > emulator::kMostThreads) return 2;
  if (grid[0] < 1 || grid[1] < 1 || grid[2] < 1 || grid[1] > 65535 || grid[2] > 65535) return 2;
  found->second.run(found->second.function, {grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, arguments,
                    static_cast<emulator::Order>(order), seed);
  return 0;
}
