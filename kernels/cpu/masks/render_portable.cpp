#include <cstring>

#include "../sparse/element.h"
#include "render.h"

namespace dedelayed::masks {
namespace {

// Plain loops over 16 lanes: the compiler makes of them what the architecture's base instruction set offers.
struct Vector {
  struct Floats { float v[kLanes]; };
  struct Ints { std::int32_t v[kLanes]; };
  using Mask = Ints;

  template <class Out, class Function>
  static Out each(Function function) {
    Out out;
    for (int i = 0; i < kLanes; ++i) out.v[i] = function(i);
    return out;
  }
  static Floats load(const float* p) { return each<Floats>([=](int i) { return p[i]; }); }
  static void store(float* p, const Floats& a) { std::memcpy(p, a.v, sizeof(a.v)); }
  static Floats set(float a) { return each<Floats>([=](int) { return a; }); }
  static Floats add(const Floats& a, const Floats& b) { return each<Floats>([&](int i) { return a.v[i] + b.v[i]; }); }
  static Floats subtract(const Floats& a, const Floats& b) { return each<Floats>([&](int i) { return a.v[i] - b.v[i]; }); }
  static Floats multiply(const Floats& a, const Floats& b) { return each<Floats>([&](int i) { return a.v[i] * b.v[i]; }); }
  static Floats larger(const Floats& a, const Floats& b) {
    return each<Floats>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
  }
  static Floats smaller(const Floats& a, const Floats& b) {
    return each<Floats>([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
  }
  static Mask greater(const Floats& a, const Floats& b) { return each<Mask>([&](int i) { return a.v[i] > b.v[i]; }); }
  static Mask less(const Floats& a, const Floats& b) { return each<Mask>([&](int i) { return a.v[i] < b.v[i]; }); }
  static bool all(const Mask& m) {
    bool all = true;
    for (int i = 0; i < kLanes; ++i) all &= m.v[i] != 0;
    return all;
  }
  static Floats none_if(const Mask& m, const Floats& a) {
    return each<Floats>([&](int i) { return m.v[i] ? 0.0f : a.v[i]; });
  }
  static Ints choose(const Mask& m, const Ints& a, const Ints& b) {
    return each<Ints>([&](int i) { return m.v[i] ? a.v[i] : b.v[i]; });
  }
  static Ints set_ints(int a) { return each<Ints>([=](int) { return a; }); }
  static Ints load_ints(const std::int32_t* p) { return each<Ints>([=](int i) { return p[i]; }); }
  static Floats power_of_two(const Floats& biased) {
    return each<Floats>([&](int i) {
      std::uint32_t bits;
      std::memcpy(&bits, &biased.v[i], sizeof(bits));
      bits = (bits << 23) + 0x3f800000u;
      float power;
      std::memcpy(&power, &bits, sizeof(power));
      return power;
    });
  }

  template <int kWindow>
  static Floats lookup(const float* row, int, const Ints& index) {
    return each<Floats>([&](int i) { return row[index.v[i]]; });
  }

  static void finish(const Ints& winner, const Floats& sum, const Floats& worst, std::uint8_t* mask, std::uint8_t* confidence) {
    for (int i = 0; i < kLanes; ++i) {
      const bool bad = sum.v[i] != sum.v[i] || worst.v[i] == -__builtin_inff();
      mask[i] = bad ? kUnlabelled : static_cast<std::uint8_t>(winner.v[i]);
      confidence[i] = bad ? 0 : static_cast<std::uint8_t>(255.0f / sum.v[i] + 0.5f);
    }
  }
};

#include "render_steps.h"

}  // namespace

void render_rows_portable(const Job& job, int first, int last, float* scratch) { render_rows<Vector, 0>(job, first, last, scratch); }

}  // namespace dedelayed::masks
