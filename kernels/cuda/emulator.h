// CUDA on a CPU: with this header g++ -std=c++20 compiles and runs the kernels of this folder as they are.
//
// Each thread of a block is a fiber with a stack of its own, so a barrier really waits, and a kernel that forgets one
// really reads too early. Blocks run one after the other. A launch takes its fibers in forward, reversed or shuffled
// order; a result that depends on it is a race. Shared memory starts as NaN, each array in an allocation of its own, so
// that AddressSanitizer sees its ends. Under ThreadSanitizer fibers are threads that only barriers and the ends of
// kernels order: it sees two accesses without a barrier between them even where every order gives the right numbers.
//
// What has no counterpart here (inline PTX, cooperative groups, textures) the kernels do not use. Warp functions are
// for full warps. Barriers of threads that have returned, or of some of a block's threads, are errors.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#if !defined(__x86_64__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#include <ucontext.h>
#define CU_UCONTEXT 1
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define CU_UNSEEN __attribute__((no_sanitize("thread"), noinline))
#else
#define CU_UNSEEN
#endif

namespace emulator {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};

enum class Order : int { kForward, kReversed, kShuffled };

constexpr int kWarp = 32;
constexpr std::size_t kStack = 128 * 1024;

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "emulator: %s\n", what);
  std::abort();
}

#if !defined(CU_UCONTEXT)
// Saves what a call has to keep, and goes on where `to` stopped.
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
.text
.weak emulator_switch
.type emulator_switch, @function
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_switch, .-emulator_switch
)");
#endif

// A stack and where its code has got to.
class Context {
 public:
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { leave(); }

  void prepare(void (*entry)()) {
    if (!stack_) stack_.reset(new char[kStack]);
#if defined(CU_UCONTEXT)
    getcontext(&at_);
    at_.uc_stack.ss_sp = stack_.get();
    at_.uc_stack.ss_size = kStack;
    at_.uc_link = nullptr;
    makecontext(&at_, entry, 0);
#else
    auto top = reinterpret_cast<std::uintptr_t>(stack_.get() + kStack) & ~std::uintptr_t{15};
    void** words = reinterpret_cast<void**>(top) - 8;  // six registers, the entry, and an address to return to
    std::memset(words, 0, 8 * sizeof(void*));
    words[6] = reinterpret_cast<void*>(entry);
    at_ = words;
#endif
#if defined(__SANITIZE_THREAD__)
    tsan_ = __tsan_create_fiber(0);
#endif
  }

