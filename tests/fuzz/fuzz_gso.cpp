// SPDX-License-Identifier: BSD-3-Clause
// Segmentation of frames from the kernel: it reads and writes only within the frame, and its packets have the whole
// payload, in order. An input is the header before a frame, then the frame.
#include "netio/shadow/shadow_gso.hpp"

#include "fuzz_packets.hpp"

using namespace halfpoll;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size)
{
    vnet_header header;
    if (size < sizeof header) {
        return 0;
    }
    std::memcpy(&header, data, sizeof header);
    data += sizeof header;
    size -= sizeof header;
    const auto frame = std::make_unique<std::uint8_t[]>(size);
    std::copy_n(data, size, frame.get());
    std::optional<wire_packets> packets = wire_packets::of(header, {frame.get(), size});
    if (!packets) {
        return 0;
    }
    const std::uint8_t *expected = nullptr;
    for (unsigned i = 0; i < packets->count(); ++i) {
        const wire_packets::packet p = packets->next();
        fuzz::require(p.headers.empty() || (p.headers.data() == frame.get() && !p.payload.empty()));
        fuzz::require(p.payload.data() == (expected ? expected : frame.get() + p.headers.size()));
        expected = p.payload.data() + p.payload.size();
    }
    fuzz::require(expected == frame.get() + size);
    return 0;
}
