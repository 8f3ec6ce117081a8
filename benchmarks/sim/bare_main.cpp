// The simulated board in a bare C++ loop: what the model does without cocotb, VPI or a server.
//
// Usage: simulator SCRIPT. Writes the registers listed in SCRIPT ("offset value" on each line), the
// last of which is the doorbell, and toggles the clock until the interrupt. Prints the fabric cycles
// and the nanoseconds, of wall and of CPU time, from the doorbell's answer to the interrupt. Host memory comes from the
// environment as always (pim_memory_dpi.cpp).

#include <time.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr int kResetCycles = 16;
constexpr int kAccessCycles = 1000;
constexpr uint64_t kMostCycles = 1ULL << 40;

class Board final {
public:
    explicit Board(VerilatedContext& context) : context_(context), top_(&context, "") {
        top_.clk_i = 0;
        top_.rst_ni = 0;
        top_.eval();
        for (int i = 0; i < kResetCycles; ++i) cycle();
        top_.rst_ni = 1;
        for (int i = 0; i < kResetCycles; ++i) cycle();
    }

    void write(uint32_t offset, uint32_t value) {
        top_.s_axil_awaddr = static_cast<uint16_t>(offset);
        top_.s_axil_wdata = value;
        top_.s_axil_wstrb = 0xF;
        top_.s_axil_awvalid = top_.s_axil_wvalid = top_.s_axil_bready = 1;
        top_.eval();
        for (int i = 0; i < kAccessCycles; ++i) {
            const bool address_taken = top_.s_axil_awready;
            const bool data_taken = top_.s_axil_wready;
            const bool answered = top_.s_axil_bvalid;
            cycle();
            if (address_taken) top_.s_axil_awvalid = 0;
            if (data_taken) top_.s_axil_wvalid = 0;
            if (answered) {
                top_.s_axil_bready = 0;
                return;
            }
            top_.eval();
        }
        std::fprintf(stderr, "bare: register 0x%03X does not answer\n", offset);
        std::exit(EXIT_FAILURE);
    }

    uint64_t run_to_interrupt() {
        const uint64_t before = cycles_;
        while (!top_.irq_o && cycles_ - before < kMostCycles) cycle();
        return cycles_ - before;
    }

private:
    void cycle() {
        context_.timeInc(2);
        top_.pulse_i = !top_.pulse_i;
        top_.eval();
        ++cycles_;
    }

    VerilatedContext& context_;
    Vtop top_;
    uint64_t cycles_ = 0;
};

std::vector<std::pair<uint32_t, uint32_t>> read_script(const char* path) {
    std::vector<std::pair<uint32_t, uint32_t>> writes;
    std::FILE* const file = std::fopen(path, "r");
    if (!file) std::exit((std::perror(path), EXIT_FAILURE));
    uint32_t offset;
    uint32_t value;
    while (std::fscanf(file, "%" SCNu32 " %" SCNu32, &offset, &value) == 2) {
        writes.emplace_back(offset, value);
    }
    std::fclose(file);
    return writes;
}

int64_t nanoseconds(clockid_t clock) {
    timespec now;
    clock_gettime(clock, &now);
    return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

int main(int argc, char** argv) {
    VerilatedContext& context = *Verilated::threadContextp();
    context.commandArgs(argc, argv);
    if (argc < 2) return EXIT_FAILURE;
    const auto script = read_script(argv[1]);
    const auto board = std::make_unique<Board>(context);
    for (const auto& [offset, value] : script) board->write(offset, value);
    const int64_t wall = nanoseconds(CLOCK_MONOTONIC);
    const int64_t cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    const uint64_t cycles = board->run_to_interrupt();
    std::printf("%" PRIu64 " %" PRId64 " %" PRId64 "\n", cycles,
                nanoseconds(CLOCK_MONOTONIC) - wall, nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    return EXIT_SUCCESS;
}
