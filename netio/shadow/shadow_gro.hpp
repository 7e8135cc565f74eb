// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_core.hpp>

#include "vnet_header.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <sys/uio.h>

struct rte_mbuf;

namespace halfpoll
{

/// What may be merged on the way to an interface.
struct gro_kinds {
    bool tcp = false, udp = false;
};

/// The packets of one batch as frames for the kernel. Packets that follow each other in a TCP or UDP flow are merged by
/// the rules of the kernel's GRO, and by stricter ones where a frame could not say all: the kernel's segmentation of a
/// merged frame gives the very same packets again. So IPv4 identifications have to count up, also in packets that must
/// not be fragmented, and the checksums have to be right. Packets of a flow keep their order; nothing waits for a later
/// batch. The packets are only read, because they may have other references. One thread.
class gro_batch
{
public:
    static constexpr unsigned PACKETS = 2 * NET_BURST; ///< enough for the longest frame of whole Ethernet packets

    /// Forgets all packets.
    void clear() noexcept { frames_count_ = packets_count_ = 0; }
    /// Adds a packet for the interface `to`, at most PACKETS in all. The packet stays as it is until clear().
    void add(const rte_mbuf &m, void *to, gro_kinds kinds) noexcept;

    /// Frames, in the order of their first packets.
    unsigned frames() const noexcept { return frames_count_; }
    void *to(unsigned frame) const noexcept { return frames_[frame].to; }
    /// Number of packets that a frame stands for.
    unsigned packets(unsigned frame) const noexcept { return frames_[frame].packets; }
    /// A frame with the header that precedes it on a TAP, valid until the next call. Empty: the packet has too many
    /// segments.
    std::span<const iovec> gather(unsigned frame) noexcept;

private:
    static constexpr unsigned PIECES = PACKETS;      ///< segments of the packets of one frame
    static constexpr unsigned LONGEST_HEADERS = 256; ///< of packets that are merged

    /// What is known of a packet's headers. Offsets are from the beginning of the frame, whose first segment contains
    /// the headers of a packet that may be merged.
    struct view {
        enum { other, ip, flow, mergeable } kind = other; ///< each one includes what is known of those before it
        bool ip4 = false;
        std::uint8_t protocol = 0;   ///< flow
        bool last = false;           ///< mergeable: the sender asks that nothing is merged behind it
        unsigned network = 0;        ///< ip
        unsigned transport = 0;      ///< flow
        unsigned headers = 0;        ///< mergeable: bytes in front of the payload
        unsigned payload = 0;        ///< mergeable
        std::uint32_t addresses = 0; ///< ip: hash of both
    };
    struct merged {
        const rte_mbuf *first;
        void *to;
        view headers;  ///< of the first packet
        bool open;     ///< packets may be merged into it
        bool verified; ///< the checksums of the first packet are right
        std::uint8_t first_index, last_index;
        unsigned packets;
        unsigned pieces;
        unsigned payload; ///< of all packets
    };

    static view view_of(const rte_mbuf &m, gro_kinds kinds) noexcept;
    static void look_at_flow(view &v, const rte_mbuf &m, gro_kinds kinds) noexcept;
    static bool is_mergeable_ip(const view &v, const std::uint8_t *ip, std::uint32_t frame_length) noexcept;
    static bool look_at_tcp(view &v, std::span<const std::uint8_t> bytes) noexcept;
    static bool look_at_udp(view &v, std::span<const std::uint8_t> bytes, std::uint32_t frame_length) noexcept;
    static bool same_flow(const merged &f, const rte_mbuf &m, const view &v) noexcept;
    static bool follows(const merged &f, const rte_mbuf &m, const view &v) noexcept;
    static bool follows_ip(const merged &f, const rte_mbuf &m, const view &v) noexcept;
    static bool follows_tcp(const merged &f, const rte_mbuf &m, const view &v) noexcept;
    bool merge(merged &f, const rte_mbuf &m, const view &v) noexcept;
    bool merge_or_close(const rte_mbuf &m, void *to, const view &v) noexcept;
    void write_headers(const merged &f) noexcept;

    std::array<merged, PACKETS> frames_;
    unsigned frames_count_ = 0;
    std::array<const rte_mbuf *, PACKETS> packets_;
    std::array<std::uint8_t, PACKETS> next_; ///< index of the next packet of the same frame
    unsigned packets_count_ = 0;

    // What gather() returns.
    vnet_header header_;
    std::array<std::uint8_t, LONGEST_HEADERS> headers_;
    std::array<iovec, 2 + PIECES> pieces_;
};

} // namespace halfpoll
