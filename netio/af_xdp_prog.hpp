// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace halfpoll
{

/// The XDP program that sends every frame to the socket of its queue, attached to one interface by a link, which the
/// kernel drops with the process. Frames of a queue without a socket go on to the kernel. Control thread.
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

private:
    void reload_unbound();

    std::string ifname_;
    int ifindex_;
    bool keeps_vlan_ = false;
    int map_ = -1;
    int prog_ = -1;
    int link_ = -1;
};

} // namespace halfpoll
