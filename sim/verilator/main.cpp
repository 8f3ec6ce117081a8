// Main program for Verilator + cocotb whose clock runs in C++.
//
// cocotb's stock main calls into VPI at every half clock. Here VPI is called only in time steps in
// which an application can be waiting: when a timed callback is due, when a signal with a
// value-change callback changed (vpi_watch.h), or when a read-write, read-only or next-time callback
// is registered. All other clock edges are an evaluation of the model and one comparison.
// cocotb triggers see the same values at the same simulated times as with the stock main.
//
// The top module needs an input `clk_i` (-DCLOCK=name for another). `+clock_period=N` is its period
// in units of the time precision; it starts low and rises first after half a period. A top module with
// the inputs `pulse_i` and `pulsed_i` (sim/rtl/pim_pulse_clock_sim.sv) is evaluated once in a clock
// instead of twice where nothing waits, unless its waveform or its toggles are wanted.
// `--trace --trace-file FILE` writes a waveform of the whole run, as with cocotb's main.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <signal.h>

#include "Vtop.h"
#include "host_watch.h"
#include "trace_window.h"
#include "verilated.h"
#include "verilated_vpi.h"
#include "vpi_watch.h"
#if VM_COVERAGE
#include "verilated_cov.h"
#endif

#ifndef CLOCK
#define CLOCK clk_i
#endif

extern "C" void vlog_startup_routines_bootstrap(void);  // cocotb's

// What Vtop::eval_step() calls after it has taken two locks: one for messages of other threads, of
// which a model built without --threads has none, and one for objects of classes to be freed, for
// which the steps with VPI are often enough. On a lean design they are a tenth of a clock's work.
void Vtop___024root___eval(Vtop___024root* root);

namespace {

constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

/// Whether a whole clock of this top module can be one evaluation.
template <class Top, class = void>
constexpr bool kPulses = false;
#if !VM_TRACE && !VM_COVERAGE
template <class Top>
constexpr bool kPulses<Top, std::void_t<decltype(std::declval<Top>().pulse_i)>> = true;
#endif

template <class Top>
void change_pulse(Top& top) {
    if constexpr (kPulses<Top>) top.pulse_i = !top.pulse_i;
}

template <class Top>
void set_pulsed(Top& top, bool pulsed) {
    if constexpr (kPulses<Top>) top.pulsed_i = pulsed;
}

/// What the simulation has done so far; read by the device server.
struct Statistics {
    uint64_t cycles = 0;       // rising clock edges
    uint64_t fast_cycles = 0;  // of them, in stretches without VPI
    uint64_t fast_ns = 0;      // wall time of those stretches
};

class Simulation final {
public:
    Simulation(VerilatedContext& context, uint64_t period)
        : context_(context), top_(&context, ""), high_(period / 2), low_(period - period / 2) {
        top_.CLOCK = 0;
        next_edge_ = low_;
    }

    /// Run until the application ends the simulation or waits for nothing any more.
    void run() {
        VerilatedVpi::callCbs(cbStartOfSimulation);
        settle_values();
        top_.eval_step();
        finish_time_step();
        while (!ended() && advance()) {}
        VerilatedVpi::callCbs(cbEndOfSimulation);
        pimloop::loop_ended = true;
        window_.close();
        top_.final();
    }

    Vtop& top() { return top_; }
    pimloop::TraceWindow& window() { return window_; }
    const Statistics& statistics() const { return statistics_; }

private:
    bool ended() const {
        return context_.gotFinish() || pimloop::host_gone.load(std::memory_order_relaxed);
    }

    /// Go to the next time at which anything can happen; false when nothing ever will.
    bool advance() {
        const uint64_t deadline = VerilatedVpi::cbNextDeadline();
        const bool next_time = VerilatedVpi::hasCbs(cbNextSimTime);
        if (deadline == kNever && !next_time && !pimloop::vpi_watch().any()) return false;
        if (!next_time && next_edge_ < deadline && !pimloop::vpi_watch().every_edge(&top_.CLOCK)) {
            if (!run_to_event(deadline)) return true;
        } else {
            context_.time(std::min(next_edge_, deadline));
            VerilatedVpi::callCbs(cbNextSimTime);
            settle_values();
            VerilatedVpi::callTimedCbs();
            settle_values();
            // What a timed callback drives at the time of an edge arrives together with the edge:
            // cocotb's own clock is driven by one more such callback.
            VerilatedVpi::doInertialPuts();
            if (context_.time() == next_edge_) toggle_clock();
            settle_values();  // who waits for the edge sees the values before it
            top_.eval_step();
        }
        finish_time_step();
        return true;
    }

