// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>

namespace halfpoll
{

/// What the program has dropped.
struct xdp_prog_drops {
    std::uint64_t no_socket = 0; ///< the frame's queue has no socket
    std::uint64_t no_room = 0;   ///< its VLAN tag did not fit in front of it
};

/// The XDP program that sends every frame to the socket of its queue, attached to one interface by a link, which the
/// kernel drops with the process. No frame goes on to the kernel while it is attached: those of a queue without a
/// socket are dropped and counted. Control thread.
class xdp_redirect_prog
{
public:
    /// Loads program and socket map; nothing is attached. Throws `error`.
    xdp_redirect_prog(const std::string &ifname, int ifindex, unsigned queues);
    ~xdp_redirect_prog();
    xdp_redirect_prog(const xdp_redirect_prog &) = delete;
    xdp_redirect_prog &operator=(const xdp_redirect_prog &) = delete;

    void set_socket(unsigned queue, int fd);
    /// In the driver if it can, else (returns false) in the generic path. Throws `error`, also when another program
    /// stays attached.
    bool attach();
    /// VLAN tags that the kernel keeps beside the frame are put back into it. Decided when it is attached.
    bool keeps_vlan() const noexcept { return keeps_vlan_; }
    void detach() noexcept;
    /// Since the program was loaded.
    xdp_prog_drops drops() const noexcept;

private:
    /// The program; fd or -errno. With the VLAN tag if kernel and driver can, which `bound_to` asks for.
    int load(int bound_to) const;
    void reload_unbound();

    std::string ifname_;
    int ifindex_;
    bool keeps_vlan_ = false;
    int map_ = -1;
    int drops_ = -1; ///< map of one xdp_prog_drops
    int prog_ = -1;
    int link_ = -1;
};

} // namespace halfpoll
