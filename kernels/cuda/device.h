// What every kernel needs: the language of nvcc, NVRTC or, through emulator.h, g++; numbers; packed sets; half precision.
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#include <cuda_fp16.h>
#include <mma.h>
#define CU_SHARED(type, name, dims) __shared__ __align__(32) type name dims  // tensor cores ask for 32 bytes
#define CU_KERNEL(name, threads)
#else
#include "emulator.h"
#endif

constexpr int kThreads = 256;  // threads of every block
constexpr int kWarps = kThreads / 32;
// Blocks that a multiprocessor can hold at least, which leaves a thread 80 registers, or 128: enough to spill none.
constexpr int kBlocks = 3, kConvBlocks = 2;
constexpr unsigned kFullWarp = 0xffffffffu;
constexpr int kNowhere = static_cast<int>(0x80000000u);  // displacement of a position without a cached value

// A displacement in cells as one number, so that two are compared at once.
__device__ inline int to_key(int rows, int cols) {
  return static_cast<int>(static_cast<unsigned>(rows) << 16 | (static_cast<unsigned>(cols) & 0xffffu));
}
__device__ inline int key_rows(int key) { return key >> 16; }
__device__ inline int key_cols(int key) { return static_cast<short>(key & 0xffff); }

// Sets of positions have one bit each, in rows of whole words.
__device__ inline int words_of(int width) { return (width + 31) / 32; }
__device__ inline bool contains(const unsigned* set, int width, int y, int x) {
  return set[y * words_of(width) + x / 32] >> (x % 32) & 1u;
}

__device__ inline float infinity() { return __int_as_float(0x7f800000); }

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__half value) { return __half2float(value); }
template <class T>
__device__ T from_float(float value);
template <>
__device__ inline float from_float<float>(float value) { return value; }
template <>
__device__ inline __half from_float<__half>(float value) { return __float2half_rn(value); }
