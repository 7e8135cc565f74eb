// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace halfpoll
{

using bytes = std::vector<std::uint8_t>;

inline void append(bytes &to, const bytes &what) { to.insert(to.end(), what.begin(), what.end()); }
inline void append_be16(bytes &to, unsigned v)
{
    append(to, {static_cast<std::uint8_t>(v >> 8), static_cast<std::uint8_t>(v)});
}

inline bytes address(const std::string &text)
{
    const bool six = text.find(':') != text.npos;
    bytes a(six ? 16 : 4);
    EXPECT_EQ(inet_pton(six ? AF_INET6 : AF_INET, text.c_str(), a.data()), 1) << text;
    return a;
}

inline constexpr std::uint8_t ICMP = 1, TCP = 6, UDP = 17, ICMP6 = 58, SYN = 0x02, ACK = 0x10;

/// The parts of a frame that tests vary; the rest is usual.
struct frame_parts {
    std::string src = "192.0.2.1", dst = "198.51.100.1";
    unsigned sport = 1000, dport = 80;
    std::uint8_t flags = ACK, protocol = TCP;
    unsigned tags = 0;
    unsigned fragment = 0; ///< IPv4: the 16 bits of flags and offset; IPv6: if not 0, a fragment header with these bits
    unsigned hop_by_hop = 0; ///< number of extension headers
    bytes payload{};         ///< replaces TCP or UDP
};

/// The packet from the IP header on.
inline bytes ip_packet(const frame_parts &p)
{
    bytes l4 = p.payload;
    if (l4.empty()) {
        append_be16(l4, p.sport);
        append_be16(l4, p.dport);
        append(l4, {0, 0, 0, 1, 0, 0, 0, 0, 0x50, p.flags, 1, 0, 0, 0, 0, 0});
    }
    bytes extensions;
    std::uint8_t next = p.protocol;
    if (p.fragment != 0 && p.src.find(':') != p.src.npos) {
        append(extensions, {next, 0});
        append_be16(extensions, p.fragment);
        append(extensions, {0, 0, 0, 1});
        next = 44;
    }
    for (unsigned i = 0; i < p.hop_by_hop; ++i) {
        extensions.insert(extensions.begin(), {next, 0, 1, 4, 0, 0, 0, 0});
        next = 0;
    }
    bytes f;
    if (p.src.find(':') == p.src.npos) {
        append(f, {0x45, 0});
        append_be16(f, static_cast<unsigned>(20 + l4.size()));
        append(f, {0, 1});
        append_be16(f, p.fragment);
        append(f, {64, p.protocol, 0, 0});
    } else {
        append(f, {0x60, 0, 0, 0});
        append_be16(f, static_cast<unsigned>(extensions.size() + l4.size()));
        append(f, {next, 64});
    }
    append(f, address(p.src));
    append(f, address(p.dst));
    append(f, extensions);
    append(f, l4);
    return f;
}

inline bytes frame(const frame_parts &p)
{
    bytes f = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
    for (unsigned i = 0; i < p.tags; ++i) {
        append(f, {0x81, 0, 0, 5});
    }
    append_be16(f, p.src.find(':') == p.src.npos ? 0x0800 : 0x86DD);
    append(f, ip_packet(p));
    return f;
}

} // namespace halfpoll
