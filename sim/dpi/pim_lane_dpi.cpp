#include "pim_lane_dpi.h"

#include <cstring>
#include <vector>

#ifdef __FAST_MATH__
#error "pim_lane_dpi.cpp needs IEEE arithmetic: build it without -ffast-math"
#endif
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "pim_lane_dpi.cpp reads packed vectors as arrays: it needs a little-endian machine"
#endif

// The hot loops are compiled for several instruction sets and chosen once at load time. All of
// them give the same bits: every operation is an IEEE one and the order is per lane. With
// PIM_SINGLE_TARGET the compiler's options alone choose.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(PIM_SINGLE_TARGET)
#define PIM_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define PIM_CLONES
#endif

// Verilator's makefile compiles for size by default, which would leave the loops scalar.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

namespace {

constexpr uint32_t kCanonicalNan = 0x7FC00000U;
constexpr uint32_t kNegativeZero = 0x80000000U;
constexpr uint32_t kInfinity = 0x7F800000U;
constexpr uint32_t kMagnitude = 0x7FFFFFFFU;

// generated:lane_op_e
// Values of pim_pkg::lane_op_e.
enum LaneOp : uint32_t {
    kLaneMac = 0,
    kLaneMacz = 1,
    kLaneMul = 2,
    kLaneMuls = 3,
    kLaneLoad = 4,
    kLaneLoadF32 = 5,
    kLaneSplat = 6,
    kLaneRelu = 7,
    kLaneMacI = 8,
    kLaneMaczI = 9,
    kLaneScale = 10
};
// end generated

inline float float_of(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline uint32_t bits_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline uint32_t widen(uint16_t bf16) { return static_cast<uint32_t>(bf16) << 16; }

// a * b + c rounded once, for a and b with eight significant bits.
//
// The product of two 8-bit significands is exact in double (so it is the same whether or not the
// compiler contracts the expression to a double fused multiply-add). The sum is rounded twice, to
// 53 bits and to binary32, which is the same as once: the sum is inexact in double only where one
// term begins 53 bits above the end of the other, and the large term alone (24 significant bits
// at most) is then a binary32 number, or a multiple of half its last place, with the small term
// far under a quarter of that place, so that neither rounding meets a tie it should not.
inline uint32_t fused(float a, float b, uint32_t c) {
    const double sum = static_cast<double>(a) * static_cast<double>(b)
        + static_cast<double>(float_of(c));
    const uint32_t bits = bits_of(static_cast<float>(sum));
    return (bits & kMagnitude) > kInfinity ? kCanonicalNan : bits;
}

inline uint16_t round_bf16(uint32_t bits) {
    const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
    return static_cast<uint16_t>((bits & kMagnitude) > kInfinity ? kCanonicalNan >> 16 : rounded);
}

// accumulators[i] = scalar * vector[i] + accumulators[i]
PIM_CLONES void run_mac(uint32_t* __restrict accumulators, uint16_t scalar,
                        const uint16_t* __restrict vector, size_t lanes) {
    const float a = float_of(widen(scalar));
    for (size_t i = 0; i < lanes; ++i) {
        accumulators[i] = fused(a, float_of(widen(vector[i])), accumulators[i]);
    }
}

// accumulators[i] = scalar * vector[i] + addend
PIM_CLONES void run_scale(uint32_t* __restrict accumulators, uint16_t scalar, uint32_t addend,
                          const uint16_t* __restrict vector, size_t lanes) {
    const float a = float_of(widen(scalar));
    for (size_t i = 0; i < lanes; ++i) {
        accumulators[i] = fused(a, float_of(widen(vector[i])), addend);
    }
}

// accumulators[i] = upper half of accumulators[i] * vector[i]
PIM_CLONES void run_mul(uint32_t* __restrict accumulators, const uint16_t* __restrict vector,
                        size_t lanes) {
    for (size_t i = 0; i < lanes; ++i) {
        const float a = float_of(accumulators[i] & 0xFFFF0000U);
        accumulators[i] = fused(a, float_of(widen(vector[i])), kNegativeZero);
    }
}

// accumulators[i] = scalar * integer of vector[i] + accumulators[i]
PIM_CLONES void run_mac_integer(uint32_t* __restrict accumulators, uint16_t scalar,
                                const uint16_t* __restrict vector, size_t lanes) {
    const float a = float_of(widen(scalar));
    for (size_t i = 0; i < lanes; ++i) {
        const float magnitude = static_cast<float>(vector[i] & 0xFFU);
        const float b = float_of(bits_of(magnitude) | (widen(vector[i]) & kNegativeZero));
        accumulators[i] = fused(a, b, accumulators[i]);
    }
}

// parts[i] = some bits of the significand of values[i]: all of it that is above them is subtracted,
// which is exact. What is not finite is all of itself.
PIM_CLONES void take_parts(float* __restrict parts, const uint32_t* __restrict values,
                           uint32_t part, size_t lanes) {
    const uint32_t kept = part == 0 ? 0xFFFF0000U : part == 1 ? 0xFFFFFF00U : 0xFFFFFFFFU;
    const uint32_t above = part == 0 ? kNegativeZero : part == 1 ? 0xFFFF0000U : 0xFFFFFF00U;
    for (size_t i = 0; i < lanes; ++i) {
        const uint32_t value = values[i];
        const float rest = float_of(value & kept) - float_of(value & above);
        const uint32_t bits = (bits_of(rest) & kMagnitude) | (value & kNegativeZero);
        parts[i] = float_of((value & kMagnitude) < kInfinity ? bits : value);
    }
}

// accumulators[i] = parts[i] * vector[i] + accumulators[i]; a subnormal of the vector is a zero.
PIM_CLONES void run_parts(uint32_t* __restrict accumulators, const float* __restrict parts,
                          const uint16_t* __restrict vector, size_t lanes) {
    for (size_t i = 0; i < lanes; ++i) {
        const uint32_t bits = widen(vector[i]);
        const uint32_t scale = bits & ((bits & kInfinity) == 0 ? kNegativeZero : ~0U);
        accumulators[i] = fused(parts[i], float_of(scale), accumulators[i]);
    }
}

PIM_CLONES void run_load(uint32_t* __restrict accumulators, const uint16_t* __restrict vector,
                         size_t lanes) {
    for (size_t i = 0; i < lanes; ++i) accumulators[i] = widen(vector[i]);
}

// accumulators[i] = max(vector[i], 0); -0 stays.
PIM_CLONES void run_relu(uint32_t* __restrict accumulators, const uint16_t* __restrict vector,
                         size_t lanes) {
    for (size_t i = 0; i < lanes; ++i) {
        const uint32_t bits = widen(vector[i]);
        const uint32_t positive = bits > kNegativeZero ? 0U : bits;
        accumulators[i] = (bits & kMagnitude) > kInfinity ? kCanonicalNan : positive;
    }
}

PIM_CLONES void run_round(uint16_t* __restrict result, const uint32_t* __restrict values,
                          size_t count) {
    for (size_t i = 0; i < count; ++i) result[i] = round_bf16(values[i]);
}

class Lanes {
public:
    Lanes(uint32_t lanes, uint32_t groups, uint32_t parts)
        : lanes_{lanes}
        , part_lanes_{lanes / parts}
        , all_{parts < 32 ? (1U << parts) - 1U : 0xFFFFFFFFU}
        , vector_(lanes)
        , parts_(lanes)
        , rounded_(lanes)
        , read_(lanes)
        , read_before_(lanes)
        , accumulators_(static_cast<size_t>(lanes) * groups) {}

    void operate(uint32_t op, uint32_t group, uint32_t mask, uint16_t scalar,
                 const uint32_t* vector) {
        uint32_t* const set = accumulators_.data() + static_cast<size_t>(group) * lanes_;
        // The copy gives the words of the simulator the type the loops read.
        std::memcpy(vector_.data(), vector, lanes_ * sizeof(uint16_t));
        if (mask == all_) {
            operate_range(set, op, scalar, 0, lanes_);
            return;
        }
        for (uint32_t first = 0; mask != 0; mask >>= 1, first += part_lanes_) {
            if (mask & 1U) operate_range(set, op, scalar, first, part_lanes_);
        }
    }

    void scale(uint32_t group, uint32_t mask, uint32_t part, bool before_last,
               const uint32_t* vector) {
        take_parts(parts_.data(), before_last ? read_before_.data() : read_.data(), part, lanes_);
        operate(kLaneScale, group, mask, 0, vector);
    }

    void read(uint32_t group) {
        const uint32_t* const set = accumulators_.data() + static_cast<size_t>(group) * lanes_;
        run_round(rounded_.data(), set, lanes_);
        read_.swap(read_before_);
        read_.assign(set, set + lanes_);
    }

    uint32_t word(uint32_t index) const {
        if (index >= lanes_ / 2) return read_[index - lanes_ / 2];
        return rounded_[2 * index] | static_cast<uint32_t>(rounded_[2 * index + 1]) << 16;
    }

private:
    void operate_range(uint32_t* set, uint32_t op, uint16_t scalar, uint32_t first,
                       uint32_t count) {
        uint32_t* const accumulators = set + first;
        const uint16_t* const vector = vector_.data() + first;
        switch (op) {
        case kLaneMac: run_mac(accumulators, scalar, vector, count); break;
        case kLaneMacz: run_scale(accumulators, scalar, 0, vector, count); break;
        case kLaneMacI: run_mac_integer(accumulators, scalar, vector, count); break;
        case kLaneMaczI:
            std::memset(accumulators, 0, count * sizeof(uint32_t));
            run_mac_integer(accumulators, scalar, vector, count);
            break;
        case kLaneScale: run_parts(accumulators, parts_.data() + first, vector, count); break;
        case kLaneMul: run_mul(accumulators, vector, count); break;
        case kLaneLoad: run_load(accumulators, vector, count); break;
        case kLaneRelu: run_relu(accumulators, vector, count); break;
        case kLaneLoadF32: load_words(set, scalar & 1U, first, count); break;
        case kLaneSplat:
            for (uint32_t i = 0; i < count; ++i) accumulators[i] = widen(scalar);
            break;
        // Everything that is no other operation, as in the RTL lane.
        case kLaneMuls:
        default: run_scale(accumulators, scalar, kNegativeZero, vector, count); break;
        }
    }

    // The vector as lanes_ / 2 binary32 for one half of the lanes, as far as these are in range.
    void load_words(uint32_t* set, uint32_t half, uint32_t first, uint32_t count) {
        const uint32_t half_lanes = lanes_ / 2;
        for (uint32_t lane = first; lane < first + count; ++lane) {
            if (lane / half_lanes != half) continue;
            std::memcpy(&set[lane], &vector_[2 * (lane % half_lanes)], sizeof(uint32_t));
        }
    }

    const uint32_t lanes_;
    const uint32_t part_lanes_;
    const uint32_t all_;
    std::vector<uint16_t> vector_;
    std::vector<float> parts_;  // of the words that are scaled
    std::vector<uint16_t> rounded_;  // what the last read returned, as bfloat16
    std::vector<uint32_t> read_, read_before_;  // what the last two reads returned
    std::vector<uint32_t> accumulators_;
};

}  // namespace

extern "C" {

void* pim_lanes_new(uint32_t lanes, uint32_t groups, uint32_t parts) {
    return new Lanes(lanes, groups, parts);
}

void pim_lanes_delete(void* lanes) { delete static_cast<Lanes*>(lanes); }

void pim_lanes_operate(void* lanes, uint32_t op, uint32_t group, uint32_t mask, uint32_t scalar,
                       const uint32_t* vector) {
    static_cast<Lanes*>(lanes)->operate(op, group, mask, static_cast<uint16_t>(scalar), vector);
}

void pim_lanes_scale(void* lanes, uint32_t group, uint32_t mask, uint32_t part,
                     uint32_t before_last, const uint32_t* vector) {
    static_cast<Lanes*>(lanes)->scale(group, mask, part, before_last != 0, vector);
}

void pim_lanes_read(void* lanes, uint32_t group) { static_cast<Lanes*>(lanes)->read(group); }

uint32_t pim_lanes_word(void* lanes, uint32_t index) {
    return static_cast<Lanes*>(lanes)->word(index);
}

void pim_golden_mac(uint32_t* accumulators, uint16_t scalar, const uint16_t* vector,
                    size_t lanes) {
    run_mac(accumulators, scalar, vector, lanes);
}

void pim_golden_mul(uint32_t* accumulators, const uint16_t* left, const uint16_t* right,
                    size_t lanes) {
    run_load(accumulators, left, lanes);
    run_mul(accumulators, right, lanes);
}

void pim_golden_matmul(uint32_t* accumulators, const uint16_t* left, const uint16_t* right,
                       size_t rows, size_t depth, size_t columns) {
    for (size_t i = 0; i < rows; ++i) {
        for (size_t k = 0; k < depth; ++k) {
            run_mac(accumulators + i * columns, left[i * depth + k], right + k * columns,
                    columns);
        }
    }
}

void pim_golden_round_bf16(uint16_t* result, const uint32_t* values, size_t count) {
    run_round(result, values, count);
}

}  // extern "C"
