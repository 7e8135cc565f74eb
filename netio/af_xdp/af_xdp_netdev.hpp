// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <rte_ether.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace halfpoll
{

/// What the kernel says of an interface.
struct netdev_facts {
    std::string driver;
    bool software = false; ///< no device behind it: frames of local sockets reach it with checksums left to complete
    rte_ether_addr mac{};
    unsigned rx_queues = 1;
    std::uint32_t mtu = 0;
    std::uint32_t min_mtu = 68;
    std::uint32_t max_mtu = 0; ///< 0: unknown
    int peer_ifindex = 0;      ///< veth: the other end, if it is in the same namespace
};

/// A kernel interface in the namespace of the thread that constructs this: facts, and settings that are put back.
/// Followed by index, so a rename does not matter and a namesake that comes later is left alone. Control thread.
class netdev
{
public:
    /// Throws `error` if there is no such interface.
    explicit netdev(const std::string &ifname);
    ~netdev();
    netdev(const netdev &) = delete;
    netdev &operator=(const netdev &) = delete;

    int ifindex() const noexcept { return ifindex_; }
    const std::string &name() const noexcept { return name_; } ///< that it was found by
    std::string present_name() const;                          ///< empty if it is gone
    /// Throws `error` if the interface is gone.
    netdev_facts facts() const;
    /// Receive queues that it has now; 0: unknown, or the interface is gone. Any thread.
    unsigned rx_queues() const noexcept;
    /// Down if the interface is gone.
    link_state link() const noexcept;
    /// The first IPv4 address on it, as text; empty if none.
    std::string ipv4_address() const;

    // Each changes one thing and remembers how to undo it; throws `error`, or returns false where the text says so.
    void set_up();
    void set_mtu(std::uint32_t mtu);
    void disable_ipv6();
    /// ETH_FLAG_… of the interface or of `index`; false if the driver does not let go of one of them.
    bool clear_ethtool_flags(unsigned flags, int index = 0);
    bool disable_gro();
    /// For as long as this object lives.
    void set_promiscuous(bool on);

    /// Undoes the changes, newest first. What fails is left: the interface is gone then.
    void restore() noexcept;

private:
    int control(unsigned long request, void *ifreq, int index = 0) const noexcept;
    int ethtool(void *command, int index = 0) const noexcept;
    std::string disable_ipv6_path() const;

    std::string name_;
    int socket_ = -1;
    int packet_socket_ = -1;
    int ifindex_ = 0;
    std::vector<std::function<void()>> undo_;
};

} // namespace halfpoll
