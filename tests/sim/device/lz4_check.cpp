// Compresses stdin with sim/verilator/lz4/lz4.h and writes the block to stdout.

#include <cstdio>
#include <iterator>
#include <string>
#include <vector>

#include <lz4.h>

int main() {
    std::string input;
    for (int c = std::getchar(); c != EOF; c = std::getchar()) input.push_back(static_cast<char>(c));
    const int size = static_cast<int>(input.size());
    std::vector<char> output(static_cast<size_t>(LZ4_compressBound(size)));
    if (LZ4_compress_default(input.data(), output.data(), size, LZ4_compressBound(size) - 1) != 0) {
        return 1;  // too small an output must be refused
    }
    const int written = LZ4_compress_default(input.data(), output.data(), size,
                                             LZ4_compressBound(size));
    std::fwrite(output.data(), 1, static_cast<size_t>(written), stdout);
    return 0;
}
