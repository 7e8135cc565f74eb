// SPDX-License-Identifier: BSD-3-Clause
#include "host.hpp"

#include <halfpoll/af_xdp.hpp>
#include <halfpoll/error.hpp>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <cerrno>
#include <cstring>
#include <functional>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <memory>
#include <net/if.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

constexpr std::size_t REQUEST_SIZE = 512;
constexpr std::size_t REPLY_SIZE = 65536;
constexpr int DUMP_ATTEMPTS = 5;

// The "netdev" family of generic netlink; Debian 12 has no header for it.
constexpr std::uint8_t NETDEV_CMD_DEV_GET = 1;
constexpr std::uint16_t NETDEV_A_DEV_IFINDEX = 1;
constexpr std::uint16_t NETDEV_A_DEV_XDP_FEATURES = 3;

using handler = std::function<void(const nlmsghdr &)>;

/// A netlink request under construction.
class netlink_request
{
public:
    netlink_request(int type, int flags) : message_(mnl_nlmsg_put_header(space_))
    {
        message_->nlmsg_type = static_cast<std::uint16_t>(type);
        message_->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
        message_->nlmsg_seq = 1;
    }
    netlink_request(const netlink_request &) = delete;
    netlink_request &operator=(const netlink_request &) = delete;

    nlmsghdr *message() noexcept { return message_; }
    template <typename T>
    T &header()
    {
        return *static_cast<T *>(mnl_nlmsg_put_extra_header(message_, sizeof(T)));
    }
    /// Sends the request and passes each answer to `handle`; returns false on failure. If the table changes during a
    /// dump, the dump is repeated: `handle` may see an answer twice, but misses none.
    bool ask(int protocol, const handler &handle)
    {
        for (int attempt = 0; attempt < DUMP_ATTEMPTS; ++attempt) {
            if (ask_once(protocol, handle)) {
                return true;
            }
            if (errno != EINTR) {
                return false;
            }
        }
        return false;
    }

private:
    bool ask_once(int protocol, const handler &handle);

    alignas(nlmsghdr) char space_[REQUEST_SIZE] = {};
    nlmsghdr *message_;
};

bool netlink_request::ask_once(int protocol, const handler &handle)
{
    const std::unique_ptr<mnl_socket, int (*)(mnl_socket *)> socket(mnl_socket_open2(protocol, SOCK_CLOEXEC),
                                                                    mnl_socket_close);
    sockaddr_nl kernel{}; // a socket that is connected to the kernel receives messages of no other process
    kernel.nl_family = AF_NETLINK;
    if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0 ||
        connect(mnl_socket_get_fd(socket.get()), reinterpret_cast<const sockaddr *>(&kernel), sizeof kernel) < 0 ||
        mnl_socket_sendto(socket.get(), message_, message_->nlmsg_len) < 0) {
        return false;
    }
    const auto forward = [](const nlmsghdr *message, void *data) {
        (*static_cast<const handler *>(data))(*message);
        return static_cast<int>(MNL_CB_OK);
    };
    alignas(nlmsghdr) char reply[REPLY_SIZE];
    int more = MNL_CB_OK;
    while (more > MNL_CB_STOP) {
        const ssize_t got = mnl_socket_recvfrom(socket.get(), reply, sizeof reply);
        more = got < 0 ? MNL_CB_ERROR
                       : mnl_cb_run(reply, static_cast<std::size_t>(got), message_->nlmsg_seq,
                                    mnl_socket_get_portid(socket.get()), forward, const_cast<handler *>(&handle));
    }
    return more == MNL_CB_STOP;
}

using visitor = std::function<void(const nlattr &)>;

int visit_attribute(const nlattr *attr, void *visit)
{
    (*static_cast<const visitor *>(visit))(*attr);
    return MNL_CB_OK;
}

void each_attribute(const nlmsghdr &message, unsigned header, const visitor &visit)
{
    mnl_attr_parse(&message, header, visit_attribute, const_cast<visitor *>(&visit));
}

void each_nested(const nlattr &parent, const visitor &visit)
{
    mnl_attr_parse_nested(&parent, visit_attribute, const_cast<visitor *>(&visit));
}

