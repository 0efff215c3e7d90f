// A block's part of a matrix product, 64 rows by kColumns: float32 on the arithmetic units, float16 on tensor cores.
//
// Both types have one interface: A and B go to shared memory by put_a and put_b, multiply adds their product of one step,
// store leaves the sums. The CPU twin of the tensor core's instruction gives each lane the same share of work.
#pragma once

#include "device.h"

constexpr int kTileRows = 64;

template <class T, int kColumns>
struct Tile;

template <int kColumns>
struct Tile<float, kColumns> {
  static constexpr int kDepth = 16;                     // of one step
  static constexpr int kPitchA = kTileRows + 4, kPerThread = kColumns / 16;
  static constexpr int kRoomA = kDepth * kPitchA, kRoomB = kDepth * kColumns;  // floats
  float sum[4][kPerThread];
  float *a, *b;                                         // [kDepth, rows], [kDepth, columns]

  __device__ explicit Tile(float* room) : a(room), b(room + kRoomA) {
    for (int r = 0; r < 4; ++r) {
      for (int c = 0; c < kPerThread; ++c) sum[r][c] = 0.0f;
    }
  }
  __device__ void put_a(int row, int k, float value) { a[k * kPitchA + row] = value; }
  __device__ void put_b(int k, int column, float value) { b[k * kColumns + column] = value; }

  __device__ void multiply() {
    const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * kPerThread;
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      float x[4], w[kPerThread];
      for (int r = 0; r < 4; ++r) x[r] = a[k * kPitchA + row + r];
      for (int c = 0; c < kPerThread; ++c) w[c] = b[k * kColumns + column + c];
      for (int r = 0; r < 4; ++r) {
        for (int c = 0; c < kPerThread; ++c) sum[r][c] += x[r] * w[c];
      }
    }
  }

  __device__ void store(float* fresh) const {  // [kTileRows, kColumns]
    const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * kPerThread;
    for (int r = 0; r < 4; ++r) {
      for (int c = 0; c < kPerThread; ++c) fresh[(row + r) * kColumns + column + c] = sum[r][c];
    }
  }
};

// 16 × 16 sums of a warp.
struct Fragment {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> sum;
  __device__ void clear() { nvcuda::wmma::fill_fragment(sum, 0.0f); }
  // Add a [16, 16] · b [16, 16], rows `pitch_a` and `pitch_b` apart.
  __device__ void multiply(const __half* a, int pitch_a, const __half* b, int pitch_b) {
    nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, __half, nvcuda::wmma::row_major> x;
    nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, __half, nvcuda::wmma::row_major> w;
    nvcuda::wmma::load_matrix_sync(x, a, pitch_a);
    nvcuda::wmma::load_matrix_sync(w, b, pitch_b);
    nvcuda::wmma::mma_sync(sum, x, w, sum);
  }
  __device__ void store(float* to, int pitch) const {
    nvcuda::wmma::store_matrix_sync(to, sum, pitch, nvcuda::wmma::mem_row_major);
  }
#else
  // What the instruction asks of an address and of the bytes from a row to the next.
  static void check(const void* address, int pitch) {
    if (reinterpret_cast<unsigned long>(address) % 32 || pitch % 16) emulator::fail("a fragment that is not aligned");
  }
  float sum[8];  // of row lane / 2, from column lane % 2 · 8 on
  void clear() {
    for (float& x : sum) x = 0.0f;
  }
  void multiply(const __half* a, int pitch_a, const __half* b, int pitch_b) {
    check(a, pitch_a * 2), check(b, pitch_b * 2);
    const int row = threadIdx.x % 32 / 2, column = threadIdx.x % 2 * 8;
    for (int k = 0; k < 16; ++k) {
      const float x = __half2float(a[row * pitch_a + k]);
      for (int c = 0; c < 8; ++c) sum[c] += x * __half2float(b[k * pitch_b + column + c]);
    }
  }
  void store(float* to, int pitch) const {
    check(to, pitch * 4);
    const int row = threadIdx.x % 32 / 2, column = threadIdx.x % 2 * 8;
    for (int c = 0; c < 8; ++c) to[row * pitch + column + c] = sum[c];
  }
#endif
};

template <int kColumns>
struct Tile<__half, kColumns> {
  static constexpr int kDepth = 32;
  static constexpr int kPitchA = kDepth + 8, kPitchB = kColumns + 8;
  static constexpr int kRoomA = kTileRows * kPitchA / 2, kRoomB = kDepth * kPitchB / 2;  // floats
  // Four warps, one below the other, share the columns with the other four where there are enough.
  static constexpr int kAcross = kColumns > 16 ? 2 : 1, kFragments = kColumns / 16 / kAcross;
  Fragment sum[kFragments];
  __half *a, *b;  // [rows, kDepth], [kDepth, columns]

  __device__ explicit Tile(float* room)
      : a(reinterpret_cast<__half*>(room)), b(reinterpret_cast<__half*>(room + kRoomA)) {
    for (int f = 0; f < kFragments; ++f) sum[f].clear();
  }
  __device__ void put_a(int row, int k, __half value) { a[row * kPitchA + k] = value; }
  __device__ void put_b(int k, int column, __half value) { b[k * kPitchB + column] = value; }

  __device__ void multiply() {
    const int warp = threadIdx.x / 32, row = warp % 4 * 16, part = warp / 4;
    if (part >= kAcross) return;
    for (int k = 0; k < kDepth; k += 16) {
      for (int f = 0; f < kFragments; ++f) {
        const int column = (part * kFragments + f) * 16;
        sum[f].multiply(a + row * kPitchA + k, kPitchA, b + k * kPitchB + column, kPitchB);
      }
    }
  }

  __device__ void store(float* fresh) const {  // [kTileRows, kColumns]
    const int warp = threadIdx.x / 32, row = warp % 4 * 16, part = warp / 4;
    if (part >= kAcross) return;
    for (int f = 0; f < kFragments; ++f) {
      sum[f].store(fresh + row * kColumns + (part * kFragments + f) * 16, kColumns);
    }
  }
};
