// A block of threads on the CPU: its fibers, what barriers and functions of a warp wait for, and its shared memory.
#pragma once

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "emulator_fiber.h"

namespace emulator {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};

enum class Order : int { kForward, kReversed, kShuffled };

constexpr int kWarp = 32;

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
};

struct SharedArray {
  const void* tag;
  void* memory;
};

constexpr int kMostThreads = 1024, kMostWarps = kMostThreads / kWarp, kMostArrays = 32;
constexpr std::size_t kArena = 48 * 1024, kAlignment = 32;
#if defined(__SANITIZE_THREAD__)
constexpr int kSets = 2;  // to it all that a fiber does is ordered, so the next block has other ones
#else
constexpr int kSets = 1;
#endif

// What ThreadSanitizer takes for the locks of one block: nothing else orders its threads, and nothing those of two blocks.
struct Locks {
  char block[2], warp[kMostWarps][2];
};

// The block that runs, in memory that serves one after the other. Plain arrays: under ThreadSanitizer the fibers may touch
// this only through functions that it does not look into.
struct Block {
  Fiber fibers[kSets * kMostThreads];
  Pages stacks{kSets * kMostThreads * kStack};
  Fiber* thread[kMostThreads];
  Warp warps[kMostWarps];
  Fiber* self = nullptr;
  Context scheduler;
  Dim3 index, size, grid;
  int count = 0, arrived = 0, phase = 0, finished = 0;
  char start = 0, stop = 0;
  Locks* locks = nullptr;
  SharedArray shared[kMostArrays];
  int arrays = 0;
  char* arena = nullptr;  // all shared memory of a block, under ThreadSanitizer
  std::size_t arena_used = 0;
  void (*invoke)(void*) = nullptr;
  void* call = nullptr;
};

inline Block& memory() {
  static Block* block = new Block;
  return *block;
}

CU_UNSEEN inline Block*& current() {
  static Block* block = nullptr;
  return block;
}

CU_UNSEEN inline Dim3 thread_index() { return current()->self->thread; }
CU_UNSEEN inline Dim3 block_index() { return current()->index; }
CU_UNSEEN inline Dim3 block_size() { return current()->size; }
CU_UNSEEN inline Dim3 grid_size() { return current()->grid; }

CU_UNSEEN inline void switch_out() {
  Block& block = *current();
  Context::swap(block.self->context, block.scheduler);
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
  release(&block.locks->block[phase & 1]);
  if (++block.arrived == block.count) {
    block.arrived = 0;
    ++block.phase;
  }
  while (block.phase <= phase) switch_out();
  acquire(&block.locks->block[phase & 1]);
}

// Every lane leaves a value and reads those of the others when all have. It orders no memory but that of __syncwarp.
CU_UNSEEN inline const unsigned* exchange(unsigned mask, unsigned value, bool orders) {
  Block& block = *current();
  Fiber& self = *block.self;
  Warp& warp = block.warps[self.number / kWarp];
  char* lock = block.locks->warp[self.number / kWarp];
  if (mask != 0xffffffffu || warp.size != kWarp) fail("a warp function for less than a full warp");
  const int phase = self.warp_phase++;
  warp.value[phase & 1][self.number % kWarp] = value;
  if (orders) release(lock + (phase & 1));
  if (++warp.arrived == kWarp) {
    warp.arrived = 0;
    ++warp.phase;
  }
  while (warp.phase <= phase) switch_out();
  if (orders) acquire(lock + (phase & 1));
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
  void* memory = block.arena + block.arena_used;
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

// What a fiber does: one thread after the other, each of another block.
[[noreturn]] CU_UNSEEN inline void enter() {
  Block& block = *current();
  Context::arrive(block.scheduler);
  for (;;) {
    acquire(&block.start);
    block.invoke(block.call);
    release(&block.stop);
    block.self->done = true;
    ++block.finished;
    switch_out();
  }
}

// Give the threads of a block their fibers.
CU_UNSEEN inline void set_out(Block& block, unsigned number) {
  block.count = static_cast<int>(block.size.x * block.size.y * block.size.z);
  for (Warp& warp : block.warps) warp = Warp{};
  for (int n = 0; n < block.count; ++n) {
    const int place = static_cast<int>(number % kSets) * kMostThreads + n;
    Fiber& fiber = *(block.thread[n] = &block.fibers[place]);
    if (!fiber.context.is_ready()) fiber.context.prepare(enter, block.stacks.at(static_cast<std::size_t>(place) * kStack));
    fiber.number = n, fiber.done = false, fiber.block_phase = fiber.warp_phase = 0;
    const unsigned x = block.size.x, y = block.size.y, i = static_cast<unsigned>(n);
    fiber.thread = {i % x, i / x % y, i / (x * y)};
    ++block.warps[n / kWarp].size;
  }
  block.arrived = block.phase = block.finished = block.arrays = 0;
}

// Let every thread of a block run to its end, in the given order between barriers. `pages` are kept until the launch ends:
// the next block's locks lie elsewhere.
CU_UNSEEN inline void run_block(Block& block, unsigned number, Order order, std::mt19937& random,
                                std::vector<std::unique_ptr<Pages>>& pages) {
  set_out(block, number);
  const int count = block.count;
  std::vector<int> turn(static_cast<std::size_t>(count));
  for (int n = 0; n < count; ++n) turn[static_cast<std::size_t>(n)] = order == Order::kReversed ? count - 1 - n : n;
#if defined(__SANITIZE_THREAD__)
  // To allocate is to write, so the scheduler does it.
  pages.push_back(std::make_unique<Pages>(kArena + sizeof(Locks)));
  block.arena = pages.back()->at(0);
  block.locks = reinterpret_cast<Locks*>(pages.back()->at(kArena));
  std::memset(block.arena, 0xff, kArena);
  block.arena_used = 0;
#else
  (void)pages;
  Locks locks;
  block.locks = &locks;
#endif
  release(&block.start);
  while (block.finished < count) {
    if (order == Order::kShuffled) std::shuffle(turn.begin(), turn.end(), random);
    bool moved = false;
    for (const int n : turn) {
      Fiber& fiber = *block.thread[n];
      if (fiber.done) continue;
      const int warp_phase = fiber.warp_phase, block_phase = fiber.block_phase;
      block.self = &fiber;
      Context::swap(block.scheduler, fiber.context);
      moved |= fiber.done || fiber.warp_phase != warp_phase || fiber.block_phase != block_phase;
    }
    if (!moved) fail("threads of a block wait for each other for ever");
    if (block.finished && block.arrived) fail("a barrier that a thread of the block has not reached: it has returned");
  }
#if !defined(__SANITIZE_THREAD__)
  for (int n = 0; n < block.arrays; ++n) std::free(block.shared[n].memory);
#endif
}

}  // namespace emulator
