// SPDX-License-Identifier: BSD-3-Clause
#include "shadow_tap.hpp"
#include "shadow_features.hpp"
#include "shadow_identity.hpp"
#include "tap_kind.hpp"
#include "tap_steering.hpp"

#include <halfpoll/netns.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>

namespace halfpoll
{

namespace
{

// Segmentation offload of UDP, in <linux/if_tun.h> since Linux 6.2.
constexpr unsigned tun_f_uso = 0x20 | 0x40;
// A process that was just killed closes its fds only a moment later.
constexpr unsigned attempts = 50;
constexpr useconds_t attempt_us = 10'000;

/// Closes the fd in the destructor, unless it was released.
struct fd_guard {
    int fd;
    explicit fd_guard(int f) : fd(f) {}
    fd_guard(fd_guard &&other) noexcept : fd(other.release()) {}
    ~fd_guard()
    {
        if (fd >= 0) {
            close(fd);
        }
    }
    fd_guard(const fd_guard &) = delete;
    fd_guard &operator=(const fd_guard &) = delete;
    int release() noexcept { return std::exchange(fd, -1); }
};

ifreq request(const std::string &name)
{
    ifreq ifr{};
    name.copy(ifr.ifr_name, IFNAMSIZ - 1);
    return ifr;
}

void check_ioctl(int fd, unsigned long op, void *arg, const std::string &what)
{
    if (ioctl(fd, op, arg) < 0) {
        throw_errno(errno, what);
    }
}

int open_tun()
{
    const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        throw_errno(errno, errno == ENOENT ? "/dev/net/tun is missing (modprobe tun, or give the container the device)"
                                           : "opening /dev/net/tun");
    }
    return fd;
}

/// Tries once to attach to an interface. Returns 0 or errno of TUNSETIFF: EBUSY (it exists or, with a single queue,
/// another process holds it), EINVAL (it is no TAP, or not of that kind), EPERM.
int attach(int fd, const std::string &name, int flags)
{
    ifreq ifr = request(name);
    ifr.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_NO_CARRIER | flags);
    return ioctl(fd, TUNSETIFF, &ifr) < 0 ? errno : 0;
}

int kind_flag(unsigned queues) noexcept { return queues > 1 ? IFF_MULTI_QUEUE : 0; }

[[noreturn]] void refuse_held(const std::string &name)
{
    throw error("shadow " + name + ": another process holds the interface; stop it or choose another name");
}

[[noreturn]] void refuse_kind(const std::string &name, unsigned queues)
{
    const auto kind = tap_kind_of(name).kind;
    if (kind == (queues > 1 ? tap_kind::single_queue : tap_kind::multi_queue)) {
        throw error("shadow " + name + ": the interface was made for " +
                    (queues > 1 ? "one slow-path thread, and there are " + std::to_string(queues)
                                : std::string("several slow-path threads, and there is one")) +
                    " now, which the kernel cannot change; remove it, with its addresses and routes (ip link del " +
                    name + "), or set slow_path_threads as it was");
    }
    throw error("shadow " + name + ": an interface of that name exists and is not a " +
                (queues > 1 ? "multi-queue" : "single-queue") + " TAP; remove it or choose another name");
}

/// Throws `error` if a multi-queue interface that exists is of another kind, or another process holds it. The kernel
/// lets any number of processes attach to one.
void check_multi_queue(const std::string &name, unsigned queues)
{
    for (unsigned attempt = 0; attempt < attempts; ++attempt) {
        const tap_kind found = tap_kind_of(name);
        if (found.kind != tap_kind::multi_queue) {
            return found.kind == tap_kind::none ? void() : refuse_kind(name, queues);
        }
        if (found.attached == 0) {
            return;
        }
        usleep(attempt_us);
    }
    refuse_held(name);
}

/// Attaches to an interface that exists. Returns 0 or errno.
int adopt(int fd, const std::string &name, unsigned queues)
{
    if (queues > 1) {
        check_multi_queue(name, queues);
        return attach(fd, name, IFF_MULTI_QUEUE);
    }
    int err = EBUSY;
    for (unsigned attempt = 0; err == EBUSY && attempt < attempts; ++attempt) {
        err = attach(fd, name, 0);
        if (err == EBUSY) {
            usleep(attempt_us);
        }
    }
    return err;
}

