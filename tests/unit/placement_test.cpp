// SPDX-License-Identifier: BSD-3-Clause
// Which CPU receives and sends, case by case.
#include "netio/device/placement.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace halfpoll
{

static bool operator==(const tx_choice &a, const tx_choice &b) { return a.queue == b.queue && a.owner == b.owner; }
static void PrintTo(const tx_choice &c, std::ostream *os) { *os << "queue " << c.queue << " of CPU " << c.owner; }

} // namespace halfpoll

using namespace halfpoll;

namespace
{

constexpr placement_cpu ON{}, OFF{.active = false};

/// CPUs that are alone on their logical CPU.
placement_cpus apart(placement_cpus cpus)
{
    for (unsigned c = 0; c < cpus.size(); ++c) {
        cpus[c].core = c;
    }
    return cpus;
}

/// CPUs 0 and 1 are general. CPUs 2 and 3 are dedicated: 2 lies on the logical CPU of 0, 3 on that of 1.
placement_cpus nested(bool active0 = true, bool active1 = true, bool active2 = true, bool active3 = true)
{
    return {{true, active0, 0}, {true, active1, 1}, {false, active2, 0}, {false, active3, 1}};
}

struct rx_case {
    std::string what;
    placement_cpus cpus;
    std::vector<unsigned> wanted;
    unsigned queues;
    std::vector<unsigned> homes;
};

const std::vector<rx_case> rx_cases{
    {"round robin over all CPUs", apart({ON, ON, ON}), {}, 5, {0, 1, 2, 0, 1}},
    {"round robin over the configured CPUs", apart({ON, ON, ON}), {2, 0}, 3, {2, 0, 2}},
    {"a dedicated CPU gets only what is configured for it", nested(), {}, 3, {0, 1, 0}},
    {"a configured dedicated CPU", nested(), {3}, 2, {3, 3}},
    {"the CPU with the fewest queues stands in", apart({ON, OFF, ON}), {0, 1, 0, 2}, 4, {0, 2, 0, 2}},
    {"stand-ins share the queues of a CPU", apart({OFF, ON, ON}), {0}, 4, {1, 2, 1, 2}},
    {"a general CPU has no near stand-in", nested(false), {0, 1}, 2, {1, 1}},
    {"a dedicated CPU prefers its logical CPU", nested(true, true, true, false), {1, 1, 3}, 3, {1, 1, 1}},
    {"a dedicated CPU whose neighbour is away", nested(true, false, true, false), {3}, 1, {0}},
    {"a dedicated CPU is no stand-in", nested(true, false), {1}, 2, {0, 0}},
};

TEST(placement, homes_of_rx_queues)
{
    for (const rx_case &c : rx_cases) {
        EXPECT_EQ(rx_homes(c.cpus, c.wanted, c.queues), c.homes) << c.what;
    }
}

struct tx_case {
    std::string what;
    placement_cpus cpus;
    std::vector<unsigned> homes;
    unsigned queues;
    std::vector<tx_choice> choices;
};

const std::vector<tx_case> tx_cases{
    {"a queue for each CPU, homes first", apart({ON, ON, ON}), {2, 0}, 3, {{1, 0}, {2, 1}, {0, 2}}},
    {"one queue, of the home", apart({ON, ON, ON}), {1}, 1, {{0, 1}, {0, 1}, {0, 1}}},
    {"CPUs without a queue take turns", apart({ON, ON, ON, ON}), {0, 1}, 2, {{0, 0}, {1, 1}, {0, 0}, {1, 1}}},
    {"a CPU that is away owns none", apart({OFF, ON, ON}), {1}, 3, {{0, 1}, {0, 1}, {1, 2}}},
    {"runtime CPUs of a logical CPU share its queue", nested(), {0, 1}, 2, {{0, 0}, {1, 1}, {0, 2}, {1, 3}}},
    {"for a queue of a dedicated CPU its general neighbour takes what others send",
     nested(),
     {2},
     1,
     {{0, 0}, {0, 0}, {0, 2}, {0, 0}}},
    {"a dedicated CPU without an active neighbour takes it itself",
     nested(false),
     {2},
     1,
     {{0, 2}, {0, 2}, {0, 2}, {0, 2}}},
};

TEST(placement, owners_of_tx_queues)
{
    for (const tx_case &c : tx_cases) {
        EXPECT_EQ(choose_tx(c.cpus, c.homes, c.queues), c.choices) << c.what;
    }
}

TEST(placement, an_owner_of_a_queue_chooses_that_queue_itself)
{
    for (unsigned active = 1; active < 16; ++active) {
        const placement_cpus cpus = nested(active & 1, active & 2, active & 4, active & 8);
        for (unsigned queues = 1; queues <= 2 && (active & 3) != 0; ++queues) {
            const auto choices = choose_tx(cpus, rx_homes(cpus, {}, 3), queues);
            for (const tx_choice &choice : choices) {
                EXPECT_LT(choice.queue, queues);
                EXPECT_TRUE(cpus[choice.owner].active) << "active: " << active;
                EXPECT_EQ(choices[choice.owner], choice) << "active: " << active << ", queues: " << queues;
            }
        }
    }
}

TEST(placement, logical_cpus_are_counted_once)
{
    EXPECT_EQ(count_cores(apart({ON, OFF, ON})), 3U);
    EXPECT_EQ(count_cores(nested()), 2U);
}

} // namespace
