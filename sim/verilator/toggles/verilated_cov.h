// Stands before Verilator's header of this name in builds with coverage.
//
// VL_COV_TOGGLE_CHG_ST_W of Verilator up to 5.048 shifts a word by more than its width, so that a
// toggle of bit i of a vector of more than 64 bits is also counted at i + 32, i + 64 and so on.
#include_next <verilated_cov.h>

// This file is met twice: from a generated file beside it, and then by -I.
#ifndef PIMLOOP_TOGGLES_H_
#define PIMLOOP_TOGGLES_H_

#include <algorithm>

static inline void pimloop_count_toggles(int width, uint32_t* counts, WDataInP now,
                                         WDataInP before) {
    for (int word = 0; word < VL_WORDS_I(width); ++word) {
        const EData changed = now[word] ^ before[word];
        if (!changed) continue;
        uint32_t* const of_word = counts + 2 * VL_EDATASIZE * word;
        const int bits = std::min<int>(VL_EDATASIZE, width - VL_EDATASIZE * word);
        for (int bit = 0; bit < bits; ++bit) {
            of_word[2 * bit + ((now[word] >> bit) & 1)] += (changed >> bit) & 1;
        }
    }
}
#define VL_COV_TOGGLE_CHG_ST_W pimloop_count_toggles

#endif
