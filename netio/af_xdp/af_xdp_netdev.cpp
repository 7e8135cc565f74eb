// SPDX-License-Identifier: BSD-3-Clause
#include "af_xdp_netdev.hpp"

#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace halfpoll
{

namespace
{

/// Throws for a failed call about an interface, with the remedy that its errno suggests.
[[noreturn]] void throw_netdev(int errnum, const std::string &name, const std::string &what)
{
    const char *remedy = errnum == EPERM || errnum == EACCES ? " (needs CAP_NET_ADMIN)" : "";
    throw_errno(errnum, "af_xdp:" + name + ": " + what + remedy);
}

/// Attributes in the answer to one RTM_GETLINK.
struct link_message {
    std::uint32_t rx_queues = 0, min_mtu = 0, max_mtu = 0;
    int link = 0;
    bool link_elsewhere = false;
};

template <typename T>
T attribute(const rtattr *attr)
{
    T value{};
    std::memcpy(&value, RTA_DATA(attr), std::min(sizeof value, RTA_PAYLOAD(attr)));
    return value;
}

void parse_attribute(link_message &out, const rtattr *attr)
{
    switch (attr->rta_type) {
    case IFLA_NUM_RX_QUEUES:
        out.rx_queues = attribute<std::uint32_t>(attr);
        break;
    case IFLA_MIN_MTU:
        out.min_mtu = attribute<std::uint32_t>(attr);
        break;
    case IFLA_MAX_MTU:
        out.max_mtu = attribute<std::uint32_t>(attr);
        break;
    case IFLA_LINK:
        out.link = attribute<int>(attr);
        break;
    case IFLA_LINK_NETNSID:
        out.link_elsewhere = true;
        break;
    default:
        break;
    }
}

/// Returns 0 or errno: ENODEV if the kernel does not answer with a link, so the interface is gone.
int get_link(int ifindex, link_message &out) noexcept
{
    const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) {
        return errno;
    }
    struct {
        nlmsghdr header;
        ifinfomsg info;
    } request{};
    request.header = {sizeof request, RTM_GETLINK, NLM_F_REQUEST, 1, 0};
    request.info.ifi_index = ifindex;
    alignas(nlmsghdr) char reply[32768];
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    // Only the kernel's messages are received.
    ssize_t n = connect(fd, reinterpret_cast<const sockaddr *>(&kernel), sizeof kernel);
    n = n < 0 ? n : send(fd, &request, sizeof request, 0);
    n = n < 0 ? n : recv(fd, reply, sizeof reply, 0);
    const int errnum = n < 0 ? errno : 0;
    ::close(fd);
    if (errnum != 0) {
        return errnum;
    }
    const auto *header = reinterpret_cast<const nlmsghdr *>(reply);
    if (!NLMSG_OK(header, static_cast<unsigned>(n)) || header->nlmsg_type != RTM_NEWLINK) {
        return ENODEV;
    }
    const auto *info = static_cast<const ifinfomsg *>(NLMSG_DATA(header));
    int left = static_cast<int>(IFLA_PAYLOAD(header));
    for (const rtattr *attr = IFLA_RTA(info); RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
        parse_attribute(out, attr);
    }
    return 0;
}

} // namespace

netdev::netdev(const std::string &ifname) : name_(ifname)
{
    if (ifname.empty() || ifname.size() >= IFNAMSIZ || ifname.find('/') != std::string::npos) {
        throw error("af_xdp:" + ifname + ": not an interface name (1 to 15 characters, no slash)");
    }
    socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0) {
        throw_errno(errno, "af_xdp:" + ifname + ": no control socket");
    }
    ifreq request{};
    std::memcpy(request.ifr_name, ifname.c_str(), ifname.size());
    if (ioctl(socket_, SIOCGIFINDEX, &request) < 0) {
        const int errnum = errno;
        ::close(socket_);
        if (errnum == ENODEV) {
            throw device_absent("af_xdp:" + ifname + ": no such interface in this network namespace (see `ip link`)");
        }
        throw_netdev(errnum, ifname, "cannot look up the interface");
    }
    ifindex_ = request.ifr_ifindex;
}