/// Returns the name of a BPF program; empty if there is no permission to read it.
std::string program_name(std::uint32_t id)
{
    const int fd = bpf_prog_get_fd_by_id(id);
    bpf_prog_info info{};
    std::uint32_t length = sizeof info;
    const bool known = fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &length) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return !known ? "" : info.name[0] ? info.name : "of no name";
}

std::string xdp_program(const nlattr &xdp)
{
    std::string name;
    each_nested(xdp, [&](const nlattr &attr) {
        if (mnl_attr_get_type(&attr) == IFLA_XDP_PROG_ID) {
            name = program_name(mnl_attr_get_u32(&attr));
        }
    });
    return name;
}

link_facts parse_link(const nlmsghdr &message)
{
    link_facts link;
    int linked = 0;
    bool elsewhere = false;
    link.index = static_cast<const ifinfomsg *>(mnl_nlmsg_get_payload(&message))->ifi_index;
    each_attribute(message, sizeof(ifinfomsg), [&](const nlattr &attr) {
        switch (mnl_attr_get_type(&attr)) {
        case IFLA_IFNAME:
            link.name = mnl_attr_get_str(&attr);
            break;
        case IFLA_MASTER:
            link.master = static_cast<int>(mnl_attr_get_u32(&attr));
            break;
        case IFLA_LINK:
            linked = static_cast<int>(mnl_attr_get_u32(&attr));
            break;
        case IFLA_LINK_NETNSID:
            elsewhere = true;
            break;
        case IFLA_LINKINFO:
            each_nested(attr, [&](const nlattr &info) {
                if (mnl_attr_get_type(&info) == IFLA_INFO_KIND) {
                    link.kind = mnl_attr_get_str(&info);
                }
            });
            break;
        case IFLA_XDP:
            link.xdp = xdp_program(attr);
            break;
        default:
            break;
        }
    });
    const bool on_top = !elsewhere && link.kind != "veth" && linked != link.index; // a veth's IFLA_LINK is its peer
    link.lower = on_top ? linked : 0;
    return link;
}

/// Returns the indexes of the interfaces that a route leads to.
std::vector<int> route_links(const nlmsghdr &message)
{
    std::vector<int> links;
    each_attribute(message, sizeof(rtmsg), [&](const nlattr &attr) {
        if (mnl_attr_get_type(&attr) == RTA_OIF) {
            links.push_back(static_cast<int>(mnl_attr_get_u32(&attr)));
        } else if (mnl_attr_get_type(&attr) == RTA_MULTIPATH) {
            const auto *hop = static_cast<const rtnexthop *>(mnl_attr_get_payload(&attr));
            for (int left = mnl_attr_get_payload_len(&attr); RTNH_OK(hop, left); hop = RTNH_NEXT(hop)) {
                links.push_back(hop->rtnh_ifindex);
                left -= RTNH_ALIGN(hop->rtnh_len);
            }
        }
    });
    return links;
}

std::string link_name_of(int index)
{
    char name[IF_NAMESIZE] = {};
    return if_indextoname(static_cast<unsigned>(index), name) ? name : "";
}

struct ip_bytes {
    int family = AF_UNSPEC;
    unsigned length = 0;
    unsigned char bytes[sizeof(in6_addr)] = {};
};

ip_bytes parse_address(const std::string &text)
{
    ip_bytes address;
    if (inet_pton(AF_INET, text.c_str(), address.bytes) == 1) {
        address.family = AF_INET;
        address.length = sizeof(in_addr);
    } else if (inet_pton(AF_INET6, text.substr(0, text.find('%')).c_str(), address.bytes) == 1) {
        address.family = AF_INET6;
        address.length = sizeof(in6_addr);
    }
    return address;
}

std::uint16_t netdev_family()
{
    std::uint16_t id = 0;
    netlink_request request(GENL_ID_CTRL, 0);
    request.header<genlmsghdr>() = {CTRL_CMD_GETFAMILY, 1, 0};
    mnl_attr_put_strz(request.message(), CTRL_ATTR_FAMILY_NAME, "netdev");
    request.ask(NETLINK_GENERIC, [&](const nlmsghdr &message) {
        each_attribute(message, sizeof(genlmsghdr), [&](const nlattr &attr) {
            if (mnl_attr_get_type(&attr) == CTRL_ATTR_FAMILY_ID) {
                id = mnl_attr_get_u16(&attr);
            }
        });
    });
    return id;
}

} // namespace

