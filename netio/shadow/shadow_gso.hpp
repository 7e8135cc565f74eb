// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "vnet_header.hpp"

#include <cstdint>
#include <optional>
#include <span>

namespace halfpoll
{

/// A frame from the kernel, as the packets of the wire that it stands for: one, or several if the kernel left the
/// segmentation to the device (TCP and UDP over IPv4 and IPv6). The packets are those that the kernel's own
/// segmentation makes: IPv4 identifications count up, FIN and PSH are in the last packet, CWR is in the first, and all
/// checksums are complete. It works in the bytes of the frame, without copying the payload. One thread.
class wire_packets
{
public:
    /// A packet: its headers and its payload, both in the bytes of the frame. The headers are valid until the next call
    /// of next().
    struct packet {
        std::span<const std::uint8_t> headers; ///< empty if the frame is one packet, which is all payload
        std::span<const std::uint8_t> payload;
    };

    /// Nothing: the frame is malformed. `frame` is read and changed until the last next().
    static std::optional<wire_packets> of(const vnet_header &header, std::span<std::uint8_t> frame) noexcept;

    unsigned count() const noexcept { return count_; }
    /// Called `count()` times.
    packet next() noexcept;

private:
    explicit wire_packets(std::span<std::uint8_t> frame) noexcept : frame_(frame) {}
    bool find_headers(const vnet_header &header) noexcept;
    bool find_network(std::uint8_t type) noexcept;
    void number_ip4(unsigned length) noexcept;
    void number_tcp(bool last) noexcept;
    void sum_up(unsigned length, std::span<const std::uint8_t> payload) noexcept;

    std::span<std::uint8_t> frame_;
    unsigned network_ = 0;   ///< offset of the IP header
    unsigned transport_ = 0; ///< offset of the TCP or UDP header
    unsigned headers_ = 0;   ///< bytes in front of the payload
    unsigned size_ = 0;      ///< bytes of payload of each packet but the last
    bool ip4_ = false, tcp_ = false;
    std::uint16_t partial_ = 0; ///< sum of the pseudo-header without the length, as the field in the frame has it
    std::uint16_t id_ = 0;      ///< IPv4 identification of the first packet
    std::uint32_t sequence_ = 0;
    std::uint8_t tcp_flags_ = 0;
    unsigned count_ = 1;
    unsigned made_ = 0; ///< number of packets that next() has returned
};

/// Completes the checksum of the bytes from `start` on; the field at `start` + `offset` holds the sum of the
/// pseudo-header. False: the field is not inside the frame.
bool complete_checksum(std::span<std::uint8_t> frame, unsigned start, unsigned offset) noexcept;

} // namespace halfpoll
