// SPDX-License-Identifier: BSD-3-Clause
// Sequences of xdp_adjust_head(), _tail() and _meta() on packets of up to four segments, compared with a model that
// keeps the bytes in vectors. The bytes that a call adds in front have undefined content, so they are written at once.
#include "fuzz_packets.hpp"

#include <halfpoll/xdp_program.h>

using namespace halfpoll;

namespace
{

constexpr int META_OFFSET = offsetof(rte_mbuf, dynfield1);
constexpr std::uint64_t META_FLAG = 1ULL << 40;

/// Reads the fuzzer's bytes one after the other, then zeros.
struct reader {
    const std::uint8_t *data;
    std::size_t size;

    std::uint8_t byte()
    {
        if (size == 0) {
            return 0;
        }
        --size;
        return *data++;
    }
    int delta() { return static_cast<std::int8_t>(byte()) * (byte() % 16 == 0 ? 4096 : 1); }
};

struct model {
    std::vector<std::uint8_t> content, meta;
};

std::uint8_t pattern(std::size_t i) { return static_cast<std::uint8_t>(i * 7 + 1); }

rte_mbuf *make_packet(reader &in, model &m)
{
    std::uint8_t bytes[256];
    for (std::size_t i = 0; i < sizeof bytes; ++i) {
        bytes[i] = pattern(i);
    }
    const unsigned segments = 1 + in.byte() % 4;
    rte_mbuf *packet = nullptr;
    for (unsigned i = 0; i < segments; ++i) {
        const std::size_t size = i ? in.byte() : 14 + in.byte() % 128;
        rte_mbuf *s = fuzz::segment(bytes, size, i ? 0 : in.byte(), in.byte());
        m.content.insert(m.content.end(), bytes, bytes + size);
        if (!packet) {
            packet = s;
        } else {
            fuzz::require(rte_pktmbuf_chain(packet, s) == 0);
        }
    }
    return packet;
}

void compare(const halfpoll_xdp_burst &b, const model &m)
{
    const rte_mbuf *p = b.pkts[0];
    unsigned segments = 0;
    std::size_t at = 0;
    for (const rte_mbuf *s = p; s; s = s->next, ++segments) {
        fuzz::require(s->data_off + s->data_len <= s->buf_len);
        fuzz::require(at + s->data_len <= m.content.size());
        fuzz::require(s->data_len == 0 || !std::memcmp(rte_pktmbuf_mtod(s, void *), &m.content[at], s->data_len));
        at += s->data_len;
    }
    fuzz::require(at == m.content.size() && p->pkt_len == at && xdp_get_buff_len(&b, 0) == at);
    fuzz::require(p->nb_segs == segments);
    fuzz::require(xdp_meta_len(&b, 0) == m.meta.size() && m.meta.size() <= p->data_off);
    fuzz::require(m.meta.empty() || !std::memcmp(xdp_data_meta(&b, 0), m.meta.data(), m.meta.size()));
}

void adjust_head(halfpoll_xdp_burst &b, model &m, int delta)
{
    if (xdp_adjust_head(&b, 0, delta) != 0) {
        return;
    }
    if (delta > 0) {
        m.content.erase(m.content.begin(), m.content.begin() + delta);
        return;
    }
    const std::vector<std::uint8_t> fresh(static_cast<std::size_t>(-delta), 0xAB);
    std::copy(fresh.begin(), fresh.end(), xdp_data(&b, 0));
    m.content.insert(m.content.begin(), fresh.begin(), fresh.end());
}

void adjust_meta(halfpoll_xdp_burst &b, model &m, int delta)
{
    if (xdp_adjust_meta(&b, 0, delta) != 0) {
        return;
    }
    const int length = static_cast<int>(m.meta.size()) - delta;
    fuzz::require(length >= 0 && length <= 252 && length % 4 == 0);
    m.meta.assign(static_cast<std::size_t>(length), static_cast<std::uint8_t>(length));
    std::copy(m.meta.begin(), m.meta.end(), xdp_data_meta(&b, 0));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size)
{
    reader in{data, size};
    model m;
    rte_mbuf *packet = make_packet(in, m);
    const auto burst = std::make_unique_for_overwrite<halfpoll_xdp_burst>();
    burst->pkts = &packet;
    burst->n = 1;
    burst->meta_offset = META_OFFSET;
    burst->meta_flag = META_FLAG;
    while (in.size > 0) {
        const unsigned what = in.byte() % 3;
        const int delta = in.delta();
        if (what == 0) {
            adjust_head(*burst, m, delta);
        } else if (what == 1) {
            adjust_meta(*burst, m, delta);
        } else if (xdp_adjust_tail(burst.get(), 0, delta) == 0) {
            m.content.resize(static_cast<std::size_t>(static_cast<std::ptrdiff_t>(m.content.size()) + delta));
        }
        compare(*burst, m);
    }
    rte_pktmbuf_free(packet);
    return 0;
}
