// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/config/config_diff.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace
{

using namespace halfpoll;
using testing::ElementsAre;
using testing::IsEmpty;

const machine two_cpus{{0, 1}, "/nonexistent"};

config parse(const std::string &text) { return parse_config(text, "r.toml", two_cpus); }

const std::string LAN = "[[port]]\nname = \"lan\"\ndevice = \"af_xdp:e0\"\nshadow = \"lan0\"\n";
const std::string WAN = "[[port]]\nname = \"wan\"\ndevice = \"af_xdp:e1\"\nshadow = \"wan0\"\n";

/// The default of `obey` in [forward].
const std::string ALL_KINDS = [] {
    std::string names;
    for (const std::string_view name : policy_kind_names) {
        names += (names.empty() ? "[\"" : ", \"") + std::string(name) + "\"";
    }
    return names + "]";
}();

config_diff diff(const std::string &from, const std::string &to, bool shareable = false)
{
    return diff_config(parse(from), parse(to), shareable, 2047);
}

std::vector<std::string> lines(const std::vector<config_change> &changes)
{
    std::vector<std::string> text;
    for (const config_change &change : changes) {
        text.push_back(to_string(change));
    }
    return text;
}

TEST(ConfigDiff, EqualConfigurationsDifferInNothing)
{
    EXPECT_TRUE(diff(LAN + WAN, LAN + WAN).empty());
    EXPECT_TRUE(diff(LAN + WAN, WAN + LAN).empty()) << "the order of ports means nothing";
}

TEST(ConfigDiff, PortsComeAndGo)
{
    const config_diff more = diff(LAN, LAN + WAN);
    EXPECT_THAT(lines(more.changes), ElementsAre("+ port wan: device \"af_xdp:e1\", shadow \"wan0\", MTU 1500"));
    EXPECT_THAT(more.added, ElementsAre("wan"));
    EXPECT_THAT(more.removed, IsEmpty());
    const config_diff fewer = diff(LAN + WAN, WAN);
    EXPECT_THAT(lines(fewer.changes), ElementsAre("- port lan: device \"af_xdp:e0\", shadow \"lan0\", MTU 1500"));
    EXPECT_THAT(fewer.removed, ElementsAre("lan"));
    EXPECT_THAT(fewer.added, IsEmpty());
}

TEST(ConfigDiff, XdpPrograms)
{
    const std::string guard = "[xdp.guard]\nfile = \"/proc/self/exe\"\nconfig = \"a\"\n",
                      other = "[xdp.guard]\nfile = \"/proc/self/exe\"\nconfig = \"b\"\n";
    const config_diff with = diff(LAN + WAN, guard + LAN + "xdp = \"guard\"\n" + WAN);
    EXPECT_THAT(lines(with.changes),
                ElementsAre("~ port lan xdp: none -> \"guard\"", "+ [xdp.guard]: file \"/proc/self/exe\""));
    EXPECT_THAT(with.changed, ElementsAre("lan"));
    const config_diff same = diff(guard + LAN + "xdp = \"guard\"\n" + WAN, other + LAN + "xdp = \"guard\"\n" + WAN);
    EXPECT_THAT(lines(same.changes), ElementsAre("~ [xdp.guard] config: \"a\" -> \"b\""));
    EXPECT_THAT(same.changed, ElementsAre("lan")) << "it gets another instance";
}

TEST(ConfigDiff, SettingsOfAnOpenPort)
{
    const config_diff d =
        diff(LAN, LAN + "mtu = 1400\npromiscuous = true\nnapi_defer_hard_irqs = 2\n"
                        "gro_flush_timeout = 20000\nirq_suspend_timeout = 5\nbusy_poll = 50\nrps_cpus = [0]\n"
                        "rps_flow_cnt = 64\n");
    EXPECT_THAT(lines(d.changes),
                ElementsAre("~ port lan mtu: 1500 -> 1400", "~ port lan promiscuous: false -> true",
                            "~ port lan napi_defer_hard_irqs: 0 -> 2", "~ port lan gro_flush_timeout: 0 -> 20000",
                            "~ port lan irq_suspend_timeout: 0 -> 5", "~ port lan rps_cpus: [] -> [0]",
                            "~ port lan rps_flow_cnt: 0 -> 64", "~ port lan busy_poll: \"adaptive\" -> 50"));
    EXPECT_THAT(d.changed, ElementsAre("lan"));
    EXPECT_THAT(d.added, IsEmpty());
    EXPECT_THAT(d.refused, IsEmpty());
}

TEST(ConfigDiff, APortWhoseDeviceShadowOrQueuesChangeIsOpenedAgain)
{
    for (const std::string changed :
         {"name = \"lan\"\ndevice = \"af_xdp:e9\"\nshadow = \"lan0\"\n",
          "name = \"lan\"\ndevice = \"af_xdp:e0\"\nshadow = \"lan9\"\n",
          "name = \"lan\"\ndevice = \"af_xdp:e0\"\nshadow = \"lan0\"\nrx_queues = 2\n",
          "name = \"lan\"\ndevice = \"af_xdp:e0\"\nshadow = \"lan0\"\ndescriptors = 512\n",
          "name = \"lan\"\ndevice = \"af_xdp:e0\"\nshadow = \"lan0\"\nntuple = true\n",
          "name = \"lan\"\ndevice = \"af_xdp:e0\"\nshadow = \"lan0\"\ncpus = [0]\nmtu = 1400\n"}) {
        const config_diff d = diff(LAN, "[[port]]\n" + changed);
        EXPECT_THAT(d.replaced, ElementsAre("lan")) << changed;
        EXPECT_THAT(d.removed, IsEmpty()) << changed;
        EXPECT_THAT(d.added, IsEmpty()) << changed;
        EXPECT_THAT(d.changed, IsEmpty()) << changed;
        EXPECT_FALSE(d.changes.empty()) << changed;
        EXPECT_THAT(d.refused, IsEmpty()) << changed;
    }
}

TEST(ConfigDiff, RuntimePuntAndLogChangeLive)
{
    const config_diff d = diff(
        LAN, "[runtime]\nnetdev_budget = 600\nnetdev_budget_usecs = 500\nnetdev_max_backlog = 500\n"
             "skb_defer_max = 64\nrps_sock_flow_entries = 64\nflow_limit_cpu_bitmap = [0]\nflow_limit_table_len = 64\n"
             "remove_shadows = false\n" +
                 LAN +
                 "[forward]\nobey = [\"xfrm\", \"nft\"]\n[punt.ttl]\nrate = 5\n[punt.local]\nburst = 7\n[log]\nlevel = "
                 "\"debug\"\n"
                 "[autoscale]\ntarget_us = 200\nlow_percent = 60\n");
    EXPECT_THAT(
        lines(d.changes),
        ElementsAre("~ [runtime] netdev_budget: 300 -> 600", "~ [runtime] netdev_budget_usecs: 2000 -> 500",
                    "~ [runtime] netdev_max_backlog: 1000 -> 500", "~ [runtime] skb_defer_max: 0 -> 64",
                    "~ [runtime] rps_sock_flow_entries: 0 -> 64", "~ [runtime] flow_limit_cpu_bitmap: [] -> [0]",
                    "~ [runtime] flow_limit_table_len: 4096 -> 64", "~ [runtime] remove_shadows: true -> false",
                    "~ [forward] obey: " + ALL_KINDS + " -> [\"nft\", \"xfrm\"]", "~ [punt.local] burst: 1000 -> 7",
                    "~ [punt.ttl] rate: 10000 -> 5", "~ [autoscale] target_us: 0 -> 200",
                    "~ [autoscale] low_percent: 50 -> 60", "~ [log] level: \"info\" -> \"debug\""));
    EXPECT_THAT(d.refused, IsEmpty());
}

TEST(ConfigDiff, APoolThatWasChosenAtStartStaysWhileTheRingsFit)
{
    EXPECT_TRUE(lines(diff(LAN, LAN + "rx_queues = 8\n").refused).empty());
    EXPECT_THAT(lines(diff(LAN, LAN + "rx_queues = 32\n").refused), ElementsAre("~ [runtime] mbufs: 16384 -> 40168"));
    EXPECT_THAT(lines(diff("[runtime]\nmbufs = 32768\n" + LAN, LAN).refused),
                ElementsAre("~ [runtime] mbufs: 32768 -> 16384"));
}

TEST(ConfigDiff, WhatNeedsARestartIsNamed)
{
    const config_diff d = diff(LAN, "[runtime]\ncpus = [0]\nfifo_priority = 3\ninterrupts = false\nslow_path_cpu = 1\n"
                                    "exclusion = \"big\"\nthread_backlog_napi = true\nnapi_fifo_priority = 2\n"
                                    "netns = \"/proc/self/ns/net\"\ncontrol = \"/run/x\"\nhugepages = true\n"
                                    "memory_mb = 512\nmbufs = 8192\ntrace = \"xdp_.*\"\ntrace_dir = \"/tmp\"\n" +
                                        LAN);
    EXPECT_THAT(lines(d.refused),
                ElementsAre("~ [runtime] cpus: [1] -> [0]", "~ [runtime] fifo_priority: 0 -> 3",
                            "~ [runtime] interrupts: true -> false", "~ [runtime] exclusion: \"exclusive\" -> \"big\"",
                            "~ [runtime] thread_backlog_napi: false -> true", "~ [runtime] napi_fifo_priority: 0 -> 2",
                            "~ [runtime] slow_path_cpu: 0 -> 1", "~ [runtime] netns: \"\" -> \"/proc/self/ns/net\"",
                            "~ [runtime] control: \"/run/halfpoll/halfpoll.sock\" -> \"/run/x\"",
                            "~ [runtime] hugepages: false -> true", "~ [runtime] memory_mb: 256 -> 512",
                            "~ [runtime] mbufs: 16384 -> 8192", "~ [runtime] trace: \"\" -> \"xdp_.*\"",
                            "~ [runtime] trace_dir: \"\" -> \"/tmp\""));
    EXPECT_THAT(d.changes, IsEmpty());
    EXPECT_THAT(
        lines(diff(LAN, "[runtime]\nslow_path_threads = 2\nslow_path_cpu = [0, 1]\nslow_path_vhost = true\n" + LAN)
                  .refused),
        ElementsAre("~ [runtime] slow_path_threads: 1 -> 2", "~ [runtime] slow_path_cpu: 0 -> [0, 1]",
                    "~ [runtime] slow_path_vhost: false -> true"));
}

TEST(ConfigDiff, TheFlowHashKeyIsNotShown)
{
    const auto with = [](const std::string &byte) {
        std::string key = byte;
        for (unsigned i = 1; i < 40; ++i) {
            key += ":" + byte;
        }
        return "[runtime]\nflow_hash_key = \"" + key + "\"\n" + LAN;
    };
    EXPECT_THAT(lines(diff(LAN, with("12")).refused),
                ElementsAre("~ [runtime] flow_hash_key: random -> as in the file"));
    EXPECT_THAT(lines(diff(with("12"), with("34")).refused),
                ElementsAre("~ [runtime] flow_hash_key: as in the file -> as in the file"));
    EXPECT_THAT(diff(with("12"), with("12")).refused, IsEmpty());
}

TEST(ConfigDiff, InterruptThreadsAreMadeAtStart)
{
    const std::string nested = "[runtime]\nexclusion = \"nested\"\ncpus = [0, 1]\n";
    const std::string with = nested + LAN + "irq_priority = 50\n";
    EXPECT_THAT(lines(diff(with, nested + LAN + "irq_priority = 51\n").refused),
                ElementsAre("~ port lan irq_priority: [50] -> [51]"));
    EXPECT_THAT(lines(diff(with, nested + LAN).refused), ElementsAre("~ port lan irq_priority: [50] -> []"));
    EXPECT_THAT(lines(diff(nested + LAN, with).refused), ElementsAre("~ port lan irq_priority: [] -> [50]"));
    EXPECT_THAT(lines(diff(with, with + "rx_queues = 2\n").refused),
                ElementsAre("~ port lan irq_priority: [50] -> [50, 50]"));
    EXPECT_THAT(lines(diff(with, with + "cpus = [1]\n").refused), ElementsAre("~ port lan cpus: [] -> [1]"));
    EXPECT_THAT(lines(diff(nested + WAN, with + WAN).refused),
                ElementsAre("+ port lan: device \"af_xdp:e0\", shadow \"lan0\", MTU 1500"));
    const config_diff fewer = diff(with + WAN, nested + WAN), same = diff(with, with + "descriptors = 512\n");
    EXPECT_THAT(fewer.refused, IsEmpty());
    EXPECT_THAT(fewer.removed, ElementsAre("lan"));
    EXPECT_THAT(same.refused, IsEmpty());
    EXPECT_THAT(same.replaced, ElementsAre("lan")) << "opened again, on its own CPUs";
}

TEST(ConfigDiff, BacklogsThatHoldMoreNeedARestart)
{
    EXPECT_THAT(lines(diff(LAN, "[runtime]\nnetdev_max_backlog = 2047\n" + LAN).refused), IsEmpty());
    EXPECT_THAT(lines(diff(LAN, "[runtime]\nnetdev_max_backlog = 2048\n" + LAN).refused),
                ElementsAre("~ [runtime] netdev_max_backlog: 1000 -> 2048"));
}

TEST(ConfigDiff, DevicesThatTheStartMustKnowOf)
{
    const std::string pci = "[[port]]\ndevice = \"0000:01:00.0\"\nshadow = \"x0\"\n";
    const std::string virtio = "[[port]]\ndevice = \"net_virtio_user0,path=/run/v\"\nshadow = \"x0\"\n";
    const std::string null = "[[port]]\ndevice = \"net_null0\"\nshadow = \"x0\"\n";
    EXPECT_EQ(diff(LAN, LAN + pci).refused.size(), 1U);
    EXPECT_EQ(diff(LAN, LAN + virtio, false).refused.size(), 1U);
    EXPECT_EQ(diff(LAN, LAN + virtio, true).refused.size(), 0U);
    EXPECT_EQ(diff(LAN, LAN + null).refused.size(), 0U);
    EXPECT_EQ(diff(LAN + pci, LAN).refused.size(), 0U) << "going is always possible";
}

} // namespace
