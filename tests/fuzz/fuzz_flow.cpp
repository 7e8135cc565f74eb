// SPDX-License-Identifier: BSD-3-Clause
// The dissector and the flow hash: all ways to compute the hash agree, and everything that is found lies in the packet.
#include "fuzz_frames.hpp"
#include "fuzz_packets.hpp"
#include "netio/flow/flow_dissect.hpp"
#include "netio/flow/flow_hash_levels.hpp"

using namespace halfpoll;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size)
{
    static const std::array<std::uint8_t, 40> key = {1, 2, 4, 8, 16, 32, 64, 128, 0x5a, 0xa5, 0x77};
    static const bool keyed = (set_flow_hash_key(key), true);
    fuzz::require(keyed);
    fuzz::packets pkts(data, size, 8);
    std::uint32_t first[8], other[8];
    flow_hash_portable(pkts.data(), pkts.size(), first);
    for (unsigned i = 0; i < pkts.size(); ++i) {
        rte_mbuf *m = pkts.data()[i];
        const auto *frame = rte_pktmbuf_mtod(m, const std::uint8_t *);
        const flow_keys keys = flow_dissect(m);
        fuzz::require(keys.addresses || (first[i] == 0 && keys.ports == 0));
        fuzz::require(!keys.addresses ||
                      (keys.addresses >= frame + 14 && keys.addresses + (keys.ip6 ? 32 : 8) <= frame + m->data_len));
        m->ol_flags = 0; // forces a new computation
    }
    for (const flow_hash_level &level : flow_hash_levels()) {
        level.hash(pkts.data(), pkts.size(), other);
        for (unsigned i = 0; i < pkts.size(); ++i) {
            fuzz::require(other[i] == first[i]);
            pkts.data()[i]->ol_flags = 0;
        }
    }
    return 0;
}
