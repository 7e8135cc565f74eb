// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/wait_engine.hpp>

#include <gtest/gtest.h>

#include <cerrno>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

using namespace halfpoll;

namespace
{

struct probe : wait_source {
    int events = 0;
    int last = 0;
    probe(int event_fd, source_kind k)
    {
        fd = event_fd;
        kind = k;
        fire = [](wait_source &s, int res) noexcept {
            auto &p = static_cast<probe &>(s);
            ++p.events;
            p.last = res;
        };
    }
    ~probe() { close(fd); }
    void signal() const { ASSERT_EQ(eventfd_write(fd, 1), 0); }
};

ktime_t in_ms(int ms) { return ktime_get() + ms * NSEC_PER_MSEC; }

} // namespace

TEST(wait_engine, times_out_at_the_absolute_time_and_not_before)
{
    wait_engine e;
    const ktime_t until = ktime_get() + 3 * NSEC_PER_MSEC + 123456;
    EXPECT_EQ(e.wait(until), 0U);
    EXPECT_GE(ktime_get(), until);
    EXPECT_EQ(e.wait(ktime_get() - 1), 0U) << "the past does not block";
}

TEST(wait_engine, multishot_fires_at_every_edge_without_being_armed_again)
{
    wait_engine e;
    probe p(eventfd(0, EFD_NONBLOCK), source_kind::multishot);
    e.arm(p);
    e.poll();
    for (int i = 1; i <= 5; ++i) {
        p.signal();
        e.wait(in_ms(1000));
        EXPECT_EQ(p.events, i);
    }
    EXPECT_EQ(e.wait(in_ms(5)), 0U) << "nobody reads the eventfd: a level would fire for ever";
    e.remove(p);
}

TEST(wait_engine, read8_acknowledges_and_waits_for_the_next)
{
    wait_engine e;
    probe p(eventfd(0, 0), source_kind::read8);
    e.arm(p);
    e.poll();
    for (int i = 1; i <= 5; ++i) {
        p.signal();
        p.signal();
        e.wait(in_ms(1000));
        EXPECT_EQ(p.events, i);
        EXPECT_EQ(p.last, 8);
        EXPECT_GE(p.value, 1U);
        while (e.wait(in_ms(2)) != 0) { // a second completion comes if the two writes were read one by one
            --p.events;
        }
    }
    e.remove(p);
}

TEST(wait_engine, oneshot_fires_once_until_armed_again_and_sees_what_is_already_there)
{
    wait_engine e;
    probe p(eventfd(1, EFD_NONBLOCK), source_kind::oneshot);
    e.arm(p);
    EXPECT_EQ(e.wait(in_ms(1000)), 1U);
    EXPECT_EQ(p.events, 1);
    EXPECT_EQ(e.wait(in_ms(2)), 0U);
    e.arm(p);
    EXPECT_EQ(e.wait(in_ms(1000)), 1U);
    EXPECT_EQ(p.events, 2);
}

TEST(wait_engine, disarmed_source_is_silent_and_can_be_armed_before_the_kernel_has_let_go)
{
    wait_engine e;
    probe p(eventfd(0, EFD_NONBLOCK), source_kind::oneshot);
    e.arm(p);
    e.poll();
    e.disarm(p);
    p.signal();
    e.wait(in_ms(2));
    EXPECT_EQ(p.events, 0);
    eventfd_t v;
    eventfd_read(p.fd, &v);

    e.arm(p);
    e.poll();
    e.disarm(p); // the cancellation is queued, not yet submitted
    e.arm(p);
    e.wait(in_ms(2));
    EXPECT_EQ(p.events, 0) << "the cancelled request is not an event";
    p.signal();
    e.wait(in_ms(1000));
    EXPECT_EQ(p.events, 1);
    e.remove(p);
}

TEST(wait_engine, remove_lets_go_of_the_fd)
{
    wait_engine e;
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    probe p(pair[0], source_kind::oneshot);
    e.arm(p);
    e.poll();
    e.remove(p);
    EXPECT_FALSE(p.armed);
    close(pair[1]);
    EXPECT_EQ(e.wait(in_ms(2)), 0U);
    EXPECT_EQ(p.events, 0);
}

TEST(wait_engine, a_dead_fd_is_reported_once)
{
    wait_engine e;
    probe p(eventfd(0, 0), source_kind::read8);
    const int fd = p.fd;
    p.fd = 9999;
    e.arm(p);
    e.wait(in_ms(1000));
    EXPECT_EQ(p.events, 1);
    EXPECT_EQ(p.last, -EBADF);
    EXPECT_FALSE(p.wanted);
    EXPECT_EQ(e.wait(in_ms(2)), 0U);
    p.fd = fd;
}

TEST(wait_engine, polling_makes_no_system_call_while_nothing_happens)
{
    wait_engine e;
    probe p(eventfd(0, EFD_NONBLOCK), source_kind::multishot);
    e.arm(p);
    e.poll();
    const auto before = e.system_calls();
    for (int i = 0; i < 100000; ++i) {
        e.poll();
    }
    EXPECT_EQ(e.system_calls(), before);
    p.signal();
    while (p.events == 0) { // the kernel flags work in the ring, which poll() finds
        e.poll();
    }
    EXPECT_LE(e.system_calls(), before + 1);
    e.remove(p);
}

TEST(wait_engine, a_request_that_a_call_did_not_take_goes_with_the_next)
{
    wait_engine e;
    probe p(eventfd(1, EFD_NONBLOCK), source_kind::oneshot);
    e.arm(p);
    // The kernel accepts submissions only from the thread that made the ring.
    std::thread([&] { e.block(in_ms(1)); }).join();
    for (int i = 0; i < 100 && p.events == 0; ++i) {
        e.poll();
    }
    EXPECT_EQ(p.events, 1);
}

TEST(wait_engine, another_thread_wakes_a_blocked_wait)
{
    wait_engine e;
    probe p(eventfd(0, 0), source_kind::read8);
    e.arm(p);
    std::thread waker([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        p.signal();
    });
    EXPECT_EQ(e.wait(KTIME_MAX), 1U);
    waker.join();
    e.remove(p);
}
