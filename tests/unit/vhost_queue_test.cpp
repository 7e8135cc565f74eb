// SPDX-License-Identifier: BSD-3-Clause
//
// Frames by vhost-net. The device is a model in this process, which may wait and look at any moment. The kernel's own
// is tested in a virtual machine (tests/nic), and by slow_path_test with HALFPOLL_TEST_VHOST in the environment.
#include "netio/shadow/vhost_queue.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <poll.h>
#include <thread>
#include <unistd.h>

namespace halfpoll
{
namespace
{

using rings = virtqueue::rings;

/// The device's side of a ring.
class device_ring
{
public:
    explicit device_ring(rings &shared) : shared_(shared) {}

    bool available() { return taken_ != atomic(shared_.available_index).load(std::memory_order_seq_cst); }
    unsigned waiting() const { return static_cast<std::uint16_t>(shared_.available_index - taken_); }
    /// The next buffer; there is one.
    std::uint16_t take() { return shared_.available[taken_++ % virtqueue::SIZE]; }
    virtqueue::descriptor describe(std::uint16_t number) const { return shared_.descriptors[number]; }
    /// True: the driver waits for a signal.
    bool give_back(std::uint32_t number, std::uint32_t length)
    {
        shared_.used[given_++ % virtqueue::SIZE] = {number, length};
        atomic(shared_.used_index).store(given_, std::memory_order_seq_cst);
        return (atomic(shared_.available_flags).load(std::memory_order_seq_cst) & rings::NO_INTERRUPT) == 0;
    }
    /// True: no buffer has come yet, so that the device may wait for a kick.
    bool want_kick()
    {
        atomic(shared_.used_flags).store(0, std::memory_order_seq_cst);
        return !available();
    }
    void want_no_kick() { atomic(shared_.used_flags).store(rings::NO_NOTIFY, std::memory_order_seq_cst); }

private:
    static std::atomic_ref<std::uint16_t> atomic(std::uint16_t &shared) { return std::atomic_ref(shared); }

