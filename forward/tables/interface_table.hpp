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

/// Source validation of IPv4 packets (RFC 3704), with the values of the kernel's rp_filter.
enum class rp_filter_mode : std::uint8_t {
    off,
    strict, ///< the route back to the source leaves by the interface that the packet came in on
    loose,  ///< there is any route back to the source
};

/// A layer-3 interface as the ingress of packets: the untagged packets of a port, or one VLAN of it.
struct rx_interface {
    std::uint32_t oif = 0;      ///< kernel ifindex, as in adjacency::oif
    std::uint64_t mac = 0;      ///< link address of the interface, in the low 48 bits (load_mac())
    std::uint16_t vid[2] = {};  ///< VLAN ids, outer first; 0: no tag
    std::uint16_t tpid[2] = {}; ///< 0x8100 or 0x88a8
    rp_filter_mode rp_filter = rp_filter_mode::off;
    bool up = true;          ///< false: all packets are dropped
    bool forwarding4 = true; ///< false: IPv4 packets for other hosts are dropped
    bool forwarding6 = true;
    bool kernel_only = false; ///< all packets are punted
    bool kernel4 = false;     ///< IPv4 packets that are not for the box are punted: the kernel forwards them
    bool kernel6 = false;
    bool promiscuous = false; ///< frames to other link addresses are punted: the kernel takes them, too

    /// True if an interface on top of this one in the kernel may take frames whose tags no interface here has.
    bool any_tags() const noexcept { return up && (kernel_only || promiscuous); }
    unsigned tags() const noexcept { return vid[0] == 0 ? 0 : vid[1] == 0 ? 1 : 2; }
    std::uint64_t key() const noexcept { return key_of(tpid, vid); }
    static std::uint64_t key_of(const std::uint16_t (&tpid)[2], const std::uint16_t (&vid)[2]) noexcept
    {
        return std::uint64_t{tpid[0]} << 48 | std::uint64_t{vid[0]} << 32 | std::uint64_t{tpid[1]} << 16 | vid[1];
    }
    /// True if IPv4 packets for other hosts are forwarded without any check of the interface.
    bool plain() const noexcept
    {
        return rp_filter == rp_filter_mode::off && up && forwarding4 && !kernel_only && !kernel4;
    }
};

/// The interfaces of one port. Immutable once published.
struct rx_port {
    rx_interface untagged;
    std::vector<rx_interface> tagged; ///< sorted by key()

    /// The interface with these tags, or null.
    const rx_interface *find(std::uint64_t key) const noexcept;
};

/// The layer-3 interfaces that the data path knows, by port. One writer (control thread); the data CPUs read.
class interface_table
{
public:
    /// `retire`: see nexthop_table.
    explicit interface_table(std::function<void(std::function<void()>)> retire) : retire_(std::move(retire)) {}
    ~interface_table();
    interface_table(const interface_table &) = delete;
    interface_table &operator=(const interface_table &) = delete;

    /// Replaces the interfaces of a port, including the one for untagged packets. An empty list forgets the port, which
    /// then forwards every packet that is addressed to its own MAC.
    void set(ifindex_t port, const std::vector<rx_interface> &interfaces);

    /// Data path: valid until the reader's next quiescent state. Null: the port has no interfaces set.
    const rx_port *get(ifindex_t port) const noexcept
    {
        return ports_[port].load(std::memory_order_acquire); // pairs with the exchange (acq_rel) in set()
    }

private:
    std::function<void(std::function<void()>)> retire_;
    std::array<std::atomic<const rx_port *>, MAX_IFINDEX> ports_{};
};

/// Result of a reverse-path check.
enum class rp_verdict {
    pass,
    drop,
    ask, ///< only the kernel can decide: the route leads to an interface or a policy that is not mirrored
};
/// Checks a packet that came in on `in`. `back`: next hop of the packet's source address.
rp_verdict reverse_path(const nexthop_table &nexthops, const rx_interface &in, std::uint32_t back) noexcept;

} // namespace halfpoll
