// The two functions of lz4 that Verilator's FST writer calls, for machines without lz4's headers.
//
// Writes the LZ4 block format (a published format: sequences of a token, literals and a match) with
// one pass and a small hash table. `pimloop.sim.verilator.build` puts this folder on the include path only when the
// compiler finds no lz4.h of the system.

#ifndef PIMLOOP_LZ4_H_
#define PIMLOOP_LZ4_H_

#include <cstdint>
#include <cstring>
#include <vector>

namespace pimloop_lz4 {

constexpr int kMinMatch = 4;        // bytes of the shortest match
constexpr int kEndLiterals = 5;     // the format ends every block with so many literals
constexpr int kLastMatch = 12;      // no match may start closer to the end
constexpr int kMaxOffset = 65535;   // bytes a match can reach back
constexpr int kHashBits = 12;
constexpr uint8_t kNibble = 15;     // a length that continues in further bytes

inline uint32_t load32(const uint8_t* from) {
    uint32_t value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline uint8_t* put_length(uint8_t* out, int rest) {
    for (; rest >= 255; rest -= 255) *out++ = 255;
    *out++ = static_cast<uint8_t>(rest);
    return out;
}

/// Write the literals of one sequence, and its match when `match_length` is not 0.
inline uint8_t* put_sequence(uint8_t* out, const uint8_t* literals, int count, int offset,
                             int match_length) {
    const int extra = match_length ? match_length - kMinMatch : 0;
    uint8_t* const token = out++;
    *token = static_cast<uint8_t>((count < kNibble ? count : kNibble) << 4);
    if (count >= kNibble) out = put_length(out, count - kNibble);
    if (count) std::memcpy(out, literals, static_cast<size_t>(count));
    out += count;
    if (!match_length) return out;
    *token |= static_cast<uint8_t>(extra < kNibble ? extra : kNibble);
    *out++ = static_cast<uint8_t>(offset & 255);
    *out++ = static_cast<uint8_t>(offset >> 8);
    if (extra >= kNibble) out = put_length(out, extra - kNibble);
    return out;
}

}  // namespace pimloop_lz4

/// Bytes that the output of LZ4_compress_default can need.
inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

/// Compress; return the bytes written, 0 when `capacity` is below LZ4_compressBound(size).
inline int LZ4_compress_default(const char* source, char* target, int size, int capacity) {
    using namespace pimloop_lz4;
    if (capacity < LZ4_compressBound(size)) return 0;
    const uint8_t* const in = reinterpret_cast<const uint8_t*>(source);
    uint8_t* out = reinterpret_cast<uint8_t*>(target);
    std::vector<int> seen(1u << kHashBits, -1);
    int literals = 0;
    int at = 0;
    while (at + kLastMatch < size) {
        const uint32_t word = load32(in + at);
        int& slot = seen[(word * 2654435761u) >> (32 - kHashBits)];
        const int candidate = slot;
        slot = at;
        if (candidate < 0 || at - candidate > kMaxOffset || load32(in + candidate) != word) {
            ++at;
            continue;
        }
        int length = kMinMatch;
        while (at + length < size - kEndLiterals && in[candidate + length] == in[at + length]) {
            ++length;
        }
        out = put_sequence(out, in + literals, at - literals, at - candidate, length);
        at += length;
        literals = at;
    }
    out = put_sequence(out, in + literals, size - literals, 0, 0);
    return static_cast<int>(out - reinterpret_cast<uint8_t*>(target));
}

#endif
