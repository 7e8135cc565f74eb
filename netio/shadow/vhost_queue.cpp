// SPDX-License-Identifier: BSD-3-Clause
#include "vhost_queue.hpp"
#include "vhost_abi.hpp"

#include <halfpoll/error.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <numeric>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

/// Pages of the buffers exist from the time that they are used.
vhost_queue::memory *map_memory()
{
    void *at = mmap(nullptr, sizeof(vhost_queue::memory), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        throw_errno(errno, "slow path: memory for vhost-net");
    }
    madvise(at, sizeof(vhost_queue::memory), MADV_NOHUGEPAGE); // else a frame of 64 bytes would take 2 MiB
    return static_cast<vhost_queue::memory *>(at);
}

int open_vhost(const std::string &name)
{
    const int fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        throw_errno(errno, "shadow " + name +
                               (errno == ENOENT ? ": /dev/vhost-net is missing (modprobe vhost_net, or give the "
                                                  "container the device)"
                                                : ": opening /dev/vhost-net"));
    }
    return fd;
}

std::uint64_t address_of(const void *at) noexcept { return reinterpret_cast<std::uintptr_t>(at); }

/// The requests that make vhost-net a device, each with the name of the shadow in its error.
class vhost_setup
{
public:
    vhost_setup(int fd, const std::string &name) : fd_(fd), name_(name) {}

    void owner() { check(ioctl(fd_, vhost::SET_OWNER), "VHOST_SET_OWNER"); }
    /// No feature: the header before a frame is the TAP's, and the rings have the native byte order.
    void features()
    {
        std::uint64_t none = 0;
        check(ioctl(fd_, vhost::SET_FEATURES, &none), "VHOST_SET_FEATURES");
    }
    void memory(const void *at, std::size_t bytes)
    {
        vhost::memory_table table{.regions = 1,
                                  .padding = 0,
                                  .ring_address = address_of(at),
                                  .bytes = bytes,
                                  .process_address = address_of(at),
                                  .flags = 0};
        check(ioctl(fd_, vhost::SET_MEM_TABLE, &table), "VHOST_SET_MEM_TABLE");
    }
    void ring(std::uint32_t index, virtqueue::rings &rings, int kick, int signal)
    {
        vhost::vring_state size{.index = index, .value = virtqueue::SIZE}, base{.index = index, .value = 0};
        check(ioctl(fd_, vhost::SET_VRING_NUM, &size), "VHOST_SET_VRING_NUM");
        check(ioctl(fd_, vhost::SET_VRING_BASE, &base), "VHOST_SET_VRING_BASE");
        vhost::vring_addresses at{.index = index,
                                  .flags = 0,
                                  .descriptors = address_of(&rings.descriptors),
                                  .used = address_of(&rings.used_flags),
                                  .available = address_of(&rings.available_flags),
                                  .log = 0};
        check(ioctl(fd_, vhost::SET_VRING_ADDR, &at), "VHOST_SET_VRING_ADDR");
        vhost::vring_file kicked{.index = index, .fd = kick}, signalled{.index = index, .fd = signal};
        check(ioctl(fd_, vhost::SET_VRING_KICK, &kicked), "VHOST_SET_VRING_KICK");
        check(ioctl(fd_, vhost::SET_VRING_CALL, &signalled), "VHOST_SET_VRING_CALL");
    }
    void backend(std::uint32_t index, int tap_fd)
    {
        vhost::vring_file tap{.index = index, .fd = tap_fd};
        check(ioctl(fd_, vhost::NET_SET_BACKEND, &tap), "VHOST_NET_SET_BACKEND");
    }

private:
    void check(int result, const char *what) const
    {
        if (result < 0) {
            throw_errno(errno, "shadow " + name_ + ": " + what);
        }
    }

    const int fd_;
    const std::string &name_;
};

} // namespace

vhost_queue::bell::~bell()
{
    if (fd >= 0) {
        close(fd);
    }
}

