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

/// Properties of an interface that the kernel reports.
struct netdev_facts {
    std::string driver;
    bool software = false; ///< not a hardware device: frames of local sockets reach it with unfinished checksums
    rte_ether_addr mac{};
    unsigned rx_queues = 1;
    std::uint32_t mtu = 0;
    std::uint32_t min_mtu = 68;
    std::uint32_t max_mtu = 0; ///< 0: unknown
    int peer_ifindex = 0;      ///< veth: the other end, if it is in the same namespace
};

/// A kernel interface in the namespace of the constructing thread: its properties, and settings that restore() undoes.
/// The interface is followed by its index, so it may be renamed, and another interface that later gets its name is left
/// alone. Control thread.
class netdev
{
public:
    /// Throws device_absent if there is no such interface, else `error`.
    explicit netdev(const std::string &ifname);
    ~netdev();
    netdev(const netdev &) = delete;
    netdev &operator=(const netdev &) = delete;

    int ifindex() const noexcept { return ifindex_; }
    const std::string &name() const noexcept { return name_; } ///< name by which it was found
    std::string present_name() const;                          ///< empty if the interface is gone
    /// Throws `error` if the interface is gone.
    netdev_facts facts() const;
    /// Number of receive queues at present; 0: unknown, or the interface is gone. Any thread.
    unsigned rx_queues() const noexcept;
    /// The link state; down if the interface is gone.
    link_state link() const noexcept;
    /// The first IPv4 address of the interface, as text; empty if it has none.
    std::string ipv4_address() const;

    // Each function changes one setting and records how to undo it. They throw `error`, except those that return false
    // on failure.
    void set_up();
    void set_mtu(std::uint32_t mtu);
    void disable_ipv6();
    /// Clears ETH_FLAG_… of the interface, or of the interface `index`. False: the driver refuses.
    bool clear_ethtool_flags(unsigned flags, int index = 0);
    /// False: the driver refuses.
    bool disable_gro();
    /// Lasts at most until this object is destroyed. Throws `error`.
    void set_promiscuous(bool on);

    /// Undoes the changes, newest first. Errors are ignored: they mean that the interface is gone.
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
