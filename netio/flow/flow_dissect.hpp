// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_byteorder.h>
#include <rte_mbuf.h>

#include <cstdint>
#include <cstring>

namespace halfpoll
{

/// The fields that identify a packet's flow: addresses in the packet (source, destination), and both ports as they lie
/// in memory.
struct flow_keys {
    const std::uint8_t *addresses = nullptr; ///< null: the packet belongs to no flow
    bool ip6 = false;
    std::uint32_t ports = 0;
};

/// Finds the flow fields of any packet.
flow_keys flow_dissect(const rte_mbuf *m) noexcept;

template <typename T>
T load_as(const void *at) noexcept
{
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

/// Whether a packet is of the most frequent kind: untagged IPv4 without options, TCP or UDP, no fragment. Then 16 bytes
/// may be read from offset 26 on, which begin with addresses and ports.
inline bool plain_ip4(const rte_mbuf *m, const std::uint8_t *frame) noexcept
{
    if (m->data_len < 42) {
        return false;
    }
    const std::uint32_t type_version = load_as<std::uint32_t>(frame + 12) & rte_cpu_to_be_32(0xFFFFFF00);
    const std::uint32_t fragment_protocol = load_as<std::uint32_t>(frame + 20) & rte_cpu_to_be_32(0x3FFF00FF);
    return type_version == rte_cpu_to_be_32(0x08004500) &&
           (fragment_protocol == rte_cpu_to_be_32(17) || fragment_protocol == rte_cpu_to_be_32(6));
}

} // namespace halfpoll
