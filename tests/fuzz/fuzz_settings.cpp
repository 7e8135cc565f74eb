// SPDX-License-Identifier: BSD-3-Clause
// The configuration of a shipped program from any text: it is accepted, or refused with a settings_error that gives the
// place.
#include XDP_PROGRAM

#include "fuzz_packets.hpp"

using namespace halfpoll;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size)
{
    const std::string text(reinterpret_cast<const char *>(data), size);
    if (text.find("include") != text.npos) {
        return -1; // the fuzzer must not read other files of the machine
    }
    [[maybe_unused]] halfpoll_xdp_host host{};
    host.ifindex = [](void *, const char *name) -> std::uint32_t { return name[0] == 'x'; };
    host.map = [](void *, const char *name) -> halfpoll_xdp_map * {
        return name[0] == 'm' ? reinterpret_cast<halfpoll_xdp_map *>(8) : nullptr;
    };
    try {
        XDP_SETTINGS;
    } catch (const settings_error &e) {
        fuzz::require(std::string(e.what()).find(": ") != std::string::npos);
    }
    return 0;
}
