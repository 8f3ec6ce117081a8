// Knows which signals a VPI application (cocotb) waits for, without asking VPI every cycle.
//
// Verilator finds value changes by comparing every watched signal each time its owner asks, through
// several layers of VPI objects. Here the two functions that register and remove callbacks are
// wrapped (`MAKE_RULES` of sim/verilator/cpp_clock.py renames Verilator's own), so that the main loop has the
// plain addresses of the watched signals and compares a byte or two per clock edge.

#ifndef PIMLOOP_VPI_WATCH_H_
#define PIMLOOP_VPI_WATCH_H_

#include <cstdint>
#include <cstring>
#include <vector>

#include "vpi_user.h"

namespace pimloop {

/// One registered value-change callback.
struct WatchedSignal {
    vpiHandle callback;
    const void* data;            // current value; nullptr: not found
    size_t bytes;                // size of the value
    std::vector<uint8_t> seen;   // value at the last `refresh`
};

/// Every value-change callback that is registered now.
class VpiWatch final {
public:
    /// Remember the present values; call when VPI has seen every change.
    void refresh();
    /// Whether a watched value differs from the remembered one.
    bool changed() const;
    /// Whether any value-change callback is registered.
    bool any() const { return !signals_.empty(); }
    /// Whether VPI must be asked at every clock edge: `clock` is watched, or something whose
    /// address is not known.
    bool every_edge(const void* clock) const;

    void add(vpiHandle callback, vpiHandle object);
    void remove(vpiHandle callback);

private:
    std::vector<WatchedSignal> signals_;
};

VpiWatch& vpi_watch();

inline bool VpiWatch::changed() const {
    for (const WatchedSignal& signal : signals_) {
        if (signal.bytes == 1) {
            if (*static_cast<const uint8_t*>(signal.data) != signal.seen[0]) return true;
        } else if (std::memcmp(signal.data, signal.seen.data(), signal.bytes) != 0) {
            return true;
        }
    }
    return false;
}

inline bool VpiWatch::every_edge(const void* clock) const {
    for (const WatchedSignal& signal : signals_) {
        if (!signal.data || signal.data == clock) return true;
    }
    return false;
}

inline void VpiWatch::refresh() {
    for (WatchedSignal& signal : signals_) {
        std::memcpy(signal.seen.data(), signal.data, signal.bytes);
    }
}

}  // namespace pimloop

#endif