netdev::~netdev()
{
    restore();
    if (packet_socket_ >= 0) {
        ::close(packet_socket_);
    }
    ::close(socket_);
}

/// An ioctl on the interface by its present name. Returns 0 or errno: ENODEV if the interface is gone, else the error
/// of the ioctl.
int netdev::control(unsigned long request, void *ifr, int index) const noexcept
{
    ifreq name{};
    name.ifr_ifindex = index ? index : ifindex_;
    if (ioctl(socket_, SIOCGIFNAME, &name) < 0) {
        return errno;
    }
    std::memcpy(static_cast<ifreq *>(ifr)->ifr_name, name.ifr_name, IFNAMSIZ);
    return ioctl(socket_, request, ifr) < 0 ? errno : 0;
}

std::string netdev::present_name() const
{
    ifreq request{};
    request.ifr_ifindex = ifindex_;
    return ioctl(socket_, SIOCGIFNAME, &request) == 0 ? request.ifr_name : "";
}

int netdev::ethtool(void *command, int index) const noexcept
{
    ifreq request{};
    request.ifr_data = static_cast<char *>(command);
    return control(SIOCETHTOOL, &request, index);
}

netdev_facts netdev::facts() const
{
    netdev_facts f;
    link_message link;
    const int unknown = get_link(ifindex_, link);
    if (unknown == ENODEV) {
        throw error("af_xdp:" + name_ + ": the interface is gone");
    }
    if (unknown != 0) {
        throw_netdev(unknown, name_, "cannot read its properties");
    }
    f.rx_queues = std::max(1U, link.rx_queues);
    f.min_mtu = link.min_mtu ? link.min_mtu : f.min_mtu;
    f.max_mtu = link.max_mtu;
    f.peer_ifindex = link.link_elsewhere ? 0 : link.link;

    ifreq request{};
    if (const int err = control(SIOCGIFHWADDR, &request); err != 0) {
        throw_netdev(err, name_, "cannot read the hardware address");
    }
    std::memcpy(f.mac.addr_bytes, request.ifr_hwaddr.sa_data, RTE_ETHER_ADDR_LEN);
    if (const int err = control(SIOCGIFMTU, &request); err != 0) {
        throw_netdev(err, name_, "cannot read the MTU");
    }
    f.mtu = static_cast<std::uint32_t>(request.ifr_mtu);

    ethtool_drvinfo driver{};
    driver.cmd = ETHTOOL_GDRVINFO;
    if (ethtool(&driver) == 0) {
        f.driver = driver.driver;
        f.software = driver.bus_info[0] == '\0' || f.driver == "tun";
    }
    if (const unsigned queues = rx_queues(); queues > 0) {
        f.rx_queues = queues;
    }
    return f;
}

unsigned netdev::rx_queues() const noexcept
{
    ethtool_channels channels{};
    channels.cmd = ETHTOOL_GCHANNELS;
    return ethtool(&channels) == 0 ? channels.rx_count + channels.combined_count : 0;
}

link_state netdev::link() const noexcept
{
    link_state state;
    ifreq request{};
    if (control(SIOCGIFFLAGS, &request) != 0) {
        return state;
    }
    state.up = (request.ifr_flags & IFF_UP) && (request.ifr_flags & IFF_RUNNING);
    ethtool_cmd settings{};
    settings.cmd = ETHTOOL_GSET;
    if (ethtool(&settings) == 0) {
        const std::uint32_t speed = ethtool_cmd_speed(&settings);
        state.speed_mbps = speed == static_cast<std::uint32_t>(SPEED_UNKNOWN) ? 0 : speed;
    }
    return state;
}

std::string netdev::ipv4_address() const
{
    ifreq request{};
    if (control(SIOCGIFADDR, &request) != 0) {
        return {};
    }
    char text[INET_ADDRSTRLEN] = {};
    const auto *address = reinterpret_cast<const sockaddr_in *>(&request.ifr_addr);
    return inet_ntop(AF_INET, &address->sin_addr, text, sizeof text) ? text : "";
}

