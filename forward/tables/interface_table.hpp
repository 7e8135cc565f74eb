// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "nexthop.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace halfpoll
{

/// Check of IPv4 sources (RFC 3704); the kernel's values.
enum class rp_filter_mode : std::uint8_t {
    off,
    strict, ///< the route back leaves by the interface that the packet came in on
    loose,  ///< there is a route back
};

/// A layer-3 interface as packets come in on it: a port's untagged packets, or a VLAN of it.
struct rx_interface {
    std::uint32_t oif = 0;      ///< kernel ifindex, as in adjacency::oif
    std::uint64_t mac = 0;      ///< link address of packets for it, in the low 48 bits (load_mac())
    std::uint16_t vid[2] = {};  ///< VLAN ids, outer first; 0: no such tag
    std::uint16_t tpid[2] = {}; ///< 0x8100 or 0x88a8
    rp_filter_mode rp_filter = rp_filter_mode::off;
    bool up = true;          ///< false: nothing is taken
    bool forwarding4 = true; ///< false: IPv4 packets are for the box or dropped
    bool forwarding6 = true;
    bool kernel_only = false; ///< everything is punted

    unsigned tags() const noexcept { return vid[0] == 0 ? 0 : vid[1] == 0 ? 1 : 2; }
    std::uint64_t key() const noexcept { return key_of(tpid, vid); }
    static std::uint64_t key_of(const std::uint16_t (&tpid)[2], const std::uint16_t (&vid)[2]) noexcept
    {
        return std::uint64_t{tpid[0]} << 48 | std::uint64_t{vid[0]} << 32 | std::uint64_t{tpid[1]} << 16 | vid[1];
    }
    /// IPv4 packets for others are forwarded without further ado.
    bool plain() const noexcept { return rp_filter == rp_filter_mode::off && up && forwarding4 && !kernel_only; }
};

/// The interfaces of one port. Immutable once published.
struct rx_port {
    rx_interface untagged;
    std::vector<rx_interface> tagged; ///< in the order of their keys

    /// Null: there is none with these tags.
    const rx_interface *find(std::uint64_t key) const noexcept;
};

/// What the data path knows of layer-3 interfaces, by port. One writer (control thread); readers are the data cores.
class interface_table
{
public:
    /// `retire`: see nexthop_table.
    explicit interface_table(std::function<void(std::function<void()>)> retire) : retire_(std::move(retire)) {}
    ~interface_table();
    interface_table(const interface_table &) = delete;
    interface_table &operator=(const interface_table &) = delete;

    /// The interfaces on a port, that for untagged packets among them; empty: forget the port, which then forwards all
    /// that is addressed to its own MAC.
    void set(ifindex_t port, const std::vector<rx_interface> &interfaces);

    /// Data path: valid until the reader's next quiescent state; null: nothing was set.
    const rx_port *get(ifindex_t port) const noexcept
    {
        return ports_[port].load(std::memory_order_acquire); // pairs with the release in set()
    }

private:
    std::function<void(std::function<void()>)> retire_;
    std::array<std::atomic<const rx_port *>, MAX_IFINDEX> ports_{};
};

/// What a reverse-path check says.
enum class rp_verdict {
    pass,
    drop,
    ask, ///< only the kernel knows: its tunnels, policy
};
/// `back`: next hop of the packet's source.
rp_verdict reverse_path(const nexthop_table &nexthops, const rx_interface &in, std::uint32_t back) noexcept;

} // namespace halfpoll