    rings &shared_;
    std::uint16_t taken_ = 0, given_ = 0;
};

/// Waits as long as a busy machine may need. False: nobody has rung.
bool rung(int fd, int timeout_ms = 60'000)
{
    pollfd p{.fd = fd, .events = POLLIN, .revents = 0};
    if (poll(&p, 1, timeout_ms) != 1) {
        return false;
    }
    std::uint64_t count;
    return read(fd, &count, sizeof count) == sizeof count;
}

class vhost_queue_test : public testing::Test
{
protected:
    using bytes = std::vector<std::uint8_t>;

    /// A frame with a vnet_header, in pieces.
    bool write(const bytes &frame)
    {
        vnet_header header{.flags = 0,
                           .gso_type = vnet_header::GSO_NONE,
                           .hdr_len = 3,
                           .gso_size = 0,
                           .csum_start = 0,
                           .csum_offset = 0};
        bytes copy = frame;
        const std::size_t half = copy.size() / 2;
        const iovec pieces[] = {
            {&header, sizeof header}, {copy.data(), half}, {copy.data() + half, copy.size() - half}};
        return queue_.write(pieces);
    }
    /// What the device finds in the next buffer.
    bytes sent()
    {
        const std::uint16_t number = to_.take();
        const virtqueue::descriptor d = to_.describe(number);
        const auto *at = reinterpret_cast<const std::uint8_t *>(d.address);
        last_ = number;
        return {at, at + d.length};
    }
    /// The device receives a frame; true: it has to signal that.
    bool receive(const bytes &frame)
    {
        const std::uint16_t number = from_.take();
        const virtqueue::descriptor d = from_.describe(number);
        EXPECT_EQ(d.flags, virtqueue::descriptor::DEVICE_WRITES);
        EXPECT_EQ(d.length, sizeof(tap_buffer));
        auto *at = reinterpret_cast<std::uint8_t *>(d.address);
        std::memset(at, 0, sizeof(vnet_header));
        std::memcpy(at + sizeof(vnet_header), frame.data(), frame.size());
        return from_.give_back(number, static_cast<std::uint32_t>(sizeof(vnet_header) + frame.size()));
    }
    static bytes body(const bytes &sent) { return {sent.begin() + sizeof(vnet_header), sent.end()}; }
    int send_kick() { return queue_.for_device().send_kick.fd; }
    int receive_kick() { return queue_.for_device().receive_kick.fd; }

    vhost_queue queue_;
    device_ring from_{queue_.for_device().shared.from_kernel}, to_{queue_.for_device().shared.to_kernel};
    std::uint16_t last_ = 0;
};

TEST_F(vhost_queue_test, frames_to_the_kernel_keep_their_bytes_and_order)
{
    const bytes first(60, 1), second(65'536, 2);
    ASSERT_TRUE(write(first));
    ASSERT_TRUE(write(second));
    EXPECT_FALSE(to_.available()) << "before flush()";
    queue_.flush();
    EXPECT_TRUE(rung(send_kick(), 0));
    const bytes sent_first = sent();
    EXPECT_EQ(sent_first[offsetof(vnet_header, hdr_len)], 3);
    EXPECT_EQ(body(sent_first), first);
    EXPECT_EQ(body(sent()), second);
    EXPECT_FALSE(to_.available());
}

TEST_F(vhost_queue_test, a_device_that_is_at_work_is_not_kicked)
{
    to_.want_no_kick();
    ASSERT_TRUE(write(bytes(60)));
    queue_.flush();
    EXPECT_TRUE(to_.available());
    EXPECT_FALSE(rung(send_kick(), 0));
}

TEST_F(vhost_queue_test, a_frame_without_a_buffer_is_refused_until_one_comes_back)
{
    for (unsigned i = 0; i < vhost_queue::SEND_BUFFERS; ++i) {
        ASSERT_TRUE(write(bytes(60, static_cast<std::uint8_t>(i)))) << i;
    }
    EXPECT_FALSE(write(bytes(60)));
    queue_.flush();
    EXPECT_FALSE(queue_.drained());
    EXPECT_EQ(to_.waiting(), vhost_queue::SEND_BUFFERS);
    sent();
    to_.give_back(last_, 0);
    EXPECT_TRUE(write(bytes(60, 200)));
    EXPECT_FALSE(write(bytes(60)));
    queue_.flush();
    for (unsigned i = 1; i <= vhost_queue::SEND_BUFFERS; ++i) {
        EXPECT_EQ(body(sent())[0], i == vhost_queue::SEND_BUFFERS ? 200 : i);
        to_.give_back(last_, 0);
    }
    EXPECT_TRUE(queue_.drained());
}

TEST_F(vhost_queue_test, a_frame_that_is_too_long_is_refused)
{
    EXPECT_FALSE(write(bytes(sizeof(tap_buffer))));
    EXPECT_TRUE(write(bytes(sizeof(tap_buffer) - sizeof(vnet_header))));
}

TEST_F(vhost_queue_test, buffers_of_frames_from_the_kernel_go_back)
{
    EXPECT_TRUE(rung(receive_kick(), 0)) << "the first buffers";
    EXPECT_EQ(from_.waiting(), vhost_queue::RECEIVE_BUFFERS);
    tap_frame frame;
    for (unsigned i = 0; i < 5 * virtqueue::SIZE; ++i) {
        receive(bytes(60 + i, static_cast<std::uint8_t>(i)));
        ASSERT_EQ(queue_.read(frame), tap_result::frame);
        ASSERT_EQ(bytes(frame.bytes.begin(), frame.bytes.end()), bytes(60 + i, static_cast<std::uint8_t>(i)));
        ASSERT_EQ(queue_.read(frame), tap_result::empty);
        queue_.flush();
        ASSERT_EQ(from_.waiting(), vhost_queue::RECEIVE_BUFFERS);
    }
}

TEST_F(vhost_queue_test, what_is_no_frame_is_told_and_its_buffer_goes_back)
{
    tap_frame frame;
    from_.give_back(from_.take(), sizeof(vnet_header)); // nothing behind the header
    EXPECT_EQ(queue_.read(frame), tap_result::bad);
    from_.give_back(from_.take(), sizeof(tap_buffer) + 1);
    EXPECT_EQ(queue_.read(frame), tap_result::bad);
    queue_.flush();
    EXPECT_EQ(from_.waiting(), vhost_queue::RECEIVE_BUFFERS);
    from_.give_back(vhost_queue::RECEIVE_BUFFERS, 100); // never offered
    EXPECT_EQ(queue_.read(frame), tap_result::bad);
    EXPECT_EQ(queue_.read(frame), tap_result::empty);
}

// The frame comes at each moment between the driver's last read and its wait.
TEST_F(vhost_queue_test, a_frame_that_comes_before_the_wait_ends_it)
{
    tap_frame frame;
    receive(bytes(60));
    ASSERT_EQ(queue_.read(frame), tap_result::frame);
    EXPECT_FALSE(receive(bytes(60))) << "the driver is at work";
    EXPECT_FALSE(queue_.may_wait());
    ASSERT_EQ(queue_.read(frame), tap_result::frame);
    ASSERT_EQ(queue_.read(frame), tap_result::empty);
    EXPECT_FALSE(receive(bytes(60))) << "it has just looked";
    EXPECT_FALSE(queue_.may_wait());
    ASSERT_EQ(queue_.read(frame), tap_result::frame);
    ASSERT_EQ(queue_.read(frame), tap_result::empty);
    EXPECT_TRUE(queue_.may_wait());
    EXPECT_TRUE(receive(bytes(60))) << "it waits";
}

// Driver and device wait for each other at random moments: a lost kick or signal would leave one of them waiting.
TEST_F(vhost_queue_test, no_kick_and_no_signal_is_lost)
{
    constexpr std::uint32_t frames = 30'000;
    const auto device = queue_.for_device();
    std::atomic<bool> lost{false};
    std::thread kernel([&] { // sends back what it gets
        for (std::uint32_t done = 0; done < frames && !lost;) {
            to_.want_no_kick();
            while (to_.available()) {
                while (!from_.available() && !lost) {
                    lost = from_.want_kick() && !rung(device.receive_kick.fd);
                }
                if (lost) {
                    return;
                }
                if (receive(body(sent()))) {
                    device.signal.ring();
                }
                to_.give_back(last_, 0);
                ++done;
            }
            if (done < frames && to_.want_kick()) {
                lost = lost || !rung(device.send_kick.fd);
            }
        }
    });
    std::uint32_t written = 0, read = 0;
    while (read < frames && !lost) {
        for (unsigned burst = 1 + read % 7; burst != 0 && written < frames; --burst) {
            bytes number(60);
            std::memcpy(number.data(), &written, sizeof written);
            written += write(number) ? 1 : 0;
        }
        tap_frame frame;
        while (queue_.read(frame) == tap_result::frame) {
            std::uint32_t number;
            std::memcpy(&number, frame.bytes.data(), sizeof number);
            EXPECT_EQ(number, read);
            ++read;
        }
        queue_.flush();
        if (written - read > 100 || written == frames) {
            lost = lost || (read < frames && queue_.may_wait() && !rung(queue_.signal_fd()));
        }
    }
    kernel.join();
    EXPECT_FALSE(lost);
    EXPECT_EQ(read, frames);
}

} // namespace
} // namespace halfpoll
