// The sums of the golden model's products, compiled: the same bits as numpy's in
// pimloop/host/common/golden.py, which is the specification. Each step is one fused multiply-add in
// binary32, rounded to nearest even, so no product needs to be exact.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#define PIMLOOP_FUSED __attribute__((target("avx2,fma")))
#else
#define PIMLOOP_FUSED
#endif

namespace {

// Columns of a block: its sums and the widened rows of the right operand stay in the first-level
// cache.
constexpr int64_t Columns = 512;
// Steps of the inner dimension between two accesses to a sum.
constexpr int64_t Steps = 8;

inline float widened(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

PIMLOOP_FUSED void block(const float* a, int64_t p, int64_t q, const uint16_t* b, int64_t r,
                         float* acc, int64_t width) {
  alignas(64) float rows[Steps][Columns];
  for (int64_t k = 0; k < q; k += Steps) {
    const int64_t steps = std::min(Steps, q - k);
    for (int64_t s = 0; s < steps; ++s)
      for (int64_t j = 0; j < width; ++j) rows[s][j] = widened(b[(k + s) * r + j]);
    for (int64_t i = 0; i < p; ++i) {
      const float* scalars = a + i * q + k;
      float* sums = acc + i * r;
      if (steps == Steps) {
        for (int64_t j = 0; j < width; ++j) {
          float sum = sums[j];
#pragma GCC unroll 8
          for (int64_t s = 0; s < Steps; ++s) sum = std::fma(scalars[s], rows[s][j], sum);
          sums[j] = sum;
        }
      } else {
        for (int64_t s = 0; s < steps; ++s)
          for (int64_t j = 0; j < width; ++j) sums[j] = std::fma(scalars[s], rows[s][j], sums[j]);
      }
    }
  }
}

}  // namespace

extern "C" {

// Whether this machine has the instruction that the sums need.
int pimloop_golden_supported() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#elif defined(__FP_FAST_FMAF) || defined(FP_FAST_FMAF)
  return 1;
#else
  return 0;
#endif
}

// acc (p, r) += a (p, q) x b (q, r), all contiguous: binary32, binary32, bits of bfloat16; the inner
// dimension in ascending order.
void pimloop_golden_products(const float* a, const uint16_t* b, float* acc, int64_t p, int64_t q,
                             int64_t r) {
  for (int64_t j = 0; j < r; j += Columns)
    block(a, p, q, b + j, r, acc + j, std::min(Columns, r - j));
}
}