/// Creates the interface and returns true, or adopts it and returns false.
bool attach_or_create(int fd, const std::string &name, unsigned queues)
{
    int err = attach(fd, name, IFF_TUN_EXCL | kind_flag(queues));
    if (err == 0) {
        return true;
    }
    if (err == EBUSY) {
        err = adopt(fd, name, queues);
    }
    switch (err) {
    case 0:
        return false;
    case EBUSY:
        refuse_held(name);
    case EINVAL:
        refuse_kind(name, queues);
    case EPERM:
        throw error("shadow " + name + ": creating a TAP needs CAP_NET_ADMIN");
    default:
        throw_errno(err, "shadow " + name + ": TUNSETIFF");
    }
}

/// Attaches the further queues to the interface of the first one. Throws `error` if another process has attached since
/// the first was, or if the interface was renamed, so that a queue attached to another one.
void attach_others(std::vector<fd_guard> &fds, const std::string &name, unsigned queues)
{
    while (fds.size() < queues) {
        fds.emplace_back(open_tun());
        if (const int err = attach(fds.back().fd, name, IFF_MULTI_QUEUE)) {
            throw_errno(err, "shadow " + name + ": TUNSETIFF of queue " + std::to_string(fds.size() - 1));
        }
    }
    if (queues > 1 && tap_kind_of(name).attached != queues) {
        throw error("shadow " + name +
                    ": another process has attached to the interface or renamed it meanwhile; stop "
                    "it or choose another name");
    }
}

tap_address address_of(int control, const std::string &name)
{
    tap_address address;
    ifreq ifr = request(name);
    check_ioctl(control, SIOCGIFHWADDR, &ifr, "shadow " + name + ": reading its MAC");
    std::memcpy(address.mac.addr_bytes, ifr.ifr_hwaddr.sa_data, sizeof address.mac.addr_bytes);
    ifr = request(name);
    check_ioctl(control, SIOCGIFMTU, &ifr, "shadow " + name + ": reading its MTU");
    address.mtu = static_cast<std::uint32_t>(ifr.ifr_mtu);
    return address;
}

/// Sets MAC and MTU where they differ: setting the same MAC again makes the kernel forget neighbours.
void set_address(int control, const std::string &name, const rte_ether_addr &mac, std::uint32_t mtu)
{
    const tap_address before = address_of(control, name);
    if (!rte_is_same_ether_addr(&before.mac, &mac)) {
        ifreq ifr = request(name);
        ifr.ifr_hwaddr.sa_family = ARPHRD_ETHER;
        std::memcpy(ifr.ifr_hwaddr.sa_data, mac.addr_bytes, sizeof mac.addr_bytes);
        check_ioctl(control, SIOCSIFHWADDR, &ifr, "shadow " + name + ": setting its MAC");
    }
    if (before.mtu != mtu) {
        ifreq ifr = request(name);
        ifr.ifr_mtu = static_cast<int>(mtu);
        check_ioctl(control, SIOCSIFMTU, &ifr, "shadow " + name + ": setting its MTU to " + std::to_string(mtu));
    }
}

/// Sets the frame header and the offloads, which a predecessor may have left otherwise. Returns whether the kernel
/// knows segmentation offload of UDP (Linux 6.2).
bool set_header(int fd, const std::string &name)
{
    constexpr unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    int size = sizeof(vnet_header);
    int little_endian = 1;
    check_ioctl(fd, TUNSETVNETHDRSZ, &size, "shadow " + name + ": TUNSETVNETHDRSZ");
    check_ioctl(fd, TUNSETVNETLE, &little_endian, "shadow " + name + ": TUNSETVNETLE");
    if (ioctl(fd, TUNSETOFFLOAD, offloads | tun_f_uso) == 0) {
        return true;
    }
    if (ioctl(fd, TUNSETOFFLOAD, offloads) < 0) {
        throw_errno(errno, "shadow " + name + ": TUNSETOFFLOAD");
    }
    return false;
}