    /// Toggle the clock until a watched signal changes (then true) or the next edge is not before
    /// `deadline`. On true the model is evaluated and VPI has not been told yet.
    bool run_to_event(uint64_t deadline) {
        pimloop::VpiWatch& watch = pimloop::vpi_watch();
        watch.refresh();
        const uint64_t cycles_before = statistics_.cycles;
        const auto started = std::chrono::steady_clock::now();
        bool changed = false;
        while (!changed && next_edge_ < deadline && !ended()) {
            context_.time(next_edge_);
            const bool pulse = kPulses<Vtop> && top_.CLOCK == 0;
            if (pulse) {
                change_pulse(top_);
            } else {
                toggle_clock();
            }
            evaluate();
            changed = watch.changed();
            if (pulse) end_pulse(changed, deadline);
            if (!changed) {
                top_.eval_end_step();
                window_.dump(context_.time());
            }
        }
        const auto wall = std::chrono::steady_clock::now() - started;
        statistics_.fast_cycles += statistics_.cycles - cycles_before;
        statistics_.fast_ns += std::chrono::duration_cast<std::chrono::nanoseconds>(wall).count();
        return changed;
    }

    /// Evaluate the model, which has been evaluated before.
    void evaluate() {
        if (one_thread_) {
            Vtop___024root___eval(top_.rootp);
        } else {
            top_.eval_step();
        }
    }

    void toggle_clock() {
        top_.CLOCK = !top_.CLOCK;
        set_pulsed(top_, false);
        statistics_.cycles += top_.CLOCK;
        next_edge_ += top_.CLOCK ? high_ : low_;
    }

    /// After the evaluation of a pulse at a rising edge: the model is past the falling edge too. Go to
    /// the next rising edge, or show the clock high where something is to be told before the fall.
    void end_pulse(bool changed, uint64_t deadline) {
        ++statistics_.cycles;
        next_edge_ += high_;
        if (changed || next_edge_ >= deadline) {
            top_.CLOCK = 1;
            set_pulsed(top_, true);
        } else {
            next_edge_ += low_;
        }
    }

    /// Value-change callbacks may change values again: call them until none does.
    static void settle_values() {
        while (VerilatedVpi::callValueCbs()) {}
    }

    /// The rest of a time step after the first evaluation: callbacks and what they cause.
    void finish_time_step() {
        bool again = false;
        do {
            if (again) top_.eval_step();
            VerilatedVpi::clearEvalNeeded();
            VerilatedVpi::doInertialPuts();
            settle_values();
            again = VerilatedVpi::evalNeeded();
            if (again) continue;
            VerilatedVpi::callCbs(cbReadWriteSynch);
            VerilatedVpi::doInertialPuts();
            settle_values();
            again = VerilatedVpi::evalNeeded();
        } while (again);
        top_.eval_end_step();
        VerilatedVpi::callCbs(cbReadOnlySynch);
        window_.dump(context_.time());
    }

    VerilatedContext& context_;
    Vtop top_;
    pimloop::TraceWindow window_;
    Statistics statistics_;
    const uint64_t high_;  // half periods, in time precisions
    const uint64_t low_;
    const bool one_thread_ = top_.threads() == 1;
    uint64_t next_edge_;
};

Simulation* simulation = nullptr;

/// Return the value of `+clock_period=N`.
uint64_t clock_period(VerilatedContext& context) {
    const std::string text = context.commandArgsPlusMatch("clock_period=");
    const size_t equals = text.find('=');
    const uint64_t period =
        equals == std::string::npos ? 0 : std::strtoull(text.c_str() + equals + 1, nullptr, 10);
    if (period < 2) {
        std::fprintf(stderr, "simulator: +clock_period=N (at least 2 time precisions) is needed\n");
        std::exit(EXIT_FAILURE);
    }
    return period;
}

}  // namespace

// What the device server calls, through ctypes, beside VPI.

extern "C" uint64_t pimloop_cycles() { return simulation->statistics().cycles; }
extern "C" uint64_t pimloop_fast_cycles() { return simulation->statistics().fast_cycles; }
extern "C" uint64_t pimloop_fast_ns() { return simulation->statistics().fast_ns; }
extern "C" int pimloop_trace_open(const char* path) {
    return simulation->window().open(simulation->top(), path);
}
extern "C" void pimloop_trace_close() { simulation->window().close(); }

int main(int argc, char** argv) {
    signal(SIGINT, SIG_IGN);  // Ctrl-C is the host's to handle; it closes the device
    pimloop::watch_host();
    // The default context: cocotb's bootstrap and VPI use it too.
    VerilatedContext& context = *Verilated::threadContextp();
    context.commandArgs(argc, argv);
    context.fatalOnVpiError(false);  // cocotb probes for objects that need not exist
    context.traceEverOn(VM_TRACE);
    Simulation the_simulation(context, clock_period(context));
    simulation = &the_simulation;
    vlog_startup_routines_bootstrap();
    for (int i = 1; i + 1 < argc; ++i) {
        if (std::string(argv[i]) == "--trace-file") pimloop_trace_open(argv[i + 1]);
    }
    the_simulation.run();
#if VM_COVERAGE
    // Turns of a generate loop are cover points of their own.
    context.coveragep()->forcePerInstance(true);
    context.coveragep()->write();
#endif
    return context.errorCount() > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
