#include "thread_pool.h"

#include <algorithm>
#include <chrono>
#include <system_error>

namespace dedelayed {
namespace {

constexpr std::chrono::microseconds kHope{150};  // for which a helper waits awake: layers follow each other within that

std::uint64_t to_ticket(std::uint32_t job, int parts, int next) {
  return static_cast<std::uint64_t>(job) << 32 | static_cast<std::uint64_t>(parts) << 16 | static_cast<std::uint64_t>(next);
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  try {
    for (int thread = 1; thread < threads; ++thread) helpers_.emplace_back(&ThreadPool::help, this, thread);
  } catch (const std::system_error&) {
    // The system gives no more of them.
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ends_ = true;
  }
  wake_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void ThreadPool::wake() {
  if (helpers_.empty()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++calls_;
  }
  wake_.notify_all();
}

void ThreadPool::start(Call call, const void* context, int parts) {
  call_ = call, context_ = context;
  for (first_ = 0; first_ < parts; first_ = last_) {
    last_ = std::min(parts, first_ + kMostParts);
    job(last_ - first_);
  }
  std::exception_ptr error;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    error.swap(error_);
  }
  if (error) std::rethrow_exception(error);
}

void ThreadPool::job(int parts) {
  pending_.store(parts, std::memory_order_relaxed);
  std::uint32_t number;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    number = ++job_;
    ticket_.store(to_ticket(number, parts, 0), std::memory_order_release);
  }
  wake_.notify_all();
  while (take_part(number, 0)) {
  }
  // What helpers have begun they must finish; yielding lets them, where there are fewer cores than threads.
  for (int spins = 0; pending_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins > 200) std::this_thread::yield();
  }
}

// Take the next part of a job and do it; false if there is none.
bool ThreadPool::take_part(std::uint32_t job, int thread) {
  std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
  int part;
  do {
    const int parts = static_cast<int>(ticket >> 16 & 0xffff);
    part = static_cast<int>(ticket & 0xffff);
    if (static_cast<std::uint32_t>(ticket >> 32) != job || part >= parts) return false;
  } while (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel, std::memory_order_acquire));
  try {
    call_(context_, first_ + part, thread);
  } catch (...) {
    const std::lock_guard<std::mutex> lock(mutex_);
    error_ = std::current_exception();
  }
  pending_.fetch_sub(1, std::memory_order_release);
  return true;
}

// Whether another job than `seen` comes while there is hope for one.
bool ThreadPool::comes_soon(std::uint32_t seen) const {
  const auto end = std::chrono::steady_clock::now() + kHope;
  do {
    for (int checks = 0; checks < 32; ++checks) {
      if (newest_job() != seen) return true;
    }
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

void ThreadPool::help(int thread) {
  std::uint32_t seen = 0, heard = 0;
  for (;;) {
    if (!comes_soon(seen)) {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return ends_ || job_ != seen || calls_ != heard; });
      if (ends_) return;
      heard = calls_;
      if (job_ == seen) continue;
    }
    seen = newest_job();
    while (take_part(seen, thread)) {
    }
  }
}

}  // namespace dedelayed
