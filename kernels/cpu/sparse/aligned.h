// Vectors that begin at a cache line, so that no cell or block of weights lies in more lines than it has to.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace dedelayed::sparse {

template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};

  LineAllocator() = default;
  template <class Other>
  LineAllocator(const LineAllocator<Other>&) {}

  T* allocate(std::size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kLine)); }
  void deallocate(T* items, std::size_t) { ::operator delete(items, kLine); }
  bool operator==(const LineAllocator&) const { return true; }
  bool operator!=(const LineAllocator&) const { return false; }
};

template <class T>
using Aligned = std::vector<T, LineAllocator<T>>;

}  // namespace dedelayed::sparse