void check_name(const std::string &name)
{
    if (name.empty() || name.size() >= IFNAMSIZ) {
        throw error("shadow " + name + ": an interface name has 1 to 15 characters");
    }
}

int control_socket(const std::string &name)
{
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        throw_errno(errno, "shadow " + name + ": socket");
    }
    return fd;
}

int index_of(int control, const std::string &name)
{
    ifreq ifr = request(name);
    check_ioctl(control, SIOCGIFINDEX, &ifr, "shadow " + name + ": reading its index");
    return ifr.ifr_ifindex;
}

/// Present name of the interface that was created as `name`; `name` itself if there is none.
std::string present_name(const std::string &name)
{
    const std::string present = find_shadow(name);
    return present.empty() ? name : present;
}

/// The namespace of the interface of an fd; -1 if the kernel does not report it.
fd_guard namespace_of(int fd) { return fd_guard(ioctl(fd, TUNGETDEVNETNS)); }

/// Whether `netns` is the namespace of the calling thread. `err`: errno of namespace_of(); a namespace in which this
/// process has no rights (EPERM) is another one.
bool is_this_namespace(const fd_guard &netns, int err)
{
    struct stat there, here;
    if (netns.fd < 0) {
        return err != EPERM;
    }
    return fstat(netns.fd, &there) == 0 && stat("/proc/thread-self/ns/net", &here) == 0 && there.st_ino == here.st_ino;
}

/// Calls fn(control socket, present name of the interface) in the namespace where the interface is now.
template <typename F>
void with_interface(const std::string &netns, int fd, const std::string &what, F &&fn)
{
    const netns_scope scope(netns);
    const fd_guard there = namespace_of(fd);
    const bool here = is_this_namespace(there, errno);
    const netns_scope moved(here || there.fd < 0 ? "" : "/proc/self/fd/" + std::to_string(there.fd));
    ifreq ifr{};
    check_ioctl(fd, TUNGETIFF, &ifr, what + ": reading its present name");
    const fd_guard control(control_socket(ifr.ifr_name));
    fn(control.fd, std::string(ifr.ifr_name));
}

} // namespace

tap tap_open(const std::string &netns, const std::string &name, unsigned queues, const rte_ether_addr &mac,
             std::uint32_t mtu)
{
    check_name(name);
    const netns_scope scope(netns);
    std::vector<fd_guard> fds;
    const int first = fds.emplace_back(open_tun()).fd;
    const fd_guard control(control_socket(name));
    tap t;
    t.name = present_name(name);
    t.created = attach_or_create(first, t.name, queues);
    attach_others(fds, t.name, queues);
    t.uso = set_header(first, t.name);
    set_address(control.fd, t.name, mac, mtu);
    t.ifindex = index_of(control.fd, t.name);
    if (ioctl(first, TUNSETPERSIST, 1) < 0) {
        throw_errno(errno, "shadow " + name + ": TUNSETPERSIST");
    }
    identify_shadow(t.ifindex, name);
    if (queues > 1) {
        steer_by_flow(first); // else the kernel steers, which may reorder a flow when its answers come
    }
    t.fds.resize(queues);
    std::ranges::transform(fds, t.fds.begin(), [](fd_guard &fd) { return fd.release(); });
    return t;
}

/// Attaches for a moment to an interface with a single queue, because only that shows whether another process holds it.
void tap_check(const std::string &netns, const std::string &name, unsigned queues)
{
    check_name(name);
    const netns_scope scope(netns);
    const std::string present = present_name(name);
    if (queues > 1) {
        return check_multi_queue(present, queues);
    }
    const fd_guard fd(open_tun());
    if (if_nametoindex(present.c_str()) != 0 && attach_or_create(fd.fd, present, queues)) {
        tap_forget(fd.fd); // it has just vanished; the new one is removed with the fd
    }
}

std::vector<int> tap_unattached(unsigned queues)
{
    std::vector<fd_guard> fds;
    while (fds.size() < queues) {
        fds.emplace_back(open_tun());
    }
    std::vector<int> released(queues);
    std::ranges::transform(fds, released.begin(), [](fd_guard &fd) { return fd.release(); });
    return released;
}

