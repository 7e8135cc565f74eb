// SPDX-License-Identifier: BSD-3-Clause
// Merging of packets for the kernel: it reads only within the packets, and its frames have all of them, in the order of
// each flow.
#include "netio/shadow/shadow_gro.hpp"

#include "fuzz_packets.hpp"

using namespace halfpoll;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size)
{
    static gro_batch batch;
    fuzz::packets packets(data, size, gro_batch::PACKETS);
    batch.clear();
    std::size_t bytes = 0;
    for (unsigned i = 0; i < packets.size(); ++i) {
        bytes += packets.data()[i]->pkt_len;
        batch.add(*packets.data()[i], nullptr, {.tcp = true, .udp = true});
    }
    unsigned count = 0;
    std::size_t gathered = 0;
    for (unsigned i = 0; i < batch.frames(); ++i) {
        std::size_t length = 0;
        volatile std::uint8_t seen = 0;
        for (const iovec &part : batch.gather(i).subspan(1)) {
            length += part.iov_len;
            for (std::size_t k = 0; k < part.iov_len; ++k) {
                seen = static_cast<const std::uint8_t *>(part.iov_base)[k];
            }
        }
        fuzz::require(batch.packets(i) > 1 || length > 0 || seen == 0);
        fuzz::require(length <= 65535 + 14 + 16);
        count += batch.packets(i);
        gathered += length;
    }
    fuzz::require(count == packets.size() && gathered <= bytes);
    return 0;
}
