// SPDX-License-Identifier: BSD-3-Clause
#include "child_process.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sched.h>

namespace
{

using halfpoll::test::child_process;
using testing::HasSubstr;
using testing::StartsWith;

const std::string FIFO = std::to_string(SCHED_FIFO) + ":7";
const std::string RR = std::to_string(SCHED_RR) + ":7";
const std::string OTHER = std::to_string(SCHED_OTHER) + ":0";

/// Returns policy and priority of the caller and of EAL's interrupt thread, and the error; empty if the program hangs.
std::string start(const std::string &how) { return child_process("eal_start", how).ask("start"); }

#define START(answer, how)                                                                                             \
    const std::string answer = start(how);                                                                             \
    if (answer == "refused") {                                                                                         \
        GTEST_SKIP() << "SCHED_FIFO is refused here (CAP_SYS_NICE)";                                                   \
    }

TEST(eal, starts_from_an_ordinary_thread)
{
    START(answer, OTHER);
    EXPECT_EQ(answer, OTHER + " " + OTHER + " ");
}

TEST(eal, starts_from_a_real_time_thread_on_its_only_cpu)
{
    for (const std::string &policy : {FIFO, RR}) {
        START(answer, policy);
        EXPECT_EQ(answer, policy + " " + policy + " ");
    }
}

TEST(eal, a_port_whose_driver_makes_threads_opens_from_a_real_time_thread)
{
    const std::string socket = testing::TempDir() + "eal_test." + std::to_string(getpid());
    START(answer, FIFO + ":net_vhost0,iface=" + socket);
    std::filesystem::remove(socket);
    EXPECT_EQ(answer, FIFO + " " + FIFO + " ");
}

TEST(eal, a_failed_start_leaves_the_policy_as_it_was)
{
    START(answer, FIFO + "::8");
    EXPECT_THAT(answer, StartsWith(FIFO));
    EXPECT_THAT(answer, HasSubstr("does not start"));
}

} // namespace
