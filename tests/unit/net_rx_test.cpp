// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/napi.hpp>
#include <halfpoll/runtime.hpp>
#include <halfpoll/softnet_data.hpp>

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace halfpoll
{

namespace
{

/// An instance whose polls follow its fields and are recorded in `diary`.
struct scripted {
    napi_struct napi;
    char letter = '?';
    int work = 0;                      ///< result of a poll; less than the weight: the poll completes
    napi_struct *wakes = nullptr;      ///< scheduled from within the poll
    ktime_t takes = 0;                 ///< duration of a poll
    call_single_data *calls = nullptr; ///< issued from within the poll

    static inline std::string diary;
    static inline std::atomic<ktime_t> clock{1};

    static int poll(napi_struct &n, int) noexcept
    {
        scripted &self = reinterpret_cast<scripted &>(n); // `napi` is the first member
        diary += self.letter;
        clock += self.takes;
        if (self.wakes) {
            napi_schedule(*self.wakes);
        }
        if (self.calls) {
            call_on_async(*n.sd, *self.calls);
        }
        if (self.work < n.weight) {
            napi_complete_done(n, self.work);
        }
        return self.work;
    }
};

class net_rx : public testing::Test
{
protected:
    void SetUp() override
    {
        scripted::diary.clear();
        for (std::size_t i = 0; i < devices.size(); ++i) {
            devices[i].letter = static_cast<char>('a' + i);
            devices[i].napi.config.busy_poll = 0;
            netif_napi_add(rt.cpu(0), devices[i].napi, scripted::poll);
            napi_enable(devices[i].napi);
        }
        // Each instance is polled once when it is enabled.
        for (bool settled = false; !settled;) {
            rt.call_on(0, [&](softnet_data &sd) {
                settled = scripted::diary.size() == devices.size() && !sd.poll_list.front();
            });
        }
        scripted::diary.clear();
    }
    void TearDown() override
    {
        for (scripted &dev : devices) {
            napi_disable(dev.napi);
            netif_napi_del(dev.napi);
        }
    }
    static runtime_options options()
    {
        runtime_options o;
        o.clock = []() noexcept { return scripted::clock.load(); };
        return o;
    }
    /// Schedules the instances of `first`, then runs one NET_RX dispatch (see `polled`). Returns the rest of the poll
    /// list.
    std::string dispatch(const std::string &first)
    {
        std::string left;
        rt.call_on(0, [&](softnet_data &sd) {
            sd.now = scripted::clock;
            for (const char c : first) {
                napi_schedule(devices[static_cast<std::size_t>(c - 'a')].napi);
            }
            sd.softirq_pending = 0;
            rt.action(NET_RX_SOFTIRQ)(sd);
            polled = scripted::diary;
            for (napi_struct *n = sd.poll_list.front(); n; n = n->next) {
                left += reinterpret_cast<scripted *>(n)->letter;
            }
            EXPECT_EQ(sd.in_net_rx_action, !left.empty());
            EXPECT_EQ((sd.softirq_pending >> NET_RX_SOFTIRQ & 1) != 0, !left.empty());
            for (scripted &dev : devices) { // the rest completes later
                dev.work = 0;
                dev.wakes = nullptr;
                dev.takes = 0;
                dev.calls = nullptr;
            }
        });
        return left;
    }
    /// Waits until all earlier calls have run: a batch of calls runs newest first.
    void finish_calls()
    {
        for (int i = 0; i < 2; ++i) {
            rt.call_on(0, [](softnet_data &) {});
        }
    }
    std::uint64_t squeezed() { return rt.cpu(0).stats.time_squeeze; }

    runtime rt{options()};
    std::array<scripted, 7> devices;
    std::string polled; ///< instances that the dispatch polled, in order
};

TEST_F(net_rx, polls_each_once_in_the_order_of_scheduling)
{
    EXPECT_EQ(dispatch("cab"), "");
    EXPECT_EQ(polled, "cab");
    EXPECT_EQ(squeezed(), 0u);
}

TEST_F(net_rx, ends_at_netdev_budget_and_keeps_the_order)
{
    for (scripted &dev : devices) {
        dev.work = NAPI_POLL_WEIGHT;
    }
    devices[4].work = 44; // 4 x 64 + 44: exactly netdev_budget
    EXPECT_EQ(dispatch("abcdefg"), "fgabcd");
    EXPECT_EQ(polled, "abcde");
    EXPECT_EQ(squeezed(), 1u);
    EXPECT_EQ(rt.cpu(0).stats.processed.load(), 300u);
}

TEST_F(net_rx, another_budget_holds_from_the_next_dispatch_on)
{
    EXPECT_THROW(rt.set_netdev_budget(0, 2000), error);
    EXPECT_THROW(rt.set_netdev_budget(300, 1'000'001), error);
    EXPECT_EQ(rt.netdev_budget(), 300u) << "all or nothing";
    rt.set_netdev_budget(2 * NAPI_POLL_WEIGHT, 2000);
    for (scripted &dev : devices) {
        dev.work = NAPI_POLL_WEIGHT;
    }
    EXPECT_EQ(dispatch("abc"), "cab");
    EXPECT_EQ(polled, "ab");
    EXPECT_EQ(squeezed(), 1u);
}

TEST_F(net_rx, newly_scheduled_come_before_those_polled_again)
{
    devices[0].work = NAPI_POLL_WEIGHT;
    devices[0].wakes = &devices[3].napi;
    EXPECT_EQ(dispatch("ab"), "da");
    EXPECT_EQ(polled, "ab");
    EXPECT_EQ(squeezed(), 0u);
}

TEST_F(net_rx, scheduled_by_a_poll_is_polled_in_the_same_dispatch)
{
    devices[1].wakes = &devices[5].napi;
    EXPECT_EQ(dispatch("ab"), "");
    EXPECT_EQ(polled, "abf");
}

TEST_F(net_rx, ends_at_netdev_budget_usecs)
{
    devices[0].takes = NSEC_PER_MSEC;
    devices[1].takes = NSEC_PER_MSEC;
    EXPECT_EQ(dispatch("abc"), "c");
    EXPECT_EQ(polled, "ab");
    EXPECT_EQ(squeezed(), 1u);
}

TEST_F(net_rx, a_long_dispatch_ends_for_a_call)
{
    call_single_data call;
    call.func = [](softnet_data &, void *) noexcept {};
    devices[0].takes = 100 * NSEC_PER_USEC;
    devices[0].calls = &call;
    EXPECT_EQ(dispatch("abc"), "bc");
    EXPECT_EQ(polled, "a");
    EXPECT_EQ(squeezed(), 0u);
    finish_calls();
}

TEST_F(net_rx, a_short_dispatch_does_not)
{
    call_single_data call;
    call.func = [](softnet_data &, void *) noexcept {};
    devices[0].takes = 99 * NSEC_PER_USEC;
    devices[0].calls = &call;
    EXPECT_EQ(dispatch("abc"), "");
    EXPECT_EQ(polled, "abc");
    finish_calls();
}

TEST_F(net_rx, squeeze_is_counted_even_if_nothing_remains)
{
    devices[0].takes = 2 * NSEC_PER_MSEC;
    EXPECT_EQ(dispatch("a"), "");
    EXPECT_EQ(squeezed(), 1u);
}

TEST_F(net_rx, more_work_than_the_budget_is_an_error_of_the_driver)
{
    devices[0].work = NAPI_POLL_WEIGHT + 1;
    EXPECT_EQ(dispatch("a"), "a");
    EXPECT_EQ(devices[0].napi.stats.driver_errors.load(), 1u);
    EXPECT_EQ(devices[0].napi.stats.packets.load(), static_cast<std::uint64_t>(NAPI_POLL_WEIGHT));
}

} // namespace

} // namespace halfpoll