std::vector<link_facts> host::links() const
{
    std::vector<link_facts> found;
    netlink_request request(RTM_GETLINK, NLM_F_DUMP);
    request.header<ifinfomsg>().ifi_family = AF_UNSPEC;
    request.ask(NETLINK_ROUTE, [&](const nlmsghdr &message) { found.push_back(parse_link(message)); });
    return found;
}

std::optional<std::uint64_t> host::link_xdp_features(int index) const
{
    const std::uint16_t family = netdev_family();
    std::optional<std::uint64_t> features;
    if (family == 0) {
        return features;
    }
    netlink_request request(family, 0);
    request.header<genlmsghdr>() = {NETDEV_CMD_DEV_GET, 1, 0};
    mnl_attr_put_u32(request.message(), NETDEV_A_DEV_IFINDEX, static_cast<std::uint32_t>(index));
    request.ask(NETLINK_GENERIC, [&](const nlmsghdr &message) {
        each_attribute(message, sizeof(genlmsghdr), [&](const nlattr &attr) {
            if (mnl_attr_get_type(&attr) == NETDEV_A_DEV_XDP_FEATURES) {
                features = mnl_attr_get_u64(&attr);
            }
        });
    });
    return features;
}

unsigned host::link_rx_queues(const std::string &name) const
{
    try {
        return make_af_xdp_port(name)->info().max_rx_queues;
    } catch (const error &) {
        return 0;
    }
}

std::vector<std::string> host::default_route_links() const
{
    std::vector<std::string> found;
    for (unsigned char family : {AF_INET, AF_INET6}) {
        netlink_request request(RTM_GETROUTE, NLM_F_DUMP);
        request.header<rtmsg>().rtm_family = family;
        request.ask(NETLINK_ROUTE, [&](const nlmsghdr &message) {
            const auto *route = static_cast<const rtmsg *>(mnl_nlmsg_get_payload(&message));
            if (route->rtm_dst_len == 0 && route->rtm_type == RTN_UNICAST) {
                for (int index : route_links(message)) {
                    found.push_back(link_name_of(index));
                }
            }
        });
    }
    return found;
}

std::string host::link_towards(const std::string &address) const
{
    const ip_bytes to = parse_address(address);
    netlink_request request(RTM_GETROUTE, 0);
    auto &header = request.header<rtmsg>();
    header.rtm_family = static_cast<unsigned char>(to.family);
    header.rtm_dst_len = static_cast<unsigned char>(to.length * 8);
    mnl_attr_put(request.message(), RTA_DST, to.length, to.bytes);
    std::string name;
    if (to.length != 0) {
        request.ask(NETLINK_ROUTE, [&](const nlmsghdr &message) {
            for (int index : route_links(message)) {
                name = link_name_of(index);
            }
        });
    }
    return name;
}

std::string host::link_of_address(const std::string &address) const
{
    const ip_bytes wanted = parse_address(address);
    ifaddrs *all = nullptr;
    if (wanted.length == 0 || getifaddrs(&all) != 0) {
        return {};
    }
    const std::unique_ptr<ifaddrs, void (*)(ifaddrs *)> list(all, freeifaddrs);
    for (const ifaddrs *each = all; each; each = each->ifa_next) {
        if (!each->ifa_addr || each->ifa_addr->sa_family != wanted.family) {
            continue;
        }
        const void *bytes = wanted.family == AF_INET
                                ? static_cast<const void *>(&reinterpret_cast<sockaddr_in *>(each->ifa_addr)->sin_addr)
                                : &reinterpret_cast<sockaddr_in6 *>(each->ifa_addr)->sin6_addr;
        if (std::memcmp(bytes, wanted.bytes, wanted.length) == 0) {
            return each->ifa_name;
        }
    }
    return {};
}

} // namespace halfpoll
