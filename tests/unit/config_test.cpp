// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/config/config.hpp"
#include "apps/halfpoll/config/cpu_list.hpp"
#include "apps/halfpoll/config/irq_threads.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <unistd.h>

namespace
{

using namespace halfpoll;
using testing::HasSubstr;

/// Invented CPUs, and a folder without named namespaces.
const machine four_cpus{{0, 1, 2, 5}, "/nonexistent"};

std::string problems(const std::string &text)
{
    try {
        parse_config(text, "r.toml", four_cpus);
    } catch (const error &e) {
        return e.what();
    }
    return "";
}

config good(const std::string &text) { return parse_config(text, "r.toml", four_cpus); }

const std::string PORT = "[[port]]\ndevice = \"af_xdp:r0\"\nshadow = \"lan0\"\n";

TEST(Config, TracesAreWhatCanBeFoundAndKept)
{
    EXPECT_EQ(problems("[runtime]\ntrace = \"[\"\n" + PORT),
              "r.toml:2: trace: found \"[\" (string), expected a basic regular expression (regex(7)), as \"xdp_.*\"");
    EXPECT_EQ(
        problems("[runtime]\ntrace = \"xdp_.*\"\ntrace_dir = \"/nowhere/at/all\"\n" + PORT),
        "r.toml:3: trace_dir: found \"/nowhere/at/all\" (string), expected the absolute path of a folder that exists");
}

TEST(Config, DefaultsAreTheKernels)
{
    const config cfg = good(PORT);
    EXPECT_EQ(cfg.cpus, std::vector<unsigned>{5}) << "the last CPU";
    EXPECT_THAT(cfg.slow_path_cpu, testing::ElementsAre(0)) << "the first that carries no packets";
    EXPECT_THAT(good("[runtime]\nslow_path_threads = 2\n" + PORT).slow_path_cpu, testing::ElementsAre(0, 1));
    EXPECT_EQ(cfg.netdev_budget, 300U);
    EXPECT_EQ(cfg.netdev_budget_usecs, 2000U);
    EXPECT_EQ(cfg.netdev_max_backlog, 1000U);
    EXPECT_EQ(cfg.skb_defer_max, 0U);
    EXPECT_EQ(cfg.rps_sock_flow_entries, 0U);
    EXPECT_EQ(cfg.flow_limit, flow_limit_config{});
    EXPECT_EQ(cfg.ports[0].options.rps, rps_config{});
    EXPECT_EQ(cfg.obey, policy_obey_all);
    EXPECT_EQ(good("[forward]\nobey = []\n" + PORT).obey, policy_set{});
    EXPECT_TRUE(cfg.interrupts);
    EXPECT_EQ(cfg.exclusion, exclusion_mode::exclusive);
    EXPECT_FALSE(cfg.ksoftirqd || cfg.irq_workd || cfg.thread_backlog_napi);
    EXPECT_TRUE(cfg.netns.empty());
    EXPECT_EQ(cfg.control, "/run/halfpoll/halfpoll.sock");
    ASSERT_EQ(cfg.ports.size(), 1U);
    EXPECT_EQ(cfg.ports[0].kind, device_kind::af_xdp);
    EXPECT_EQ(cfg.ports[0].ifname(), "r0");
    EXPECT_EQ(cfg.ports[0].options.name, "r0");
    EXPECT_EQ(cfg.ports[0].options.mtu, 1500U);
    EXPECT_EQ(cfg.ports[0].options.napi.busy_poll, -1);
    EXPECT_EQ(cfg.ports[0].options.napi.threaded, napi_threaded::disabled);
    EXPECT_FALSE(cfg.ports[0].options.force_spin);
}

TEST(Config, EverySettingArrives)
{
    const config cfg =
        good("[runtime]\ncpus = [2, 1]\nfifo_priority = 7\nnetdev_budget = 64\n"
             "netdev_budget_usecs = 500\nnetdev_max_backlog = 5000\nskb_defer_max = 96\nrps_sock_flow_entries = 4096\n"
             "rps_default_mask = [0, 1]\nflow_limit_cpu_bitmap = \"0x2\"\nflow_limit_table_len = 512\ninterrupts = "
             "false\nslow_path_threads = 3\nslow_path_cpu = [5, 0]\nslow_path_vhost = true\n"
             "exclusion = \"big\"\nksoftirqd = true\nirq_workd = true\nthread_backlog_napi = true\n"
             "napi_fifo_priority = 3\nnetns = \"/proc/self/ns/net\"\nvfio_intr = \"msi\"\ncontrol = "
             "\"/tmp/x.sock\"\nhugepages = true\n"
             "memory_mb = 128\nmbufs = 12288\nremove_shadows = false\ntrace = \"xdp_.*\"\ntrace_dir = \"/tmp\"\n"
             "[[port]]\ndevice = \"net_virtio_user0,path=/run/v,queues=2\"\nname = \"p0\"\n"
             "shadow = \"lan0\"\nrx_queues = 2\ncpus = [1, 0]\ndescriptors = 256\nmtu = 1400\n"
             "promiscuous = true\nnapi_defer_hard_irqs = 3\ngro_flush_timeout = 20000\n"
             "irq_suspend_timeout = 1000000\nbusy_poll = 50\nthreaded = \"busy-poll\"\n"
             "rps_cpus = \"1\"\nrps_flow_cnt = 256\nntuple = true\n"
             "[forward]\nobey = [\"tc\", \"rule\"]\n"
             "[punt.arp_nd]\nrate = 99\nburst = 7\n"
             "[autoscale]\ntarget_us = 300\nmin_cpus = 2\nlow_percent = 40\nsettle_ms = 20\n");
    EXPECT_EQ(cfg.cpus, (std::vector<unsigned>{2, 1}));
    EXPECT_EQ(cfg.fifo_priority, 7);
    EXPECT_EQ(cfg.netdev_budget, 64U);
    EXPECT_EQ(cfg.netdev_budget_usecs, 500U);
    EXPECT_EQ(cfg.netdev_max_backlog, 5000U);
    EXPECT_EQ(cfg.skb_defer_max, 96U);
    EXPECT_EQ(cfg.exclusion, exclusion_mode::big);
    EXPECT_TRUE(cfg.ksoftirqd && cfg.irq_workd && cfg.thread_backlog_napi);
    EXPECT_EQ(cfg.napi_fifo_priority, 3);
    EXPECT_EQ(cfg.rps_sock_flow_entries, 4096U);
    EXPECT_EQ(cfg.rps_default_mask, (std::vector<unsigned>{0, 1}));
    EXPECT_EQ(cfg.flow_limit, (flow_limit_config{.flow_limit_cpu_bitmap = {1}, .flow_limit_table_len = 512}));
    EXPECT_FALSE(cfg.interrupts);
    EXPECT_EQ(cfg.slow_path_threads, 3U);
    EXPECT_THAT(cfg.slow_path_cpu, testing::ElementsAre(5, 0));
    EXPECT_TRUE(cfg.slow_path_vhost);
    EXPECT_EQ(cfg.netns, "/proc/self/ns/net");
    EXPECT_EQ(cfg.vfio_intr, "msi");
    EXPECT_EQ(cfg.control, "/tmp/x.sock");
    EXPECT_TRUE(cfg.hugepages);
    EXPECT_EQ(cfg.memory_mb, 128U);
    EXPECT_EQ(cfg.mbufs, 12288U);
    EXPECT_FALSE(cfg.remove_shadows);
    EXPECT_EQ(cfg.trace, "xdp_.*");
    EXPECT_EQ(cfg.trace_dir, "/tmp");
    const port_config &port = cfg.ports.at(0);
    EXPECT_EQ(port.kind, device_kind::vdev);
    EXPECT_EQ(port.options.name, "p0");
    EXPECT_EQ(port.shadow, "lan0");
    EXPECT_EQ(port.options.rx_queues, 2U);
    EXPECT_EQ(port.options.cpus, (std::vector<unsigned>{1, 0}));
    EXPECT_EQ(port.options.descriptors, 256U);
    EXPECT_EQ(port.options.mtu, 1400U);
    EXPECT_TRUE(port.options.promiscuous);
    EXPECT_TRUE(port.options.force_spin);
    EXPECT_EQ(port.options.napi.napi_defer_hard_irqs, 3U);
    EXPECT_EQ(port.options.napi.gro_flush_timeout, 20000);
    EXPECT_EQ(port.options.napi.irq_suspend_timeout, 1000000);
    EXPECT_EQ(port.options.napi.busy_poll, 50);
    EXPECT_EQ(port.options.napi.threaded, napi_threaded::busy_poll);
    EXPECT_TRUE(port.options.ntuple);
    EXPECT_EQ(port.options.rps, (rps_config{.rps_cpus = {1}, .rps_flow_cnt = 256}));
    EXPECT_EQ(cfg.autoscale,
              (autoscale_limits{
                  .target = 300 * NSEC_PER_USEC, .min_cpus = 2, .low_percent = 40, .settle = 20 * NSEC_PER_MSEC}));
    policy_set kinds{};
    kinds[static_cast<std::size_t>(policy_kind::tc)] = kinds[static_cast<std::size_t>(policy_kind::rule)] = true;
    EXPECT_EQ(cfg.obey, kinds);
    EXPECT_EQ(cfg.punt[PUNT_ARP_ND].packets_per_second, 99U);
    EXPECT_EQ(cfg.punt[PUNT_ARP_ND].burst, 7U);
    EXPECT_EQ(cfg.punt[PUNT_LOCAL].packets_per_second, punt_limits{}[PUNT_LOCAL].packets_per_second);
}

const std::string NESTED = "[runtime]\ncpus = [2, 1]\nexclusion = \"nested\"\n";

TEST(Config, InterruptThreadsLieWhereTheQueuesWouldBeAtHome)
{
    const config cfg = good(NESTED + "mbufs = 32768\n" + PORT + "rx_queues = 3\nirq_priority = 50\n" +
                            "[[port]]\ndevice = \"af_xdp:plain\"\nshadow = \"lan1\"\n"
                            "[[port]]\ndevice = \"0000:03:00.0\"\nshadow = \"lan2\"\nrx_queues = 2\ncpus = [1]\n"
                            "irq_priority = [1, 99]\n"
                            "[xdp_map.cpus]\ntype = \"cpumap\"\nentries = [{ key = 6 }]\n");
    EXPECT_EQ(cfg.exclusion, exclusion_mode::nested);
    EXPECT_EQ(irq_threads(cfg), (std::vector<irq_thread>{{"r0", 2, 50, "irq/r0-0"},
                                                         {"r0", 1, 50, "irq/r0-1"},
                                                         {"r0", 2, 50, "irq/r0-2"},
                                                         {"0000:03:00.0", 1, 1, "irq/0:03:00.0-0"},
                                                         {"0000:03:00.0", 1, 99, "irq/0:03:00.0-1"}}));
    EXPECT_EQ(irq_thread_name("enp129s0f0np0", 63), "irq/9s0f0np0-63");
    EXPECT_EQ(irq_threads(good(NESTED + PORT)), std::vector<irq_thread>{});
    EXPECT_EQ(cfg.ports[0].options.napi.busy_poll, 0) << "nothing of less priority runs meanwhile";
    EXPECT_EQ(cfg.ports[1].options.napi.busy_poll, -1);
    EXPECT_EQ(good(NESTED + PORT + "busy_poll = 7\nirq_priority = 50\n").ports[0].options.napi.busy_poll, 7);
}

TEST(Config, InterruptThreadsNeedBuffers)
{
    const std::string port = PORT + "rx_queues = 8\nirq_priority = 50\n";
    EXPECT_EQ(problems(NESTED + "mbufs = 18000\n" + port),
              "r.toml:4: mbufs: found 18000, expected at least 21504 for the rings of these ports");
}

TEST(Config, ThePoolHoldsWhatQueuesCanHoldAsFarAsMemoryGoes)
{
    EXPECT_EQ(good(PORT).mbufs, 16384U);
    const std::string queue = "[xdp_map.cpus]\ntype = \"cpumap\"\nentries = [{ key = 0, qsize = 16384 }]\n";
    EXPECT_EQ(good(PORT + queue).mbufs, 4096U + 1024 + 256 + 1024 + 1000 + 1024 + 16384);
    EXPECT_EQ(good("[runtime]\nnetdev_max_backlog = 65535\nmemory_mb = 128\n" + PORT).mbufs, 96U * (1 << 20) / 2432);
    EXPECT_EQ(good("[runtime]\nmbufs = 8192\n" + PORT + queue).mbufs, 8192U) << "it is what was written";
    EXPECT_EQ(problems(PORT + "rx_queues = 64\ndescriptors = 32768\n"),
              "r.toml:1: memory_mb: found 256, expected at least 4976 for 2131968 mbufs");
}

TEST(Config, XdpMaps)
{
    const config cfg =
        good("[xdp_map.ports]\ntype = \"devmap_hash\"\nmax_entries = 9\nentries = [{ key = 4000000000, port "
             "= \"r0\" }]\n[xdp_map.cpus]\ntype = \"cpumap\"\nentries = [{ key = 0 }]\n" +
             PORT);
    const xdp_map_config cpus{"cpus", xdp_map_type::cpumap, 0, {{.key = 0, .qsize = 512}}};
    const xdp_map_config ports{"ports", xdp_map_type::devmap_hash, 9, {{.key = 4000000000, .port = "r0"}}};
    EXPECT_EQ(cfg.xdp_maps, (std::vector<xdp_map_config>{cpus, ports}));
    const std::string wrong = problems("[xdp_map.m]\ntype = \"devmap\"\nentries = [{ key = 1, port = \"wan\" }]\n"
                                       "[xdp_map.c]\ntype = \"cpumap\"\nentries = [{ key = 7, xdp = \"none\" }]\n"
                                       "[xdp_map.t]\ntype = \"lpm\"\n" +
                                       PORT);
    EXPECT_THAT(wrong, HasSubstr("port: found \"wan\" (string), expected the name of a [[port]]"));
    EXPECT_THAT(wrong, HasSubstr("key: found 7 (integer), expected"));
    EXPECT_THAT(wrong, HasSubstr("xdp: found \"none\" (string), expected the NAME of an [xdp.NAME]"));
    EXPECT_THAT(wrong, HasSubstr("type: found \"lpm\" (string), expected \"devmap\", \"devmap_hash\""));
}

TEST(Config, XdpProgramsAreOfPorts)
{
    const std::string file = std::filesystem::read_symlink("/proc/self/exe");
    const config cfg = good("[xdp.guard]\nfile = \"" + file + "\"\nconfig = \"\"\"\ndrop src 192.0.2.0/24\n\"\"\"\n" +
                            PORT + "xdp = \"guard\"\n");
    const xdp_config guard{"guard", file, "drop src 192.0.2.0/24\n"};
    EXPECT_EQ(cfg.xdp, std::vector<xdp_config>{guard});
    EXPECT_EQ(cfg.ports.at(0).xdp, guard);
    EXPECT_EQ(good(PORT).ports.at(0).xdp, xdp_config{});
}

TEST(Config, XdpFilesAreRelativeToTheConfiguration)
{
    const std::filesystem::path file = std::filesystem::read_symlink("/proc/self/exe");
    const config cfg = parse_config("[xdp.guard]\nfile = \"" + file.filename().string() + "\"\n" + PORT,
                                    file.parent_path() / "r.toml", four_cpus);
    EXPECT_EQ(cfg.xdp.at(0).file, file);
}

TEST(Config, RpsDefaultMaskIsForPortsThatSayNothing)
{
    const std::string other = "[[port]]\ndevice = \"af_xdp:r1\"\nshadow = \"lan1\"\nrps_cpus = []\n";
    const config cfg = good("[runtime]\ncpus = [0, 1, 2]\nrps_default_mask = \"0-1\"\n" + PORT + other);
    EXPECT_EQ(cfg.ports.at(0).options.rps.rps_cpus, (std::vector<unsigned>{0, 1}));
    EXPECT_EQ(cfg.ports.at(1).options.rps.rps_cpus, std::vector<unsigned>{});
}

TEST(CpuList, ListsAndMasks)
{
    using cpus = std::vector<unsigned>;
    EXPECT_EQ(parse_cpu_list("", 4), cpus{});
    EXPECT_EQ(parse_cpu_list("0x0", 4), cpus{});
    EXPECT_EQ(parse_cpu_list("2", 4), cpus{2});
    EXPECT_EQ(parse_cpu_list("3,0-1,1", 4), (cpus{0, 1, 3}));
    EXPECT_EQ(parse_cpu_list("0xb", 4), (cpus{0, 1, 3}));
    EXPECT_EQ(parse_cpu_list("0x8000000000000000000000000000000f", 128), (cpus{0, 1, 2, 3, 127}));
    for (const char *wrong : {"4", "0-4", "2-1", "0x10", "0x", "x", "0xg", "1,", ",1", "1-", "-1", "1 2", "0x1,2"}) {
        EXPECT_EQ(parse_cpu_list(wrong, 4), std::nullopt) << wrong;
    }
}

TEST(Config, PortNamesComeFromTheDevice)
{
    const config cfg = good("[[port]]\ndevice = \"net_virtio_user0,path=/run/v\"\nshadow = \"a\"\n"
                            "[[port]]\ndevice = \"01:00.0\"\nshadow = \"b\"\n");
    EXPECT_EQ(cfg.ports[0].options.name, "virtio_user0");
    EXPECT_EQ(cfg.ports[1].device, "0000:01:00.0");
    EXPECT_EQ(cfg.ports[1].options.name, "0000:01:00.0");
}

struct mistake {
    const char *name;
    std::string text;
    std::string message;
};

class ConfigMistake : public testing::TestWithParam<mistake>
{
};

/// The names that `obey` takes, as a message lists them.
const std::string KINDS = [] {
    std::string names;
    for (const std::string_view name : policy_kind_names) {
        names += (names.empty() ? "\"" : ", \"") + std::string(name) + "\"";
    }
    return names;
}();

TEST_P(ConfigMistake, IsRefusedWithItsLine) { EXPECT_EQ(problems(GetParam().text), GetParam().message); }

INSTANTIATE_TEST_SUITE_P(
    Each, ConfigMistake,
    testing::Values(
        mistake{"NotToml", PORT + "\nmtu = = 3\n",
                "r.toml:5: not TOML: Error while parsing value: could not determine value type"},
        mistake{"Empty", "", "r.toml:1: no port, expected at least one [[port]]"},
        mistake{"UnknownKey", PORT + "mtv = 1400\n", "r.toml:4: unknown key mtv in [[port]], did you mean mtu?"},
        mistake{"UnknownTable", PORT + "\n[runtim]\ncpus = [1]\n",
                "r.toml:5: unknown key runtim in the file, did you mean runtime?"},
        mistake{"FarFromEveryKey", PORT + "[punt.arp_nd]\ncompression = 1\n",
                "r.toml:5: unknown key compression in [punt.arp_nd], expected one of rate, burst"},
        mistake{"XdpIsNotThere", PORT + "xdp = \"guard\"\n",
                "r.toml:4: xdp: found \"guard\" (string), expected the NAME of an [xdp.NAME]"},
        mistake{"XdpFileIsNotThere", PORT + "[xdp.guard]\nfile = \"/nowhere/guard.so\"\n",
                "r.toml:5: file: found \"/nowhere/guard.so\" (string), expected a shared object that exists"},
        mistake{"XdpIsNoTable", PORT + "[xdp]\nguard = 1\n",
                "r.toml:5: xdp.guard: found 1 (integer), expected a table, written [xdp.guard]"},
        mistake{"TableIsANumber", "runtime = 3\n" + PORT,
                "r.toml:1: runtime: found 3 (integer), expected a table, written [runtime]"},
        mistake{"PortIsATable", "\n[port]\ndevice = \"af_xdp:r0\"\n",
                "r.toml:2: port: found a table, expected tables, each written [[port]]"},
        mistake{"IntegerIsAString", PORT + "mtu = \"big\"\n",
                "r.toml:4: mtu: found \"big\" (string), expected an integer from 68 to 9600"},
        mistake{"IntegerIsAFloat", PORT + "mtu = 1400.5\n",
                "r.toml:4: mtu: found 1400.5 (float), expected an integer from 68 to 9600"},
        mistake{"OutOfRange", "[runtime]\nfifo_priority = 100\n" + PORT,
                "r.toml:2: fifo_priority: found 100 (integer), expected an integer from 0 to 99"},
        mistake{"BooleanIsAnInteger", "[runtime]\ninterrupts = 1\n" + PORT,
                "r.toml:2: interrupts: found 1 (integer), expected true or false"},
        mistake{"StringIsABoolean", "[[port]]\ndevice = true\nshadow = \"lan0\"\n",
                "r.toml:2: device: found true (boolean), expected a string that is not empty"},
        mistake{"StringIsEmpty", "[runtime]\ncontrol = \"\"\n" + PORT,
                "r.toml:2: control: found \"\" (string), expected a string that is not empty"},
        mistake{"ListIsANumber", "[runtime]\ncpus = 1\n" + PORT,
                "r.toml:2: cpus: found 1 (integer), expected an array of at least one number"},
        mistake{"ListIsEmpty", "[runtime]\ncpus = []\n" + PORT,
                "r.toml:2: cpus: found an empty array, expected an array of at least one number"},
        mistake{"ListHoldsAString", "[runtime]\ncpus = [1,\n  \"two\"]\n" + PORT,
                "r.toml:3: cpus: found \"two\" (string), expected an integer from 0 to 1023"},
        mistake{"CpuTwice", "[runtime]\ncpus = [1, 2, 1]\n" + PORT,
                "r.toml:2: cpus: found a number twice, expected each number once"},
        mistake{"CpuNotThere", "[runtime]\ncpus = [1, 3]\n" + PORT,
                "r.toml:2: cpus: found CPU 3, expected CPUs that this process may run on (lscpu, taskset -p)"},
        mistake{
            "SlowPathCpuNotThere", "[runtime]\nslow_path_cpu = 4\n" + PORT,
            "r.toml:2: slow_path_cpu: found CPU 4, expected a CPU that this process may run on (lscpu, taskset -p)"},
        mistake{
            "OneSlowPathCpuNotThere", "[runtime]\nslow_path_threads = 2\nslow_path_cpu = [0,\n 4]\n" + PORT,
            "r.toml:4: slow_path_cpu: found CPU 4, expected a CPU that this process may run on (lscpu, taskset -p)"},
        mistake{"MoreSlowPathCpusThanThreads", "[runtime]\nslow_path_cpu = [0, 1]\n" + PORT,
                "r.toml:2: slow_path_cpu: found 2 CPUs, expected not more than slow_path_threads, 1"},
        mistake{"SlowPathCpuIsText", "[runtime]\nslow_path_cpu = \"0\"\n" + PORT,
                "r.toml:2: slow_path_cpu: found \"0\" (string), expected an integer from 0 to 1023"},
        mistake{"SlowPathThreads", "[runtime]\nslow_path_threads = 17\n" + PORT,
                "r.toml:2: slow_path_threads: found 17 (integer), expected an integer from 1 to 16"},
        mistake{"CpuIndex", "[runtime]\ncpus = [1, 2]\n" + PORT + "cpus = [2]\n",
                "r.toml:6: cpus: found 2 (integer), expected an integer from 0 to 1"},
        mistake{"InterruptKind", "[runtime]\nvfio_intr = \"intx\"\n" + PORT,
                "r.toml:2: vfio_intr: found \"intx\" (string), expected \"msix\", \"msi\" or \"legacy\""},
        mistake{"NoNamespace", "[runtime]\nnetns = \"nonesuch\"\n" + PORT,
                "r.toml:2: netns: found \"nonesuch\" (string), expected a network namespace that exists "
                "(ip netns add nonesuch) or the path of one"},
        mistake{"NamespaceOfAnotherKind", "[runtime]\nnetns = \"/proc/self/ns/uts\"\n" + PORT,
                "r.toml:2: netns: found \"/proc/self/ns/uts\" (string), expected a network namespace that exists "
                "(ip netns add /proc/self/ns/uts) or the path of one"},
        mistake{"ControlIsRelative", "[runtime]\ncontrol = \"x.sock\"\n" + PORT,
                "r.toml:2: control: found \"x.sock\" (string), expected an absolute path of at most 107 bytes"},
        mistake{"NoDevice", "\n[[port]]\nname = \"p0\"\nshadow = \"lan0\"\n",
                "r.toml:2: [[port]] has no device, expected device = \"...\""},
        mistake{"NoShadow", "[[port]]\ndevice = \"af_xdp:r0\"\n",
                "r.toml:1: [[port]] has no shadow, expected shadow = \"...\""},
        mistake{"DeviceOfNoKind", "[[port]]\ndevice = \"eth0\"\nshadow = \"lan0\"\n",
                "r.toml:2: device: found \"eth0\" (string), expected \"af_xdp:IFNAME\", a PCI address "
                "(\"0000:01:00.0\") or a DPDK virtual device (\"net_...\")"},
        mistake{"DeviceTwice", PORT + "[[port]]\nname = \"other\"\ndevice = \"af_xdp:r0\"\nshadow = \"wan0\"\n",
                "r.toml:6: device: found \"af_xdp:r0\" again, expected another than on line 2"},
        mistake{"VirtualDeviceTwice",
                "[[port]]\ndevice = \"net_null0\"\nshadow = \"a\"\nname = \"x\"\n"
                "[[port]]\ndevice = \"net_null0,size=64\"\nshadow = \"b\"\nname = \"y\"\n",
                "r.toml:6: device: found \"net_null0\" again, expected another than on line 2"},
        mistake{"NameTwice", PORT + "[[port]]\ndevice = \"net_null0\"\nname = \"r0\"\nshadow = \"wan0\"\n",
                "r.toml:6: name: found \"r0\" again, expected another than on line 2"},
        mistake{"ShadowTwice", PORT + "[[port]]\ndevice = \"net_null0\"\nshadow = \"lan0\"\n",
                "r.toml:6: shadow: found \"lan0\" again, expected another than on line 3"},
        mistake{
            "ShadowIsThePortsInterface", "[[port]]\ndevice = \"af_xdp:r0\"\nshadow = \"r0\"\n",
            "r.toml:3: shadow: found \"r0\" (string), expected another name than the port's own interface, which is "
            "in the same namespace"},
        mistake{"ShadowNameTooLong", "[[port]]\ndevice = \"af_xdp:r0\"\nshadow = \"a234567890123456\"\n",
                "r.toml:3: shadow: found \"a234567890123456\" (string), expected 1 to 15 bytes without '/', ':' or "
                "blanks"},
        mistake{"PortNameTooLong", PORT + "name = \"a234567890123456\"\n",
                "r.toml:4: name: found \"a234567890123456\" (string), expected 1 to 15 bytes without '/', ':' or "
                "blanks"},
        mistake{"InterfaceNameTooLong",
                "[[port]]\nname = \"p\"\ndevice = \"af_xdp:a234567890123456\"\nshadow = \"l\"\n",
                "r.toml:3: device: found \"af_xdp:a234567890123456\" (string), expected an interface name of 1 to 15 "
                "bytes without '/', ':' or blanks"},
        mistake{"DerivedNameTooLong", "[[port]]\ndevice = \"net_virtio_user10000\"\nshadow = \"l\"\n",
                "r.toml:2: device: found \"net_virtio_user10000\" (string), expected name = \"...\" beside it, because "
                "its own is longer than 15 bytes"},
        mistake{"DescriptorsNoPowerOfTwo", PORT + "descriptors = 1000\n",
                "r.toml:4: descriptors: found 1000 (integer), expected a power of two"},
        mistake{"BusyPollWord", PORT + "busy_poll = \"often\"\n",
                "r.toml:4: busy_poll: found \"often\" (string), expected \"adaptive\" or an integer from 0 to 1000000 "
                "(microseconds)"},
        mistake{"BusyPollNegative", PORT + "busy_poll = -1\n",
                "r.toml:4: busy_poll: found -1 (integer), expected \"adaptive\" or an integer from 0 to 1000000 "
                "(microseconds)"},
        mistake{"MoreCpusThanThereAre", "[autoscale]\nmin_cpus = 2\n" + PORT,
                "r.toml:2: min_cpus: found 2 (integer), expected an integer from 1 to 1"},
        mistake{"BacklogOfNothing", "[runtime]\nnetdev_max_backlog = 0\n" + PORT,
                "r.toml:2: netdev_max_backlog: found 0 (integer), expected an integer from 1 to 65535"},
        mistake{"DeferTooMany", "[runtime]\nskb_defer_max = 1024\n" + PORT,
                "r.toml:2: skb_defer_max: found 1024 (integer), expected an integer from 0 to 1023"},
        mistake{"ExclusionWord", "[runtime]\nexclusion = \"small\"\n" + PORT,
                "r.toml:2: exclusion: found \"small\" (string), expected \"exclusive\", \"big\" or \"nested\""},
        mistake{"ThreadsInExclusive", "[runtime]\nirq_workd = true\nthread_backlog_napi = true\n" + PORT,
                "r.toml:2: irq_workd: found true (boolean), expected exclusion = \"big\" or \"nested\" in [runtime] "
                "with it, for it "
                "makes several bottom-half threads on a CPU\n"
                "r.toml:3: thread_backlog_napi: found true (boolean), expected exclusion = \"big\" or \"nested\" in "
                "[runtime] with it, "
                "for it makes several bottom-half threads on a CPU"},
        mistake{"ThreadedWord", PORT + "threaded = true\n",
                "r.toml:4: threaded: found true (boolean), expected a string that is not empty"},
        mistake{"ThreadedInExclusive", PORT + "threaded = \"enabled\"\n",
                "r.toml:4: threaded: found \"enabled\" (string), expected exclusion = \"big\" or \"nested\" in "
                "[runtime] with it, for it "
                "makes several bottom-half threads on a CPU"},
        mistake{"NapiPriorityInExclusive", "[runtime]\nnapi_fifo_priority = 1\n" + PORT,
                "r.toml:2: napi_fifo_priority: found 1 (integer), expected exclusion = \"big\" or \"nested\" in "
                "[runtime] with it, for it makes several bottom-half threads on a CPU"},
        mistake{"IrqPriorityInExclusive", PORT + "irq_priority = 50\n",
                "r.toml:4: irq_priority: found 50 (integer), expected exclusion = \"nested\" in [runtime] with it, for "
                "each queue gets a thread that preempts the others of its CPU"},
        mistake{"IrqPriorityInBig", "[runtime]\nexclusion = \"big\"\n" + PORT + "irq_priority = [50]\n",
                "r.toml:6: irq_priority: found an array, expected exclusion = \"nested\" in [runtime] with it, for "
                "each queue gets a thread that preempts the others of its CPU"},
        mistake{"IrqPriorityRange", NESTED + PORT + "irq_priority = 100\n",
                "r.toml:7: irq_priority: found 100 (integer), expected an integer from 1 to 99, or an array of 1 of "
                "them, one for each rx queue"},
        mistake{"IrqPriorityZero", NESTED + PORT + "rx_queues = 2\nirq_priority = [50, 0]\n",
                "r.toml:8: irq_priority: found an array, expected an integer from 1 to 99, or an array of 2 of "
                "them, one for each rx queue"},
        mistake{"IrqPriorityOfTooFew", NESTED + PORT + "rx_queues = 2\nirq_priority = [50]\n",
                "r.toml:8: irq_priority: found an array, expected an integer from 1 to 99, or an array of 2 of "
                "them, one for each rx queue"},
        mistake{"IrqPriorityWord", NESTED + PORT + "irq_priority = \"high\"\n",
                "r.toml:7: irq_priority: found \"high\" (string), expected an integer from 1 to 99, or an array of 1 "
                "of them, one for each rx queue"},
        mistake{"IrqPriorityWithoutInterrupts", NESTED + "interrupts = false\n" + PORT + "irq_priority = 50\n",
                "r.toml:8: irq_priority: found 50 (integer), expected interrupts = true in [runtime] with it, for a "
                "thread of that priority that only spins keeps the others of its CPU from running"},
        mistake{"IrqPriorityAndThreaded", NESTED + PORT + "threaded = \"enabled\"\nirq_priority = 50\n",
                "r.toml:7: threaded: found \"enabled\" (string), expected \"disabled\" beside irq_priority, whose "
                "thread polls the queue"},
        mistake{
            "RpsCpus", PORT + "rps_cpus = [0, 1]\n",
            "r.toml:4: rps_cpus: found an array, expected runtime CPUs from 0 to 0, as a list (\"0-2,4\") or a mask "
            "(\"0x17\")"},
        mistake{
            "RpsMask", PORT + "rps_cpus = \"0x2\"\n",
            "r.toml:4: rps_cpus: found \"0x2\" (string), expected runtime CPUs from 0 to 0, as a list (\"0-2,4\") or "
            "a mask (\"0x17\")"},
        mistake{"RpsFlowCnt", PORT + "rps_flow_cnt = 1048577\n",
                "r.toml:4: rps_flow_cnt: found 1048577 (integer), expected an integer from 0 to 1048576"},
        mistake{"FlowLimitLength", "[runtime]\nflow_limit_table_len = 1000\n" + PORT,
                "r.toml:2: flow_limit_table_len: found 1000 (integer), expected a power of two"},
        mistake{"ObeyMisspelt", "[forward]\nobey = [\"rule\", \"nftables\", \"iptables\", \"firewall\"]\n" + PORT,
                "r.toml:2: obey: found \"nftables\" (string), did you mean \"nft\"?\n"
                "r.toml:2: obey: found \"iptables\" (string), did you mean \"xtables\"?\n"
                "r.toml:2: obey: found \"firewall\" (string), expected one of " +
                    KINDS},
        mistake{"ObeyNoList", "[forward]\nobey = \"nft\"\n" + PORT,
                "r.toml:2: obey: found \"nft\" (string), expected an array of names"},
        mistake{"ObeyNumber", "[forward]\nobey = [7]\n" + PORT,
                "r.toml:2: obey: found 7 (integer), expected one of " + KINDS},
        mistake{"PuntClass", PORT + "[punt.arpnd]\nrate = 1\n",
                "r.toml:4: unknown key arpnd in [punt], did you mean arp_nd?"},
        mistake{"PuntRate", PORT + "[punt.ttl]\nrate = -1\n",
                "r.toml:5: rate: found -1 (integer), expected an integer from 0 to 10000000"},
        mistake{"FlowHashKeyTooShort", "[runtime]\nflow_hash_key = \"6d:5a\"\n" + PORT,
                "r.toml:2: flow_hash_key: found a text of 5 characters, expected 40 or 52 bytes that are not all 0, "
                "written as by ethtool -x: \"6d:5a:...\""},
        mistake{"FlowHashKeyNotHex", "[runtime]\nflow_hash_key = \"" + std::string(119, 'g') + "\"\n" + PORT,
                "r.toml:2: flow_hash_key: found a text of 119 characters, expected 40 or 52 bytes that are not all 0, "
                "written as by ethtool -x: \"6d:5a:...\""},
        mistake{"TooFewBuffers", "[runtime]\nmbufs = 2048\n" + PORT,
                "r.toml:2: mbufs: found 2048, expected at least 4096 for the rings of these ports"},
        mistake{"TooLittleMemory", "[runtime]\nmbufs = 262144\n" + PORT,
                "r.toml:2: memory_mb: found 256, expected at least 640 for 262144 mbufs"}),
    [](const testing::TestParamInfo<mistake> &each) { return std::string(each.param.name); });

TEST(Config, TheFlowHashKeyIsWrittenAsByEthtool)
{
    std::string text;
    std::vector<std::uint8_t> key;
    for (unsigned i = 0; i < 52; ++i) {
        constexpr const char *digits = "0123456789abcdefABCDEF";
        text += {i == 0 ? ' ' : ':', digits[i % 16], digits[i % 22]};
        key.push_back(static_cast<std::uint8_t>(std::stoul(text.substr(text.size() - 2), nullptr, 16)));
    }
    text.erase(0, 1);
    EXPECT_EQ(good("[runtime]\nflow_hash_key = \"" + text + "\"\n" + PORT).flow_hash_key, key);
    key.resize(40);
    EXPECT_EQ(good("[runtime]\nflow_hash_key = \"" + text.substr(0, 119) + "\"\n" + PORT).flow_hash_key, key);
    EXPECT_TRUE(good(PORT).flow_hash_key.empty());
}

TEST(Config, AllMistakesAreReportedInOrderOfTheirLines)
{
    EXPECT_EQ(
        problems("[runtime]\nbudget = 3\nmbufs = \"many\"\n" + PORT + "mtu = 1\n[punt.other]\nburst = 0\n"),
        "r.toml:2: unknown key budget in [runtime], expected one of cpus, fifo_priority, netdev_budget, "
        "netdev_budget_usecs, netdev_max_backlog, skb_defer_max, rps_sock_flow_entries, rps_default_mask, "
        "flow_limit_cpu_bitmap, "
        "flow_limit_table_len, flow_hash_key, interrupts, exclusion, ksoftirqd, irq_workd, "
        "thread_backlog_napi, napi_fifo_priority, slow_path_threads, slow_path_cpu, slow_path_vhost, netns, vfio_intr, "
        "control, "
        "hugepages, "
        "memory_mb, mbufs, "
        "remove_shadows, trace, trace_dir\n"
        "r.toml:3: mbufs: found \"many\" (string), expected an integer from 2048 to 16777216\n"
        "r.toml:7: mtu: found 1 (integer), expected an integer from 68 to 9600\n"
        "r.toml:9: burst: found 0 (integer), expected an integer from 1 to 1000000");
}

TEST(Config, FilesThatCannotBeReadAreNamed)
{
    try {
        load_config("/nonexistent/r.toml", four_cpus);
        FAIL();
    } catch (const error &e) {
        EXPECT_STREQ(e.what(), "cannot read the configuration /nonexistent/r.toml: No such file or directory");
    }
}

TEST(Config, FileIsReadAndNamedInMessages)
{
    const std::string file = testing::TempDir() + "config_test." + std::to_string(getpid()) + ".toml";
    std::ofstream(file) << "x = 1\n" << PORT;
    try {
        load_config(file, four_cpus);
        ADD_FAILURE();
    } catch (const error &e) {
        EXPECT_THAT(e.what(), HasSubstr(file + ":1: unknown key x in the file"));
    }
    std::filesystem::remove(file);
}

TEST(Config, ThisMachineHasCpus) { EXPECT_FALSE(machine::detect().cpus.empty()); }

} // namespace
