// Bodies of the memories of the simulated board, called from SystemVerilog through DPI-C.
//
// Device array (sim/rtl/pim_dram_sim.sv): the file in memory whose descriptor the host passes
// ($PIMLOOP_DRAM_FD), so that both see the same bytes, or without a host an anonymous mapping. Either
// way a device of 512 MiB costs only the pages it touches. Host memory (sim/rtl/pim_hostmem_sim.sv): the memory the
// host shares by file descriptor ($PIMLOOP_MEMORY_FD), mapped once. Both are plain memory here: who
// may touch what, and when, is the business of the SystemVerilog around them.

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "svdpi.h"

namespace {

constexpr uint32_t kLineBytes = 64;  // bytes of one bus beat

// AXI response codes.
constexpr int kOkay = 0;
constexpr int kSlaveError = 2;
constexpr int kDecodeError = 3;

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "pim_memory_dpi: %s\n", what);
    std::exit(EXIT_FAILURE);
}

/// One device array.
struct Dram {
    uint8_t* base;
    uint64_t bytes;
};

uint8_t* dram_at(void* handle, uint64_t address, uint32_t bytes) {
    const Dram* const dram = static_cast<Dram*>(handle);
    if (bytes > dram->bytes || address > dram->bytes - bytes) {
        std::fprintf(stderr, "address 0x%" PRIx64 ", %" PRIu32 " bytes, capacity %" PRIu64 "\n",
                     address, bytes, dram->bytes);
        fail("access outside the device array");
    }
    return dram->base + address;
}

/// Map the array that the host shares; the host learns its size from the file.
///
/// With $PIMLOOP_SHARED_DRAM_FD its first bytes are that file: memory of several devices.
void* map_shared_dram(const char* fd_text, uint64_t bytes) {
    static bool taken = false;
    if (taken) fail("the host shares the memory of one device array, and there are two");
    taken = true;
    const int fd = std::atoi(fd_text);
    if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
        std::perror("pim_memory_dpi: $PIMLOOP_DRAM_FD");
        fail("cannot give the device array its size");
    }
    void* const base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    const char* const shared_text = std::getenv("PIMLOOP_SHARED_DRAM_FD");
    if (base == MAP_FAILED || !shared_text) return base;
    const int shared = std::atoi(shared_text);
    struct stat status;
    if (fstat(shared, &status) != 0) fail("PIMLOOP_SHARED_DRAM_FD is no open file");
    const uint64_t size = static_cast<uint64_t>(status.st_size);
    if (size > bytes) fail("the memory shared between devices is larger than the device");
    return mmap(base, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, shared, 0);
}

/// Memory of the host as the bus sees it.
struct HostMemory {
    uint8_t* base = nullptr;
    uint64_t bytes = 0;
    uint64_t address = 0;              // bus address of the first byte
    uint64_t error_line = UINT64_MAX;  // line that answers with an error; none: all ones

    HostMemory() {
        const char* const fd_text = std::getenv("PIMLOOP_MEMORY_FD");
        const char* const address_text = std::getenv("PIMLOOP_MEMORY_ADDRESS");
        if (!fd_text || !address_text) return;  // without a host every access is outside
        const int fd = std::atoi(fd_text);
        struct stat status;
        if (fstat(fd, &status) != 0) fail("PIMLOOP_MEMORY_FD is no open file");
        bytes = static_cast<uint64_t>(status.st_size);
        address = std::strtoull(address_text, nullptr, 0);
        void* const mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (mapped == MAP_FAILED) fail("cannot map the memory shared with the host");
        base = static_cast<uint8_t*>(mapped);
    }

    int response(uint64_t at) const {
        const uint64_t offset = at - address;
        if (bytes < kLineBytes || offset > bytes - kLineBytes) return kDecodeError;
        return at / kLineBytes == error_line ? kSlaveError : kOkay;
    }
};

HostMemory& host_memory() {
    static HostMemory memory;
    return memory;
}

}  // namespace

extern "C" {

void* pim_dram_new(unsigned long long bytes) {
    const char* const fd_text = std::getenv("PIMLOOP_DRAM_FD");
    void* const base = fd_text ? map_shared_dram(fd_text, bytes)
                               : mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) fail("cannot map the device array: too large for this machine");
    return new Dram{static_cast<uint8_t*>(base), bytes};
}

void pim_dram_read(void* handle, unsigned long long address, unsigned int bytes,
                   svBitVecVal* data) {
    std::memcpy(data, dram_at(handle, address, bytes), bytes);
}

void pim_dram_write(void* handle, unsigned long long address, unsigned int bytes,
                    const svBitVecVal* data) {
    std::memcpy(dram_at(handle, address, bytes), data, bytes);
}

/// Read the line at `address` (64-byte aligned); return the AXI response code.
int pim_hostmem_read(unsigned long long address, svBitVecVal* data) {
    const HostMemory& memory = host_memory();
    const int response = memory.response(address);
    if (response == kOkay) {
        std::memcpy(data, memory.base + (address - memory.address), kLineBytes);
    } else {
        std::memset(data, 0, kLineBytes);
    }
    return response;
}

/// Write the bytes of the line at `address` that `strobe` selects; return the AXI response code.
int pim_hostmem_write(unsigned long long address, unsigned long long strobe,
                      const svBitVecVal* data) {
    const HostMemory& memory = host_memory();
    const int response = memory.response(address);
    if (response != kOkay) return response;
    uint8_t* const line = memory.base + (address - memory.address);
    const uint8_t* const from = reinterpret_cast<const uint8_t*>(data);
    if (strobe == ~0ULL) {
        std::memcpy(line, from, kLineBytes);
    } else {
        for (uint32_t i = 0; i < kLineBytes; ++i) {
            if (strobe >> i & 1) line[i] = from[i];
        }
    }
    return response;
}

/// Make the line that holds `address` answer with SLVERR; all ones: none. For the device server.
void pimloop_hostmem_error(unsigned long long address) {
    host_memory().error_line = address == ~0ULL ? ~0ULL : address / kLineBytes;
}

}  // extern "C"
