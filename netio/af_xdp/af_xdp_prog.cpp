// SPDX-License-Identifier: BSD-3-Clause
#include "af_xdp_prog.hpp"

#include "af_xdp_retry.hpp"
#include "kernel_pass.hpp"
#include "netio/base/bpf_code.hpp"

#include <halfpoll/error.hpp>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace halfpoll
{

namespace
{

const char *remedy(int errnum)
{
    switch (errnum) {
    case EPERM:
        return " (needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN; RLIMIT_MEMLOCK on kernels before 5.11)";
    case ENOSYS:
    case EINVAL:
        return " (needs a kernel >= 5.9 with CONFIG_BPF_SYSCALL and CONFIG_XDP_SOCKETS)";
    default:
        return "";
    }
}

constexpr std::uint32_t DEV_BOUND_ONLY = 1U << 6; ///< BPF_F_XDP_DEV_BOUND_ONLY, kernel >= 6.3

using namespace bpf;

/// Appends code that adds 1 to a member of xdp_prog_drops. It keeps r0.
void append_count(bpf_code &code, int drops, std::size_t member)
{
    code.load_map_value(BPF_REG_1, drops, member);
    code.put({set(BPF_REG_2, 1), atomic_add(BPF_REG_1, BPF_REG_2)});
}

/// Appends code for: r0 = bpf_redirect_map(&map, ctx->rx_queue_index, XDP_DROP); if (r0 == XDP_DROP) { count };
/// return r0. It expects ctx in r6.
void append_redirect(bpf_code &code, int map, int drops)
{
    bpf_code::label done;
    code.put(load(BPF_W, BPF_REG_2, BPF_REG_6, offsetof(xdp_md, rx_queue_index)));
    code.load_map(BPF_REG_1, map);
    code.put({set(BPF_REG_3, XDP_DROP), call(BPF_FUNC_redirect_map)});
    code.jump(BPF_JNE, BPF_REG_0, XDP_DROP, done);
    append_count(code, drops, offsetof(xdp_prog_drops, no_socket));
    code.place(done);
    code.put(leave());
}

/// Appends code that puts a VLAN tag that the kernel keeps beside the frame back into it:
/// if (bpf_xdp_metadata_rx_vlan_tag(ctx, &proto, &tci) == 0) { make 4 bytes of room; move the addresses; write the tag
/// }
void append_vlan(bpf_code &code, int rx_vlan_tag, int drops)
{
    constexpr int proto = -8, tci = -4; // on the stack
    bpf_code::label no_tag, no_room, room;
    code.put({move(BPF_REG_1, BPF_REG_6), move(BPF_REG_2, BPF_REG_10), add(BPF_REG_2, proto),
              move(BPF_REG_3, BPF_REG_10), add(BPF_REG_3, tci), call_kernel(rx_vlan_tag)});
    code.jump(BPF_JNE, BPF_REG_0, 0, no_tag);
    code.put({move(BPF_REG_1, BPF_REG_6), set(BPF_REG_2, -4), call(BPF_FUNC_xdp_adjust_head)});
    code.jump(BPF_JNE, BPF_REG_0, 0, no_room);
    code.put({load(BPF_W, BPF_REG_1, BPF_REG_6, offsetof(xdp_md, data)),
              load(BPF_W, BPF_REG_2, BPF_REG_6, offsetof(xdp_md, data_end)), move(BPF_REG_3, BPF_REG_1),
              add(BPF_REG_3, 18)});
    code.jump_if(BPF_JLE, BPF_REG_3, BPF_REG_2, room);
    code.place(no_room);
    code.put(set(BPF_REG_0, XDP_ABORTED));
    append_count(code, drops, offsetof(xdp_prog_drops, no_room));
    code.put(leave());
    code.place(room);
    code.put({load(BPF_W, BPF_REG_4, BPF_REG_1, 4), // both addresses, 12 bytes
              store(BPF_W, BPF_REG_1, 0, BPF_REG_4), load(BPF_W, BPF_REG_4, BPF_REG_1, 8),
              store(BPF_W, BPF_REG_1, 4, BPF_REG_4), load(BPF_W, BPF_REG_4, BPF_REG_1, 12),
              store(BPF_W, BPF_REG_1, 8, BPF_REG_4),
              load(BPF_H, BPF_REG_4, BPF_REG_10, proto), // in network order already
              store(BPF_H, BPF_REG_1, 12, BPF_REG_4), load(BPF_H, BPF_REG_4, BPF_REG_10, tci), swap16(BPF_REG_4),
              store(BPF_H, BPF_REG_1, 14, BPF_REG_4)});
    code.place(no_tag);
}

/// BTF id of the kernel function that returns the tag; 0: the kernel has none (kernel < 6.8, or no BTF).
int rx_vlan_tag_id()
{
    btf *kernel = btf__load_vmlinux_btf();
    const int id = kernel ? btf__find_by_name_kind(kernel, "bpf_xdp_metadata_rx_vlan_tag", BTF_KIND_FUNC) : 0;
    btf__free(kernel);
    return id > 0 ? id : 0;
}

/// Returns an fd or -errno of bpf(BPF_PROG_LOAD). Only programs under a license compatible with the GPL may call kernel
/// functions, so the program has a dual license.
int load_program(const bpf_code &code, int bound_to)
{
    LIBBPF_OPTS(bpf_prog_load_opts, options);
    if (bound_to != 0) {
        options.prog_ifindex = static_cast<std::uint32_t>(bound_to);
        options.prog_flags = DEV_BOUND_ONLY;
    }
    return bpf_prog_load(BPF_PROG_TYPE_XDP, "halfpoll_xsk", "Dual BSD/GPL", code.insns().data(), code.insns().size(),
                         &options);
}

} // namespace

int xdp_redirect_prog::load(int bound_to) const
{
    bpf_code code;
    code.put(move(BPF_REG_6, BPF_REG_1));
    if (bound_to != 0) {
        const int rx_vlan_tag = rx_vlan_tag_id();
        if (rx_vlan_tag == 0) {
            return -ENOTSUP;
        }
        append_vlan(code, rx_vlan_tag, drops_);
    }
    if (pass_ != nullptr) {
        pass_->append(code);
    }
    append_redirect(code, map_, drops_);
    return load_program(code, bound_to);
}

xdp_redirect_prog::xdp_redirect_prog(const std::string &ifname, int ifindex, unsigned queues, const kernel_pass *pass)
    : ifname_(ifname), ifindex_(ifindex), pass_(pass)
{
    map_ = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "halfpoll_xsk", sizeof(int), sizeof(int), queues, nullptr);
    if (map_ < 0) {
        throw_errno(-map_, "af_xdp:" + ifname + ": cannot create the socket map" + remedy(-map_));
    }
    drops_ = bpf_map_create(BPF_MAP_TYPE_ARRAY, "halfpoll_drops", sizeof(int), sizeof(xdp_prog_drops), 1, nullptr);
    if (drops_ < 0) {
        const int err = -drops_;
        ::close(map_);
        throw_errno(err, "af_xdp:" + ifname + ": cannot create the map of counters" + remedy(err));
    }
    prog_ = load(ifindex);
    keeps_vlan_ = prog_ >= 0;
    if (!keeps_vlan_) {
        prog_ = load(0);
    }
    if (prog_ < 0) {
        const int err = -prog_;
        ::close(drops_);
        ::close(map_);
        throw_errno(err, "af_xdp:" + ifname + ": cannot load the XDP program" + remedy(err));
    }
}