void vhost_queue::bell::ring() const noexcept
{
    const std::uint64_t one = 1;
    while (::write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

void vhost_queue::unmap::operator()(memory *m) const noexcept { munmap(m, sizeof *m); }

vhost_queue::vhost_queue() : memory_(map_memory()), from_(memory_->from_kernel), to_(memory_->to_kernel)
{
    for (bell *b : {&receive_kick_, &send_kick_, &signal_}) {
        b->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (b->fd < 0) {
            throw_errno(errno, "slow path: eventfd for vhost-net");
        }
    }
    to_.want_no_signal(); // what was sent is looked at when a buffer is needed
    free_count_ = SEND_BUFFERS;
    std::iota(free_.begin(), free_.end(), std::uint16_t{0});
    for (std::uint16_t number = 0; number < RECEIVE_BUFFERS; ++number) {
        offer(number);
    }
    flush();
}

vhost_queue::~vhost_queue()
{
    if (vhost_fd_ >= 0) {
        close(vhost_fd_); // waits until the worker uses the memory no more
    }
}

void vhost_queue::attach(int tap_fd, const std::string &name)
{
    vhost_fd_ = open_vhost(name);
    vhost_setup setup(vhost_fd_, name);
    setup.owner();
    setup.features();
    setup.memory(memory_.get(), sizeof *memory_);
    setup.ring(vhost::FROM_KERNEL, memory_->from_kernel, receive_kick_.fd, signal_.fd);
    setup.ring(vhost::TO_KERNEL, memory_->to_kernel, send_kick_.fd, -1);
    setup.backend(vhost::FROM_KERNEL, tap_fd);
    setup.backend(vhost::TO_KERNEL, tap_fd);
}

bool vhost_queue::write(std::span<const iovec> frame) noexcept
{
    if (free_count_ == 0) {
        reclaim();
    }
    const std::size_t length = std::transform_reduce(frame.begin(), frame.end(), std::size_t{0}, std::plus{},
                                                     [](const iovec &piece) { return piece.iov_len; });
    if (free_count_ == 0 || length > sizeof(tap_buffer)) {
        return false;
    }
    const std::uint16_t number = free_[--free_count_];
    std::uint8_t *const buffer = memory_->send[number].data();
    std::uint8_t *to = buffer;
    for (const iovec &piece : frame) {
        std::memcpy(to, piece.iov_base, piece.iov_len);
        to += piece.iov_len;
    }
    to_.add(number, address_of(buffer), static_cast<std::uint32_t>(length), 0);
    return true;
}

tap_result vhost_queue::read(tap_frame &frame) noexcept
{
    give_back();
    const auto used = from_.take();
    if (!used) {
        return tap_result::empty;
    }
    from_.want_no_signal(); // until may_wait()
    if (used->number >= RECEIVE_BUFFERS) {
        return tap_result::bad;
    }
    reading_ = used->number;
    tap_buffer &buffer = memory_->receive[reading_];
    if (used->length <= sizeof frame.header || used->length > buffer.size()) {
        return tap_result::bad;
    }
    std::memcpy(&frame.header, buffer.data(), sizeof frame.header);
    frame.bytes = std::span(buffer).subspan(sizeof frame.header, used->length - sizeof frame.header);
    return tap_result::frame;
}

void vhost_queue::flush() noexcept
{
    give_back();
    if (from_.publish()) {
        receive_kick_.ring();
    }
    if (to_.publish()) {
        send_kick_.ring();
    }
}

bool vhost_queue::drained() noexcept
{
    reclaim();
    return free_count_ == SEND_BUFFERS;
}

/// Takes the buffers back that the device has sent.
void vhost_queue::reclaim() noexcept
{
    while (const auto used = to_.take()) {
        if (used->number < SEND_BUFFERS && free_count_ < SEND_BUFFERS) {
            free_[free_count_++] = static_cast<std::uint16_t>(used->number);
        }
    }
}

/// Returns the buffer of the frame that was read last.
void vhost_queue::give_back() noexcept
{
    if (reading_ != NONE) {
        offer(static_cast<std::uint16_t>(reading_));
        reading_ = NONE;
    }
}

void vhost_queue::offer(std::uint16_t number) noexcept
{
    from_.add(number, address_of(memory_->receive[number].data()), sizeof(tap_buffer),
              virtqueue::descriptor::DEVICE_WRITES);
}

} // namespace halfpoll
