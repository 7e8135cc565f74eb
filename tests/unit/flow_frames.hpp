// SPDX-License-Identifier: BSD-3-Clause
//
// Packets of TCP and UDP flows, whole and as frames that are still to be segmented, and a kernel that segments them.
#pragma once

#include "netio/shadow/frame_fields.hpp"
#include "netio/shadow/vnet_header.hpp"
#include "test_netns.hpp"

#include <halfpoll/netns.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <span>
#include <stdexcept>
#include <string>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vector>

namespace halfpoll::test
{

using bytes = std::vector<std::uint8_t>;

/// What a packet looks like. Each test changes what it is about.
struct flow_packet {
    bool ip4 = true, tcp = true;
    unsigned tags = 0; ///< VLAN tags
    std::uint8_t tos = 0, ttl = 64;
    std::uint16_t id = 1, fragment = 0x4000;
    bytes extension; ///< an IPv6 header of destination options, or IPv4 options
    std::uint16_t port = 5001;
    std::uint32_t sequence = 1000, ack = 77;
    std::uint8_t flags = 0x10; ///< ACK
    std::uint16_t window = 500, urgent = 0;
    bytes options = {1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6}; ///< of TCP
    unsigned payload = 1000;
    std::uint8_t fill = 0; ///< what the payload begins with

    unsigned network() const { return 14 + 4 * tags; }
    unsigned transport() const { return network() + (ip4 ? 20 : 40) + static_cast<unsigned>(extension.size()); }
    unsigned headers() const { return transport() + (tcp ? 20 + static_cast<unsigned>(options.size()) : 8); }
    unsigned checksum() const { return transport() + (tcp ? 16 : 6); }