void netdev::set_up()
{
    ifreq request{};
    if (const int err = control(SIOCGIFFLAGS, &request); err != 0) {
        throw_netdev(err, name_, "cannot read the flags");
    }
    if (request.ifr_flags & IFF_UP) {
        return;
    }
    request.ifr_flags |= IFF_UP;
    if (const int err = control(SIOCSIFFLAGS, &request); err != 0) {
        throw_netdev(err, name_, "cannot bring the interface up");
    }
    undo_.push_back([this] {
        ifreq down{};
        if (control(SIOCGIFFLAGS, &down) == 0) {
            down.ifr_flags &= static_cast<short>(~IFF_UP);
            control(SIOCSIFFLAGS, &down);
        }
    });
}

void netdev::set_mtu(std::uint32_t mtu)
{
    ifreq request{};
    if (const int err = control(SIOCGIFMTU, &request); err != 0) {
        throw_netdev(err, name_, "cannot read the MTU");
    }
    const int before = request.ifr_mtu;
    if (before == static_cast<int>(mtu)) {
        return;
    }
    request.ifr_mtu = static_cast<int>(mtu);
    if (const int err = control(SIOCSIFMTU, &request); err != 0) {
        throw_netdev(err, name_, "the interface refuses an MTU of " + std::to_string(mtu));
    }
    undo_.push_back([this, before] {
        ifreq old{};
        old.ifr_mtu = before;
        control(SIOCSIFMTU, &old);
    });
}

/// /proc/sys/net shows the namespace of the thread that opens it, which must be the one in which the interface was
/// found.
std::string netdev::disable_ipv6_path() const { return "/proc/sys/net/ipv6/conf/" + present_name() + "/disable_ipv6"; }

void netdev::disable_ipv6()
{
    const std::string path = disable_ipv6_path();
    char before = '1';
    if (!(std::ifstream(path) >> before) || before != '0') {
        return; // this kernel or namespace has no IPv6, or it is already disabled
    }
    if (!(std::ofstream(path) << '1' << std::flush)) {
        throw error("af_xdp:" + name_ + ": cannot write 1 to " + path +
                    " (the kernel would speak IPv6 with the same MAC address): mount /proc/sys read-write");
    }
    undo_.push_back([this] {
        if (!present_name().empty()) {
            std::ofstream(disable_ipv6_path()) << '0' << std::flush;
        }
    });
}

bool netdev::clear_ethtool_flags(unsigned flags, int index)
{
    ethtool_value value{ETHTOOL_GFLAGS, 0};
    if (ethtool(&value, index) != 0 || !(value.data & flags)) {
        return true; // none of the flags is set
    }
    const unsigned before = value.data;
    value = {ETHTOOL_SFLAGS, before & ~flags};
    if (ethtool(&value, index) != 0) {
        return false;
    }
    undo_.push_back([this, before, index] {
        ethtool_value old{ETHTOOL_SFLAGS, before};
        ethtool(&old, index);
    });
    return true;
}

bool netdev::disable_gro()
{
    ethtool_value value{ETHTOOL_GGRO, 0};
    if (ethtool(&value) != 0 || !value.data) {
        return true;
    }
    value = {ETHTOOL_SGRO, 0};
    if (ethtool(&value) != 0) {
        return false;
    }
    undo_.push_back([this] {
        ethtool_value old{ETHTOOL_SGRO, 1};
        ethtool(&old);
    });
    return true;
}

void netdev::set_promiscuous(bool on)
{
    if (on && packet_socket_ < 0) {
        // The membership ends with the process; a socket of protocol 0 receives nothing.
        const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
        packet_mreq request{};
        request.mr_ifindex = ifindex_;
        request.mr_type = PACKET_MR_PROMISC;
        if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request, sizeof request) < 0) {
            const int errnum = errno;
            ::close(fd);
            throw_netdev(errnum, name_, "cannot make the interface promiscuous");
        }
        packet_socket_ = fd;
    } else if (!on && packet_socket_ >= 0) {
        ::close(packet_socket_);
        packet_socket_ = -1;
    }
}

void netdev::restore() noexcept
{
    for (; !undo_.empty(); undo_.pop_back()) {
        undo_.back()();
    }
}

} // namespace halfpoll
