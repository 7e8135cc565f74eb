// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace halfpoll
{

/// The header before each frame on a TAP: struct virtio_net_hdr, whose kernel header is not C++. Little-endian
/// (TUNSETVNETLE).
struct vnet_header {
    static constexpr std::uint8_t NEEDS_CSUM = 1; ///< in `flags`: the checksum is left to the receiver of the frame
    static constexpr std::uint8_t GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_UDP_L4 = 5;
    static constexpr std::uint8_t GSO_ECN = 0x80; ///< beside a TCP type: the frame has the flag CWR

    std::uint8_t flags;
    std::uint8_t gso_type;
    std::uint16_t hdr_len;  ///< a hint: bytes of headers, or more
    std::uint16_t gso_size; ///< bytes of payload of each packet but the last
    std::uint16_t csum_start;
    std::uint16_t csum_offset; ///< of the field, from csum_start
};
static_assert(sizeof(vnet_header) == 10);

} // namespace halfpoll
