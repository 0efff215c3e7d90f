// Splits the rows of a picture among threads.
#pragma once

#include <system_error>
#include <thread>
#include <vector>

namespace dedelayed {

// Call work(part, first, last) for `parts` bands of [0, rows), one thread a band; the calling thread takes the first.
// Where the system gives no more threads, the calling thread does the rest.
template <class Work>
void for_row_bands(int rows, int parts, Work work) {
  const auto start = [=](int part) { return static_cast<int>(static_cast<long long>(rows) * part / parts); };
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(parts));
  int part = 1;
  try {
    for (; part < parts; ++part) threads.emplace_back(work, part, start(part), start(part + 1));
  } catch (const std::system_error&) {
  }
  work(0, 0, start(1));
  for (; part < parts; ++part) work(part, start(part), start(part + 1));
  for (auto& thread : threads) thread.join();
}

}  // namespace dedelayed
