// SPDX-License-Identifier: BSD-3-Clause
#include "netio/device/control_loop.hpp"

#include <gtest/gtest.h>

#include <poll.h>

#include <stdexcept>
#include <thread>
#include <vector>

using namespace halfpoll;

namespace
{

bool readable(const control_loop &loop, int patience_ms = 0)
{
    pollfd p{loop.fd(), POLLIN, 0};
    return poll(&p, 1, patience_ms) == 1;
}

TEST(control_loop, posted_work_runs_in_order_on_the_thread_that_runs_the_loop)
{
    control_loop loop;
    EXPECT_FALSE(readable(loop));
    std::vector<int> ran;
    std::thread::id where;
    std::thread([&] {
        loop.post([&] { ran.push_back(1); });
        loop.post([&] { where = std::this_thread::get_id(); });
        loop.post([&] { ran.push_back(2); });
    }).join();
    EXPECT_TRUE(readable(loop));
    loop.run();
    EXPECT_EQ(ran, (std::vector{1, 2}));
    EXPECT_EQ(where, std::this_thread::get_id());
    EXPECT_FALSE(readable(loop));
}

TEST(control_loop, work_that_work_posts_waits_for_the_next_run)
{
    control_loop loop;
    unsigned runs = 0;
    std::function<void()> again = [&] {
        ++runs;
        loop.post(again);
    };
    loop.post(again);
    loop.run();
    EXPECT_EQ(runs, 1U);
    EXPECT_TRUE(readable(loop));
    loop.run();
    EXPECT_EQ(runs, 2U);
}

TEST(control_loop, work_behind_an_exception_is_kept_and_announced)
{
    control_loop loop;
    std::vector<int> ran;
    loop.post([&] { ran.push_back(1); });
    loop.post([] { throw std::runtime_error("posted"); });
    loop.post([&] { ran.push_back(2); });
    loop.post([&] { ran.push_back(3); });
    EXPECT_THROW(loop.run(), std::runtime_error);
    EXPECT_EQ(ran, (std::vector{1}));
    EXPECT_TRUE(readable(loop));
    loop.run();
    EXPECT_EQ(ran, (std::vector{1, 2, 3}));
    EXPECT_FALSE(readable(loop));
}

TEST(control_loop, an_exception_of_the_last_work_leaves_the_loop_readable)
{
    control_loop loop;
    loop.post([] { throw std::runtime_error("posted"); });
    EXPECT_THROW(loop.run(), std::runtime_error);
    EXPECT_TRUE(readable(loop)) << "the owner arms the timer after a run that returns";
    loop.run();
    EXPECT_FALSE(readable(loop));
}

TEST(control_loop, the_timer_expires_once_at_its_last_expiry)
{
    control_loop loop;
    loop.arm(ktime_get() + 60 * NSEC_PER_SEC);
    loop.arm(ktime_get());
    EXPECT_TRUE(readable(loop, 5000));
    loop.run();
    EXPECT_FALSE(readable(loop));
    const ktime_t expiry = ktime_get();
    loop.arm(expiry);
    EXPECT_TRUE(readable(loop, 5000));
    loop.run();
    loop.arm(expiry);
    EXPECT_TRUE(readable(loop, 5000)) << "an expired timer can be armed again";
    loop.arm(KTIME_MAX);
    EXPECT_FALSE(readable(loop));
}

} // namespace
