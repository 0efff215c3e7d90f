// Threads of one stream's own. The calling thread does the work and helpers take parts of it if they get to run in time:
// a helper that the system does not schedule costs nothing. To wake one takes longer than many a part, so that one that is
// awake stays so for a little while, and gives way to whoever else wants its core.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace dedelayed {

class ThreadPool {
 public:
  // `threads` that work, the calling one among them. Where the system gives fewer, there are fewer.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(helpers_.size()) + 1; }

  // Work comes soon: helpers had better be awake.
  void wake();

  // Call work(part, thread) for every part of [0, parts), in any order, on threads [0, threads()); 0 is the calling one.
  // Returns when all are done. Throws what a part has thrown, once. One caller at a time.
  template <class Work>
  void run(int parts, const Work& work) {
    if (helpers_.empty() || parts < 2) {
      for (int part = 0; part < parts; ++part) work(part, 0);
      return;
    }
    start([](const void* context, int part, int thread) { (*static_cast<const Work*>(context))(part, thread); }, &work, parts);
  }

 private:
  using Call = void (*)(const void* context, int part, int thread);
  static constexpr int kMostParts = 1 << 15;

  // Number of the job, how many parts it has, and the next one to take: in one word, so that a part of a job that is over
  // can never be taken.
  std::atomic<std::uint64_t> ticket_{0};
  std::atomic<int> pending_{0};  // parts of the job that are not done
  Call call_ = nullptr;
  const void* context_ = nullptr;
  int last_ = 0, first_ = 0;  // parts of the work that the job at hand covers: [first_, last_)

  std::mutex mutex_;
  std::condition_variable wake_;
  std::uint32_t job_ = 0;    // guarded by mutex_
  std::uint32_t calls_ = 0;  // of `wake`, guarded by mutex_
  bool ends_ = false;      // guarded by mutex_
  std::exception_ptr error_;  // guarded by mutex_
  std::vector<std::thread> helpers_;

  void start(Call call, const void* context, int parts);
  void job(int parts);
  bool take_part(std::uint32_t job, int thread);
  void help(int thread);
  std::uint32_t newest_job() const { return static_cast<std::uint32_t>(ticket_.load(std::memory_order_acquire) >> 32); }
  bool comes_soon(std::uint32_t seen) const;
};

}  // namespace dedelayed