    /// The frame; `partial`: its transport checksum is left to the receiver.
    bytes frame(bool partial = false) const
    {
        bytes f(headers() + payload);
        put_link(f);
        ip4 ? put_ip4(f) : put_ip6(f);
        tcp ? put_tcp(f) : put_udp(f);
        for (unsigned i = 0; i < payload; ++i) {
            f[headers() + i] = static_cast<std::uint8_t>(fill + i * 7 + i / 251);
        }
        const std::uint16_t pseudo = pseudo_header(f);
        put16(&f[checksum()], pseudo);
        if (!partial) {
            const auto sum = static_cast<std::uint16_t>(~sum_of(std::span(f).subspan(transport())));
            put16(&f[checksum()], sum == 0 && !tcp ? 0xFFFF : sum);
        }
        return f;
    }
    /// The header before the frame of several packets.
    vnet_header header(unsigned gso_size) const
    {
        const bool ecn = tcp && (flags & 0x80) != 0;
        return {.flags = vnet_header::NEEDS_CSUM,
                .gso_type = static_cast<std::uint8_t>((!tcp  ? vnet_header::GSO_UDP_L4
                                                       : ip4 ? vnet_header::GSO_TCPV4
                                                             : vnet_header::GSO_TCPV6) |
                                                      (ecn ? vnet_header::GSO_ECN : 0)),
                .hdr_len = static_cast<std::uint16_t>(headers()),
                .gso_size = static_cast<std::uint16_t>(gso_size),
                .csum_start = static_cast<std::uint16_t>(transport()),
                .csum_offset = static_cast<std::uint16_t>(checksum() - transport())};
    }
    /// The packet that follows this one in its flow.
    flow_packet next() const
    {
        flow_packet n = *this;
        n.id++;
        n.sequence += payload;
        n.fill = static_cast<std::uint8_t>(fill + 13);
        return n;
    }

private:
    void put_link(bytes &f) const
    {
        static constexpr std::uint8_t addresses[] = {2, 0xbb, 0, 0, 0, 2, 2, 0xbb, 0, 0, 0, 1};
        std::ranges::copy(addresses, f.begin());
        for (unsigned i = 0; i < tags; ++i) {
            put16(&f[12 + 4 * i], 0x8100);
            put16(&f[14 + 4 * i], 10 + i);
        }
        put16(&f[network() - 2], ip4 ? 0x0800 : 0x86DD);
    }
    void put_ip4(bytes &f) const
    {
        std::uint8_t *ip = &f[network()];
        const unsigned length = transport() - network();
        ip[0] = static_cast<std::uint8_t>(0x40 + length / 4);
        ip[1] = tos;
        put16(ip + 2, static_cast<unsigned>(f.size()) - network());
        put16(ip + 4, id);
        put16(ip + 6, fragment);
        ip[8] = ttl;
        ip[9] = tcp ? IPPROTO_TCP : IPPROTO_UDP;
        put32(ip + 12, 0xC0000202);
        put32(ip + 16, 0xC6336409);
        std::ranges::copy(extension, ip + 20);
        put16(ip + 10, static_cast<std::uint16_t>(~sum_of({ip, length})));
    }
    void put_ip6(bytes &f) const
    {
        std::uint8_t *ip = &f[network()];
        const std::uint8_t protocol = tcp ? IPPROTO_TCP : IPPROTO_UDP;
        put32(ip, 0x60012345 | std::uint32_t{tos} << 20);
        put16(ip + 4, static_cast<unsigned>(f.size()) - network() - 40);
        ip[6] = extension.empty() ? protocol : std::uint8_t{IPPROTO_DSTOPTS};
        ip[7] = ttl;
        ip[8] = ip[24] = 0xFD;
        ip[23] = 2;
        ip[39] = 9;
        std::ranges::copy(extension, ip + 40);
        if (!extension.empty()) {
            ip[40] = protocol;
        }
    }
    void put_tcp(bytes &f) const
    {
        std::uint8_t *t = &f[transport()];
        put16(t, 40000);
        put16(t + 2, port);
        put32(t + 4, sequence);
        put32(t + 8, ack);
        t[12] = static_cast<std::uint8_t>((20 + options.size()) / 4 << 4);
        t[13] = flags;
        put16(t + 14, window);
        put16(t + 18, urgent);
        std::ranges::copy(options, t + 20);
    }
    void put_udp(bytes &f) const
    {
        put16(&f[transport()], 40000);
        put16(&f[transport() + 2], port);
        put16(&f[transport() + 4], static_cast<unsigned>(f.size()) - transport());
    }
    std::uint16_t pseudo_header(const bytes &f) const
    {
        const std::uint16_t addresses = sum_of(std::span(f).subspan(network() + (ip4 ? 12 : 8), ip4 ? 8 : 32));
        return fold(std::uint32_t{addresses} + (tcp ? IPPROTO_TCP : IPPROTO_UDP) +
                    static_cast<std::uint32_t>(f.size() - transport()));
    }
};

/// Two TAP interfaces on a bridge of the kernel. What is written to the first one leaves by the second one, which has
/// no offload: the kernel segments it.
class segmenting_kernel
{
public:
    segmenting_kernel()
    {
        netns_.exec("sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1");
        netns_.ip("link add br0 type bridge mcast_snooping 0 forward_delay 0");
        in_ = open_tap("in");
        out_ = open_tap("out");
        netns_.ip("link set br0 up");
    }
    ~segmenting_kernel()
    {
        close(in_);
        close(out_);
    }
    segmenting_kernel(const segmenting_kernel &) = delete;
    segmenting_kernel &operator=(const segmenting_kernel &) = delete;

    /// False: the kernel does not take the frame.
    bool write(std::span<const iovec> frame) const
    {
        return writev(in_, frame.data(), static_cast<int>(frame.size())) > 0;
    }
    bool write(vnet_header header, bytes frame) const
    {
        const iovec parts[] = {{&header, sizeof header}, {frame.data(), frame.size()}};
        return write(parts);
    }
    /// The next n packets that leave.
    std::vector<bytes> take(std::size_t n) const
    {
        std::vector<bytes> packets;
        while (packets.size() < n) {
            pollfd wait{out_, POLLIN, 0};
            if (poll(&wait, 1, 60'000) != 1) {
                ADD_FAILURE() << "only " << packets.size() << " of " << n << " packets came";
                break;
            }
            bytes packet(70'000);
            const ssize_t got = read(out_, packet.data(), packet.size());
            packet.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
            packet.erase(packet.begin(), packet.begin() + std::min<std::ptrdiff_t>(10, std::ssize(packet)));
            packets.push_back(packet);
        }
        return packets;
    }

private:
    int open_tap(const std::string &name) const
    {
        const netns_scope inside(netns_.name());
        const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
        ifreq request{};
        name.copy(request.ifr_name, IFNAMSIZ - 1);
        request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETOFFLOAD, 0) < 0) {
            throw std::runtime_error("no TAP");
        }
        netns_.ip("link set " + name + " master br0 up");
        return fd;
    }

    test_netns netns_{"segment"};
    int in_ = -1, out_ = -1;
};

} // namespace halfpoll::test