tap_place tap_find(const std::string &netns, int fd)
{
    const netns_scope scope(netns);
    ifreq ifr{};
    if (ioctl(fd, TUNGETIFF, &ifr) < 0) {
        return {.where = tap_place::gone, .name = {}};
    }
    const fd_guard there = namespace_of(fd);
    if (!is_this_namespace(there, errno)) {
        return {.where = tap_place::elsewhere, .name = ifr.ifr_name};
    }
    const fd_guard control(control_socket(ifr.ifr_name));
    return {.where = tap_place::here, .name = ifr.ifr_name, .ifindex = index_of(control.fd, ifr.ifr_name)};
}

void tap_identify(const std::string &netns, int ifindex, const std::string &name)
{
    const netns_scope scope(netns);
    identify_shadow(ifindex, name);
}

void tap_set_address(const std::string &netns, int fd, const rte_ether_addr &mac, std::uint32_t mtu)
{
    with_interface(netns, fd, "shadow",
                   [&](int control, const std::string &present) { set_address(control, present, mac, mtu); });
}

void tap_set_back(const std::string &netns, int fd, const tap_address &refused, const tap_address &to)
{
    with_interface(netns, fd, "shadow", [&](int control, const std::string &present) {
        const tap_address now = address_of(control, present);
        set_address(control, present, rte_is_same_ether_addr(&now.mac, &refused.mac) ? to.mac : now.mac,
                    now.mtu == refused.mtu ? to.mtu : now.mtu);
    });
}

gro_kinds tap_gro(const std::string &netns, int fd)
{
    gro_kinds kinds;
    with_interface(netns, fd, "shadow",
                   [&](int control, const std::string &present) { kinds = gro_of(control, present); });
    return kinds;
}

void tap_set_carrier(int fd, const std::string &name, bool up)
{
    int carrier = up ? 1 : 0;
    if (ioctl(fd, TUNSETCARRIER, &carrier) < 0 && errno != EBADFD) {
        throw_errno(errno, "shadow " + name + ": setting its carrier");
    }
}

void tap_set_mtu(const std::string &netns, int fd, const std::string &name, std::uint32_t mtu)
{
    with_interface(netns, fd, "shadow " + name, [&](int control, const std::string &present) {
        ifreq ifr = request(present);
        ifr.ifr_mtu = static_cast<int>(mtu);
        check_ioctl(control, SIOCSIFMTU, &ifr, "shadow " + name + ": setting its MTU to " + std::to_string(mtu));
    });
}

void tap_destroy(const std::string &netns, const std::string &name) noexcept
{
    try {
        const netns_scope scope(netns);
        const fd_guard fd(open_tun());
        const std::string present = present_name(name);
        const tap_kind found = tap_kind_of(present);
        const bool multi = found.kind == tap_kind::multi_queue;
        if (found.kind == tap_kind::none || found.attached != 0 ||
            attach(fd.fd, present, multi ? IFF_MULTI_QUEUE : 0) != 0) {
            return;
        }
        if (!multi || tap_kind_of(present).attached == 1) {
            tap_forget(fd.fd);
        }
    } catch (const std::exception &) { // the namespace cannot be reached any more
    }
}

void tap_forget(int fd) noexcept { ioctl(fd, TUNSETPERSIST, 0); }

bool tap_write(int fd, std::span<const iovec> frame) noexcept
{
    ssize_t written;
    do {
        written = writev(fd, frame.data(), static_cast<int>(frame.size()));
    } while (written < 0 && errno == EINTR);
    return written > 0;
}

tap_result tap_read(int fd, tap_buffer &buffer, tap_frame &frame) noexcept
{
    ssize_t got;
    do {
        got = read(fd, buffer.data(), buffer.size());
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return errno == EAGAIN ? tap_result::empty : errno == EBADFD ? tap_result::removed : tap_result::bad;
    }
    const auto length = static_cast<std::size_t>(got);
    if (length <= sizeof frame.header || length == buffer.size()) { // no frame fills the buffer
        return tap_result::bad;
    }
    std::memcpy(&frame.header, buffer.data(), sizeof frame.header);
    frame.bytes = std::span(buffer).subspan(sizeof frame.header, length - sizeof frame.header);
    return tap_result::frame;
}

} // namespace halfpoll
