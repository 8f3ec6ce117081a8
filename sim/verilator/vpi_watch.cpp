// See vpi_watch.h.

#include "vpi_watch.h"

#include <algorithm>
#include <string>

#include "verilated.h"
#include "verilated_syms.h"

// Verilator's own functions, renamed when verilated_vpi.cpp is compiled.
extern "C" vpiHandle verilated_vpi_register_cb(p_cb_data data);
extern "C" PLI_INT32 verilated_vpi_remove_cb(vpiHandle callback);

namespace pimloop {

namespace {

/// Return the variable called `name` ("scope.signal", ports of the top "TOP.signal"), or nullptr.
const VerilatedVar* find_variable(const std::string& name) {
    const size_t dot = name.rfind('.');
    if (dot == std::string::npos) return nullptr;
    const VerilatedScope* const scope = Verilated::scopeFind(name.substr(0, dot).c_str());
    return scope ? scope->varFind(name.substr(dot + 1).c_str()) : nullptr;
}

}  // namespace

VpiWatch& vpi_watch() {
    static VpiWatch watch;
    return watch;
}

void VpiWatch::add(vpiHandle callback, vpiHandle object) {
    const char* const name = vpi_get_str(vpiFullName, object);
    const VerilatedVar* const variable = name ? find_variable(name) : nullptr;
    WatchedSignal signal{callback, nullptr, 0, {}};
    // An element of an array is named like "top.signal[3]" and is not found: VPI compares it.
    if (variable && variable->udims() == 0) {
        signal.data = variable->datap();
        signal.bytes = variable->totalSize();
        signal.seen.resize(signal.bytes);
    }
    signals_.push_back(std::move(signal));
}

void VpiWatch::remove(vpiHandle callback) {
    // The newest: a handle that was released without being removed may be in use again.
    const auto found = std::find_if(signals_.rbegin(), signals_.rend(), [=](const auto& signal) {
        return signal.callback == callback;
    });
    if (found != signals_.rend()) signals_.erase(std::next(found).base());
}

}  // namespace pimloop

extern "C" vpiHandle vpi_register_cb(p_cb_data data) {
    const vpiHandle callback = verilated_vpi_register_cb(data);
    if (callback && data->reason == cbValueChange) pimloop::vpi_watch().add(callback, data->obj);
    return callback;
}

extern "C" PLI_INT32 vpi_remove_cb(vpiHandle callback) {
    pimloop::vpi_watch().remove(callback);
    return verilated_vpi_remove_cb(callback);
}
