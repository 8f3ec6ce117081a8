// An FST waveform that is opened and closed while the simulation runs.
//
// Verilator ignores $dumpoff, so the main loop owns the window: it calls `dump` after every change
// and that costs nothing while no window is open.

#ifndef PIMLOOP_TRACE_WINDOW_H_
#define PIMLOOP_TRACE_WINDOW_H_

#include <cstdint>
#include <memory>

#include "Vtop.h"

#if VM_TRACE_FST
#include "verilated_fst_c.h"
#endif

namespace pimloop {

class TraceWindow final {
public:
#if VM_TRACE_FST
    /// Start a waveform; false when one is open or the file cannot be written.
    bool open(Vtop& top, const char* path) {
        if (open_ || !writable(path)) return false;
        // A new one for each file: one that is opened again declares the enums of the design again,
        // which aborts it (VerilatedFst::declDTypeEnum of Verilator 5.048).
        trace_ = std::make_unique<VerilatedFstC>();
        top.trace(trace_.get(), kLevels);
        trace_->open(path);
        open_ = true;
        return true;
    }
    void close() {
        if (open_) trace_->close();
        open_ = false;
    }
    void dump(uint64_t time) {
        if (open_) trace_->dump(time);
    }

private:
    static bool writable(const char* path) {
        std::FILE* const file = std::fopen(path, "wb");
        if (file) std::fclose(file);
        return file != nullptr;
    }
    static constexpr int kLevels = 99;  // of the hierarchy: all
    std::unique_ptr<VerilatedFstC> trace_;
    bool open_ = false;
#else
    bool open(Vtop&, const char*) { return false; }
    void close() {}
    void dump(uint64_t) {}
#endif
};

}  // namespace pimloop

#endif
