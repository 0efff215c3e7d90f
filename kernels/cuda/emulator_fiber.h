// A stack and where its code has got to: what the emulator runs a thread of a block on. Sanitizers are told of each switch.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if !defined(__x86_64__)
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

constexpr std::size_t kStack = 128 * 1024;

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "emulator: %s\n", what);
  std::abort();
}

// Fresh pages, of which sanitizers remember nothing. Nothing is kept of them where they are not written.
class Pages {
 public:
  explicit Pages(std::size_t size) : size_(size) {
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) fail("no memory");
    memory_ = static_cast<char*>(memory);
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() { munmap(memory_, size_); }

  char* at(std::size_t place) const { return memory_ + place; }

 private:
  std::size_t size_;
  char* memory_;
};

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

// Where the code on a stack has got to.
class Context {
 public:
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  bool is_ready() const { return stack_ != nullptr; }

  // Let the context begin with `entry`, which does not return, on a stack.
  void prepare(void (*entry)(), char* stack) {
    stack_ = stack;
#if defined(CU_UCONTEXT)
    getcontext(&at_);
    at_.uc_stack.ss_sp = stack_;
    at_.uc_stack.ss_size = kStack;
    at_.uc_link = nullptr;
    makecontext(&at_, entry, 0);
#else
    auto top = reinterpret_cast<std::uintptr_t>(stack_ + kStack) & ~std::uintptr_t{15};
    void** words = reinterpret_cast<void**>(top) - 8;  // six registers, the entry, and an address to return to
    std::memset(words, 0, 8 * sizeof(void*));
    words[6] = reinterpret_cast<void*>(entry);
    at_ = words;
#endif
#if defined(__SANITIZE_THREAD__)
    tsan_ = __tsan_create_fiber(0);
#endif
  }

  // Run `to` until it switches back.
  CU_UNSEEN static void swap(Context& from, Context& to) {
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(to.tsan_, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    const void* bottom = to.stack_ ? to.stack_ : to.own_bottom_;
    __sanitizer_start_switch_fiber(&fake, bottom, to.stack_ ? kStack : to.own_size_);
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

  // Be the context of who calls this.
  void adopt() {
#if defined(__SANITIZE_THREAD__)
    tsan_ = __tsan_get_current_fiber();
#endif
  }

 private:
  char* stack_ = nullptr;
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
#endif
};

}  // namespace emulator