  // Run `to` until it switches back. `ends`: this context is not continued.
  CU_UNSEEN static void swap(Context& from, Context& to, bool ends) {
    (void)ends;
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(to.tsan_, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    const void* bottom = to.stack_ ? to.stack_.get() : to.own_bottom_;
    __sanitizer_start_switch_fiber(ends ? nullptr : &fake, bottom, to.stack_ ? kStack : to.own_size_);
#endif
#if defined(CU_UCONTEXT)
    swapcontext(&from.at_, &to.at_);
#else
    emulator_switch(&from.at_, to.at_);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }

  // Called first by the code of a new context.
  static void arrive(Context& from) {
    (void)from;
#if defined(__SANITIZE_ADDRESS__)
    const void* bottom;
    std::size_t size;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
    if (!from.stack_) from.own_bottom_ = bottom, from.own_size_ = size;
#endif
  }

  void adopt() {
#if defined(__SANITIZE_THREAD__)
    tsan_ = __tsan_get_current_fiber();
    borrowed_ = true;
#endif
  }

  void leave() {
#if defined(__SANITIZE_THREAD__)
    if (tsan_ && !borrowed_) __tsan_destroy_fiber(tsan_);
    tsan_ = nullptr;
#endif
  }

 private:
  std::unique_ptr<char[]> stack_;
#if defined(CU_UCONTEXT)
  ucontext_t at_{};
#else
  void* at_ = nullptr;
#endif
#if defined(__SANITIZE_ADDRESS__)
  const void* own_bottom_ = nullptr;
  std::size_t own_size_ = 0;
#endif
#if defined(__SANITIZE_THREAD__)
  void* tsan_ = nullptr;
  bool borrowed_ = false;
#endif
};

struct Fiber {
  Context context;
  Dim3 thread;
  int number = 0;
  bool done = false;
  int block_phase = 0;  // barriers of the block that it has reached
  int warp_phase = 0;   // functions of the warp that it has reached
};

// What the lanes of a warp tell each other. Two of each: no lane is two functions ahead of another.
struct Warp {
  int arrived = 0, phase = 0, size = 0;
  unsigned value[2][kWarp] = {};
  char order[2] = {};
};

struct SharedArray {
  const void* tag;
  void* memory;
};

constexpr int kMostThreads = 1024, kMostArrays = 32;
constexpr std::size_t kArena = 48 * 1024, kAlignment = 32;

// Plain arrays: under ThreadSanitizer the fibers may touch this only through functions that it does not look into.
struct Block {
  Fiber* fibers = nullptr;
  Warp warps[kMostThreads / kWarp];
  Fiber* self = nullptr;
  Context scheduler;
  Dim3 index, size, grid;
  int room = 0, count = 0, arrived = 0, phase = 0, finished = 0;
  char order[2] = {};
  char start = 0, stop = 0;
  SharedArray shared[kMostArrays];
  int arrays = 0;
  char* arena = nullptr;  // all shared memory of a block, under ThreadSanitizer
  std::size_t arena_used = 0;
  void (*invoke)(void*) = nullptr;
  void* call = nullptr;
};

CU_UNSEEN inline Block*& current() {
  static Block* block = nullptr;
  return block;
}

CU_UNSEEN inline Dim3 thread_index() { return current()->self->thread; }
CU_UNSEEN inline Dim3 block_index() { return current()->index; }
CU_UNSEEN inline Dim3 block_size() { return current()->size; }
CU_UNSEEN inline Dim3 grid_size() { return current()->grid; }

CU_UNSEEN inline void switch_out(bool ends = false) {
  Block& block = *current();
  Context::swap(block.self->context, block.scheduler, ends);
}

CU_UNSEEN inline void release(void* order) {
  (void)order;
#if defined(__SANITIZE_THREAD__)
  __tsan_release(order);
#endif
}

CU_UNSEEN inline void acquire(void* order) {
  (void)order;
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(order);
#endif
}

CU_UNSEEN inline void wait_for_block() {
  Block& block = *current();
  Fiber& self = *block.self;
  if (block.finished) fail("a barrier that a thread of the block has not reached: it has returned");
  const int phase = self.block_phase++;
  release(&block.order[phase & 1]);
  if (++block.arrived == block.count) {
    block.arrived = 0;
    ++block.phase;
  }
  while (block.phase <= phase) switch_out();
  acquire(&block.order[phase & 1]);
}

// Every lane leaves a value and reads those of the others when all have. It orders no memory but that of __syncwarp.
CU_UNSEEN inline const unsigned* exchange(unsigned mask, unsigned value, bool orders) {
  Block& block = *current();
  Fiber& self = *block.self;
  Warp& warp = block.warps[self.number / kWarp];
  if (mask != 0xffffffffu || warp.size != kWarp) fail("a warp function for less than a full warp");
  const int phase = self.warp_phase++;
  warp.value[phase & 1][self.number % kWarp] = value;
  if (orders) release(&warp.order[phase & 1]);
  if (++warp.arrived == kWarp) {
    warp.arrived = 0;
    ++warp.phase;
  }
  while (warp.phase <= phase) switch_out();
  if (orders) acquire(&warp.order[phase & 1]);
  return warp.value[phase & 1];
}

CU_UNSEEN inline unsigned ballot(unsigned mask, bool predicate) {
  const unsigned* value = exchange(mask, predicate, false);
  unsigned bits = 0;
  for (int lane = 0; lane < kWarp; ++lane) bits |= (value[lane] ? 1u : 0u) << lane;
  return bits;
}

template <class T>
CU_UNSEEN T shuffle(unsigned mask, T value, int source) {
  static_assert(sizeof(T) == sizeof(unsigned));
  unsigned bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  const unsigned found = exchange(mask, bits, false)[source & (kWarp - 1)];
  __builtin_memcpy(&value, &found, sizeof value);
  return value;
}

CU_UNSEEN inline void* shared_array(const void* tag, std::size_t bytes) {
  Block& block = *current();
  for (int n = 0; n < block.arrays; ++n) {
    if (block.shared[n].tag == tag) return block.shared[n].memory;
  }
  if (block.arrays == kMostArrays) fail("too many shared arrays");
#if defined(__SANITIZE_THREAD__)
  void* memory = block.arena + block.arena_used;  // to allocate is to write, so the scheduler does it
  block.arena_used += (bytes + 63) / 64 * 64;
  if (block.arena_used > kArena) fail("more shared memory than a block may have");
#else
  void* memory = nullptr;  // it ends where the array ends
  if (posix_memalign(&memory, kAlignment, bytes)) fail("no memory");
  std::memset(memory, 0xff, bytes);
#endif
  block.shared[block.arrays++] = {tag, memory};
  return memory;
}

CU_UNSEEN inline void enter() {
  Block& block = *current();
  Context::arrive(block.scheduler);
  acquire(&block.start);
  block.invoke(block.call);
  release(&block.stop);
  block.self->done = true;
  ++block.finished;
  switch_out(true);
  fail("a fiber that has ended was continued");
}

// Let every thread of a block run to its end, in the given order between barriers.
CU_UNSEEN inline void run_block(Block& block, Order order, std::mt19937& random) {
  const int count = block.count = static_cast<int>(block.size.x * block.size.y * block.size.z);
  if (block.room < count) {
    delete[] block.fibers;
    block.fibers = new Fiber[static_cast<std::size_t>(count)];
    block.room = count;
  }
  for (Warp& warp : block.warps) warp = Warp{};
  std::vector<int> turn(static_cast<std::size_t>(count));
  for (int n = 0; n < count; ++n) {
    Fiber& fiber = block.fibers[n];
    fiber.number = n, fiber.done = false, fiber.block_phase = fiber.warp_phase = 0;
    const unsigned x = block.size.x, y = block.size.y, i = static_cast<unsigned>(n);
    fiber.thread = {i % x, i / x % y, i / (x * y)};
    fiber.context.prepare(enter);
    ++block.warps[n / kWarp].size;
    turn[static_cast<std::size_t>(n)] = order == Order::kReversed ? count - 1 - n : n;
  }
  block.arrived = block.phase = block.finished = 0;
#if defined(__SANITIZE_THREAD__)
  void* arena = nullptr;
  if (posix_memalign(&arena, kAlignment, kArena)) fail("no memory");
  block.arena = static_cast<char*>(arena);
  std::memset(block.arena, 0xff, kArena);
  block.arena_used = 0;
#endif
  release(&block.start);
  while (block.finished < count) {
    if (order == Order::kShuffled) std::shuffle(turn.begin(), turn.end(), random);
    bool moved = false;
    for (const int n : turn) {
      Fiber& fiber = block.fibers[n];
      if (fiber.done) continue;
      const int warp_phase = fiber.warp_phase, block_phase = fiber.block_phase;
      block.self = &fiber;
      Context::swap(block.scheduler, fiber.context, false);
      moved |= fiber.done || fiber.warp_phase != warp_phase || fiber.block_phase != block_phase;
    }
    if (!moved) fail("threads of a block wait for each other for ever");
    if (block.finished && block.arrived) fail("a barrier that a thread of the block has not reached: it has returned");
  }
  acquire(&block.stop);
  for (int n = 0; n < count; ++n) block.fibers[n].context.leave();
#if defined(__SANITIZE_THREAD__)
  delete[] block.fibers;  // fresh stacks for the next block, of which nothing is remembered
  block.fibers = nullptr;
  block.room = 0;
  std::free(block.arena);
#else
  for (int n = 0; n < block.arrays; ++n) std::free(block.shared[n].memory);
#endif
  block.arrays = 0;
}

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
  static Block block;
  block.scheduler.adopt();
  block.size = size, block.grid = grid;
  block.invoke = &Call<Args...>::invoke, block.call = &call;
  std::mt19937 random(seed);
  current() = &block;
  const unsigned blocks = grid.x * grid.y * grid.z;
  for (unsigned n = 0; n < blocks; ++n) {
    const unsigned b = order == Order::kReversed ? blocks - 1 - n : n;
    block.index = {b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)};
    run_block(block, order, random);
  }
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
