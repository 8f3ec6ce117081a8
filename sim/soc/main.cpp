// Main program of the SoC: clock and reset, the console on the standard output, the end.
//
// The last line on the standard error stream is `clocks N code M` when the program has ended the run,
// or `clocks N` when it has not done so within `+most_clocks`.

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr uint64_t kResetClocks = 16;

uint64_t most_clocks(VerilatedContext& context) {
    const std::string text = context.commandArgsPlusMatch("most_clocks=");
    const size_t equals = text.find('=');
    if (equals == std::string::npos) {
        std::fprintf(stderr, "simulator: +most_clocks=N is needed\n");
        std::exit(EXIT_FAILURE);
    }
    return std::strtoull(text.c_str() + equals + 1, nullptr, 10);
}

}  // namespace

int main(int argc, char** argv) {
    VerilatedContext& context = *Verilated::threadContextp();
    context.commandArgs(argc, argv);
    const uint64_t most = most_clocks(context);
    Vtop top(&context, "top");
    top.serial_source_ready = 1;
    uint64_t clocks = 0;
    while (clocks < most && !top.finish_done) {
        top.sys_rst = clocks < kResetClocks;
        top.sys_clk = 1;
        context.timeInc(1);
        top.eval();
        top.sys_clk = 0;
        context.timeInc(1);
        top.eval();
        ++clocks;
        if (top.serial_source_valid) std::putchar(top.serial_source_data);
    }
    std::fflush(stdout);
    std::fprintf(stderr, "clocks %" PRIu64, clocks);
    if (top.finish_done) std::fprintf(stderr, " code %" PRIu32, static_cast<uint32_t>(top.finish_code));
    std::fprintf(stderr, "\n");
    top.final();
    return EXIT_SUCCESS;
}
