// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>

namespace halfpoll
{

/// Frames that the program has dropped.
struct xdp_prog_drops {
    std::uint64_t no_socket = 0; ///< the queue of the frame has no socket
    std::uint64_t no_room = 0;   ///< there was no room for the VLAN tag in front of the frame
};

class kernel_pass;

/// The XDP program that redirects every frame to the socket of its queue. It is attached to one interface by a link,
/// which the kernel removes when the process ends. While the program is attached, no frame reaches the kernel's stack
/// except by a kernel_pass: a frame of a queue without a socket is dropped and counted. Control thread.
class xdp_redirect_prog
{
public:
    /// Loads the program and creates the socket map; attaches nothing. `pass`, which outlives this object, or null,
    /// takes frames first. Throws `error`.
    xdp_redirect_prog(const std::string &ifname, int ifindex, unsigned queues, const kernel_pass *pass);
    ~xdp_redirect_prog();
    xdp_redirect_prog(const xdp_redirect_prog &) = delete;
    xdp_redirect_prog &operator=(const xdp_redirect_prog &) = delete;

    void set_socket(unsigned queue, int fd);
    /// Attaches the program in the driver and returns true, or, if the driver has no XDP, in the generic path and
    /// returns false. Throws `error`, also if another program is attached.
    bool attach();
    /// Whether VLAN tags that the kernel keeps beside the frame are put back into it. Valid after attach().
    bool keeps_vlan() const noexcept { return keeps_vlan_; }
    void detach() noexcept;
    /// Counted since the program was loaded.
    xdp_prog_drops drops() const noexcept;

private:
    /// Loads the program and returns its fd, or -errno: the error of bpf(BPF_PROG_LOAD), or -ENOTSUP if the kernel has
    /// no function that returns the VLAN tag. `bound_to`: index of the interface whose VLAN tags the program restores;
    /// 0: it restores none.
    int load(int bound_to) const;
    void reload_unbound();

    std::string ifname_;
    int ifindex_;
    const kernel_pass *pass_;
    bool keeps_vlan_ = false;
    int map_ = -1;
    int drops_ = -1; ///< map of one xdp_prog_drops
    int prog_ = -1;
    int link_ = -1;
};

} // namespace halfpoll