xdp_redirect_prog::~xdp_redirect_prog()
{
    detach();
    ::close(prog_);
    ::close(drops_);
    ::close(map_);
}

xdp_prog_drops xdp_redirect_prog::drops() const noexcept
{
    const std::uint32_t only = 0;
    xdp_prog_drops drops;
    return bpf_map_lookup_elem(drops_, &only, &drops) == 0 ? drops : xdp_prog_drops{};
}

void xdp_redirect_prog::set_socket(unsigned queue, int fd)
{
    if (const int err = bpf_map_update_elem(map_, &queue, &fd, BPF_ANY); err < 0) {
        throw_errno(-err, "af_xdp:" + ifname_ + ": cannot put the socket of queue " + std::to_string(queue) +
                              " into the map");
    }
}

/// The generic path accepts no program that is bound to a device, and has no access to the tag.
void xdp_redirect_prog::reload_unbound()
{
    if (!keeps_vlan_) {
        return;
    }
    keeps_vlan_ = false;
    const int unbound = load(0);
    if (unbound < 0) {
        throw_errno(-unbound, "af_xdp:" + ifname_ + ": cannot load the XDP program" + remedy(-unbound));
    }
    ::close(prog_);
    prog_ = unbound;
}

bool xdp_redirect_prog::attach()
{
    const auto attach_as = [&](unsigned flags) {
        LIBBPF_OPTS(bpf_link_create_opts, options, .flags = flags);
        // A predecessor that was just killed may still hold the attachment.
        link_ = retry_while_busy([&] { return bpf_link_create(prog_, ifindex_, BPF_XDP, &options); });
        return link_ >= 0;
    };
    if (attach_as(XDP_FLAGS_DRV_MODE)) {
        return true;
    }
    const int native = -link_;
    if (native == EBUSY || native == EEXIST) {
        throw error("af_xdp:" + ifname_ + ": another XDP program is attached; detach it (`ip link set dev " + ifname_ +
                    " xdp off`, or stop its owner)");
    }
    if (native == ENOSPC) {
        throw error("af_xdp:" + ifname_ + ": the peer has more transmit queues than this interface receive queues; " +
                    "raise the latter (`ethtool -L " + ifname_ + " rx N`)");
    }
    if (native == ERANGE) {
        throw error("af_xdp:" + ifname_ + ": the MTU (veth: also the peer's) is too large for XDP in the driver, " +
                    "which needs a frame to fit a page; lower it to about 3500");
    }
    reload_unbound();
    if (attach_as(XDP_FLAGS_SKB_MODE)) {
        return false;
    }
    throw_errno(-link_, "af_xdp:" + ifname_ + ": cannot attach the XDP program" + remedy(-link_));
}

void xdp_redirect_prog::detach() noexcept
{
    if (link_ >= 0) {
        ::close(link_);
        link_ = -1;
    }
}

} // namespace halfpoll
