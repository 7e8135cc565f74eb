// SPDX-License-Identifier: BSD-3-Clause
//
// The events that threads of the runtime trace, switched on and off at run time, and the way in which `halfpoll trace`
// reads and prints them.
#include "fake_device.hpp"
#include "refusal.hpp"

#include "apps/halfpoll/client/trace_print.hpp"
#include <halfpoll/pi_lock.hpp>
#include <halfpoll/softnet_data.hpp>
#include <halfpoll/trace.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TRACE_TEST_LSAN
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(TRACE_TEST_LSAN)
#include <sanitizer/lsan_interface.h>
/// babeltrace 2.0.4 leaks the memory of a stream whose end it cannot read.
using leaks_of_babeltrace = __lsan::ScopedDisabler;
#else
struct leaks_of_babeltrace {
    leaks_of_babeltrace() {} // not trivial, so that a variable of it counts as used
};
#endif

namespace halfpoll
{

namespace
{

using test::refusal;

constexpr const char *EVENTS = "^\\(softirq\\|irq_handler\\|napi\\|contention\\|sched\\)_";

/// EAL writes traces below $HOME.
class trace : public testing::Test
{
protected:
    static void SetUpTestSuite()
    {
        home = std::filesystem::temp_directory_path() / "halfpoll-trace-XXXXXX";
        ASSERT_NE(mkdtemp(home.data()), nullptr);
        setenv("HOME", home.c_str(), 1);
    }
    static void TearDownTestSuite() { std::filesystem::remove_all(home); }
    static inline std::string home;
};

/// The events of the threads in `who` as "who event detail", in the order of time.
std::vector<std::string> story(const std::vector<trace_event> &events, const std::map<std::int64_t, std::string> &who)
{
    std::vector<std::string> lines;
    for (const trace_event &e : events) {
        const auto found = who.find(e.number("tid"));
        if (found == who.end() || e.name.starts_with("sched_") || e.name.starts_with("trace_")) {
            continue;
        }
        std::string line = found->second + " " + e.name;
        if (e.field("vec")) {
            line += " " + std::to_string(e.number("vec"));
        }
        if (e.field("name")) {
            line += " " + e.text("name");
        }
        if (e.field("holder")) {
            line += " of " + who.at(e.number("holder"));
        }
        if (e.field("work")) {
            line += " " + std::to_string(e.number("work"));
        }
        lines.push_back(line);
    }
    return lines;
}

std::int64_t count(const std::vector<trace_event> &events, const std::string &name)
{
    return std::ranges::count(events, name, &trace_event::name);
}

/// True if a thread of this process is in the futex system call.
bool waits_for_futex(std::uint32_t tid)
{
    int call = -1;
    std::ifstream("/proc/self/task/" + std::to_string(tid) + "/syscall") >> call;
    return call == SYS_futex;
}

std::string printed(const std::vector<trace_event> &events, const trace_filter &filter = {})
{
    std::ostringstream out;
    print_trace(out, events, filter);
    return out.str();
}

/// As the kernel traces it: one thread serves a softirq while another thread waits for its turn.
TEST_F(trace, ADispatchThatAnotherThreadWaitsFor)
{
    static std::atomic<std::uint32_t> waiter{0};
    static std::atomic<bool> serving{false};
    std::atomic<bool> had_its_turn{false}, written{false};
    runtime_options options;
    options.exclusion = exclusion_mode::big;
    runtime rt(options);
    rt.open_softirq(BLOCK_SOFTIRQ, [](softnet_data &) noexcept {
        serving = true;
        EXPECT_TRUE(eventually([] { return waiter != 0 && waits_for_futex(waiter); }));
    });
    cpu_attachment attached(rt, 0);
    ASSERT_TRUE(eventually([&] { return rt.cpu(0).sleeping == 1; })) << "hp/0 takes no part";
    trace_begin(rt, EVENTS);
    std::thread other;
    {
        bh_section bh(rt.cpu(0));
        other = std::thread([&] {
            pthread_setname_np(pthread_self(), "other");
            cpu_attachment also(rt, 0);
            EXPECT_TRUE(eventually([] { return serving.load(); }));
            waiter = current_tid();
            {
                const bh_section after(rt.cpu(0));
            }
            had_its_turn = true;
            EXPECT_TRUE(eventually([&] { return written.load(); })) << "its events go with it";
        });
        __raise_softirq_irqoff(*bh, BLOCK_SOFTIRQ);
    }
    EXPECT_TRUE(eventually([&] { return had_its_turn.load(); }));
    const auto events = read_trace(trace_end(rt, EVENTS));
    written = true;
    other.join();
    EXPECT_EQ(story(events, {{current_tid(), "this"}, {waiter, "other"}}),
              (std::vector<std::string>{"this softirq_raise 4", "this softirq_entry 4",
                                        "other contention_begin softnet_data of this", "this softirq_exit 4",
                                        "other contention_end softnet_data"}));
    const std::int64_t tid = waiter;
    const auto waits = std::ranges::find(events, tid, [](const trace_event &e) { return e.number("tid"); });
    ASSERT_NE(waits, events.end());
    EXPECT_EQ(waits->thread, "other");
    EXPECT_EQ(waits->number("prio"), 0);
}

TEST_F(trace, AnInterruptAndItsPoll)
{
    runtime rt(runtime_options{});
    fake_device dev;
    dev.napi.config.busy_poll = 0;
    dev.napi.park_time = 3600 * NSEC_PER_SEC;
    netif_napi_add(rt.cpu(0), dev.napi, fake_device::poll);
    napi_enable(dev.napi);
    std::uint32_t tid = 0;
    rt.call_on(0, [&](softnet_data &) { tid = current_tid(); });
    ASSERT_TRUE(eventually([&] { return dev.unmasked && rt.cpu(0).sleeping == 1; }));
    EXPECT_FALSE(trace_enabled());
    trace_begin(rt, EVENTS);
    EXPECT_TRUE(trace_enabled());
    dev.waiting = 2;
    dev.arrive();
    ASSERT_TRUE(eventually([&] { return dev.received == 3 && rt.cpu(0).sleeping == 1; }));
    const auto events = read_trace(trace_end(rt, EVENTS));
    EXPECT_EQ(story(events, {{tid, "it"}}),
              (std::vector<std::string>{"it irq_handler_entry fake-0", "it softirq_raise 3", "it softirq_entry 3",
                                        "it napi_poll fake-0 3", "it softirq_exit 3"}));
    EXPECT_EQ(count(events, "sched_run"), 1);
    for (const trace_event &e : events) {
        EXPECT_TRUE(e.number("tid") != tid || e.thread == "hp/0") << e.thread;
    }

    trace_begin(rt, EVENTS);
    EXPECT_EQ(printed(read_trace(trace_end(rt, EVENTS))), "") << "what was traced before is forgotten";
    EXPECT_FALSE(trace_enabled());
    dev.arrive();
    EXPECT_TRUE(eventually([&] { return dev.received == 4; })) << "untraced";
    napi_disable(dev.napi);
    netif_napi_del(dev.napi);
}

TEST_F(trace, WhatIsToBeTracedMustBe)
{
    runtime rt(runtime_options{});
    for (const char *bad : {"", "\\("}) {
        EXPECT_EQ(refusal([&] { trace_begin(rt, bad); }), "events to trace: found \"" + std::string(bad) +
                                                              "\", expected a basic regular expression (regex(7)), "
                                                              "as \"softirq_.*\"");
    }
    EXPECT_EQ(refusal([&] { trace_begin(rt, "no_such_.*"); }), "events to trace: no tracepoint matches \"no_such_.*\"");
    EXPECT_FALSE(trace_enabled());
}

trace_field number(const char *name, std::int64_t value) { return {.name = name, .number = value}; }

trace_field text(const char *name, const char *value) { return {.name = name, .text = value, .is_text = true}; }

/// Makes an event of a thread of the runtime; `stream` is 1, 2, ...
trace_event made(std::int64_t time, std::uint64_t stream, const char *name, std::vector<trace_field> more = {})
{
    trace_event e{.time = time, .stream = stream, .thread = stream == 1 ? "irq/lan-0" : "irq/wan-0", .name = name};
    e.fields = {number("tid", static_cast<std::int64_t>(100 + stream)), number("cpu", 2), number("prio", 50)};
    e.fields.insert(e.fields.end(), more.begin(), more.end());
    return e;
}

TEST_F(trace, PrintsATimeline)
{
    const std::vector<trace_event> events = {
        made(1000, 1, "softirq_entry", {number("vec", 3)}),
        {.time = 1500,
         .stream = 1,
         .thread = "irq/lan-0",
         .name = "xdp_redirect",
         .fields = {number("ifindex", 4), text("map", "out")}},
        made(2234, 2, "contention_begin", {text("name", "tx queue"), number("holder", 101)}),
        made(2500, 2, "sched_pi_setprio", {number("holder", 101), number("oldprio", 1), number("newprio", 50)}),
        made(1'001'000, 1, "softirq_exit", {number("vec", 77)}),
    };
    EXPECT_EQ(printed(events),
              "irq/lan-0-101            [002]        0.000 softirq_entry: vec=3 [action=NET_RX]\n"
              "irq/lan-0-101            [002]        0.500 xdp_redirect: ifindex=4 map=out\n"
              "\n"
              "irq/wan-0-102            [002]        1.234 contention_begin: lock=tx queue holder=irq/lan-0-101\n"
              "irq/wan-0-102            [002]        1.500 sched_pi_setprio: irq/lan-0-101 prio 1 -> 50\n"
              "\n"
              "irq/lan-0-101            [002]     1000.000 softirq_exit: vec=77 [action=?]\n");
    EXPECT_EQ(printed(events, {.events = "^xdp_"}),
              "irq/lan-0-101            [002]        0.500 xdp_redirect: ifindex=4 map=out\n");
    EXPECT_EQ(printed(events, {.cpu = 1}), "");
    EXPECT_EQ(printed({}), "");
    EXPECT_NE(refusal([&] { printed(events, {.events = "\\("}); }), "");
}

TEST_F(trace, IgnoresWhatLiesBeforeTheLastBegin)
{
    const std::vector<trace_event> events = {
        made(1000, 1, "trace_begin"), made(2000, 2, "sched_run"),   made(3000, 1, "trace_end"),
        made(4000, 1, "trace_begin"), made(5000, 2, "sched_block"), made(6000, 1, "trace_end"),
        made(7000, 2, "sched_run"),
    };
    EXPECT_EQ(printed(events), "irq/wan-0-102            [002]        0.000 sched_block: prio=50\n");
}

TEST_F(trace, KnowsFullBuffers)
{
    const std::filesystem::path folder = std::filesystem::path(home) / "full";
    std::filesystem::create_directory(folder);
    for (const auto &[name, size] : {std::pair("channel0_0", 1 << 20), std::pair("channel0_1", 5000),
                                     std::pair("metadata", 2 << 20), std::pair("channel0_2", (1 << 20) - 30)}) {
        std::ofstream(folder / name).close();
        std::filesystem::resize_file(folder / name, static_cast<std::uintmax_t>(size));
    }
    EXPECT_EQ(full_buffers(folder), 2U);
    EXPECT_EQ(full_buffers(home + "/none"), 0U);
}

/// Writes a trace of two threads and copies it to a new folder.
std::filesystem::path some_trace(const std::string &where)
{
    runtime rt(runtime_options{});
    trace_begin(rt, EVENTS);
    for (int i = 0; i < 20; ++i) {
        rt.call_on(0, [](softnet_data &sd) { raise_softirq_irqoff(sd, TASKLET_SOFTIRQ); });
    }
    const std::filesystem::path folder = where + "/good";
    std::filesystem::copy(trace_end(rt, EVENTS), folder);
    return folder;
}

TEST_F(trace, WhatIsNoTraceOrBrokenIsToldInOneLine)
{
    const leaks_of_babeltrace expected;
    EXPECT_EQ(refusal([] { read_trace(home); }),
              home + ": no trace, it has no file \"metadata\" (DPDK writes one folder rte-... a start)");
    const auto good = some_trace(home);
    const std::size_t all = read_trace(good).size();
    EXPECT_GT(all, 40U);
    const std::string bad = home + "/bad";
    std::mt19937 random(1);
    unsigned refused = 0;
    for (const auto &file : std::filesystem::directory_iterator(good)) {
        for (unsigned round = 0; round < 12; ++round) {
            std::filesystem::copy(good, bad);
            const std::filesystem::path broken = std::filesystem::path(bad) / file.path().filename();
            const auto size = std::filesystem::file_size(broken);
            if (round % 2 == 0) {
                std::filesystem::resize_file(broken, random() % size / 8 * 8 + 1); // within an event
            } else {
                std::fstream(broken, std::ios::in | std::ios::out | std::ios::binary).seekp(random() % size) << '\xff';
            }
            const std::string said = refusal([&] { read_trace(bad); });
            EXPECT_TRUE(said.empty() || said.starts_with(bad + ": this trace is damaged")) << said;
            EXPECT_EQ(said.find('\n'), std::string::npos) << said;
            refused += !said.empty();
            EXPECT_TRUE(round % 2 != 0 || !said.empty()) << file.path() << " cut short";
            std::filesystem::remove_all(bad);
        }
    }
    EXPECT_GE(refused, 18U);
}

/// Sets an environment variable for its lifetime.
class environment
{
public:
    environment(const char *name, const std::string &value) : name_(name) { setenv(name, value.c_str(), 1); }
    environment(const environment &) = delete;
    environment &operator=(const environment &) = delete;
    ~environment() { unsetenv(name_); }

private:
    const char *name_;
};

TEST_F(trace, ReadingLeavesNothingBehindAndTheTraceAsItIs)
{
    const leaks_of_babeltrace expected;
    const std::string here = home + "/untouched", temporary = home + "/temporary";
    std::filesystem::create_directory(here);
    std::filesystem::create_directory(temporary);
    const auto folder = some_trace(here);
    const auto metadata = folder / "metadata";
    const auto before = std::filesystem::last_write_time(metadata);
    {
        const environment tmpdir("TMPDIR", temporary);
        EXPECT_GT(read_trace(folder).size(), 40U);
        EXPECT_TRUE(std::filesystem::is_empty(temporary));
        EXPECT_EQ(std::filesystem::last_write_time(metadata), before);
        std::filesystem::resize_file(metadata, std::filesystem::file_size(metadata) - 3);
        const std::string said = refusal([&] { read_trace(folder); });
        EXPECT_TRUE(said.starts_with(folder.string() + ": this trace is damaged")) << said;
        EXPECT_EQ(said.find(temporary), std::string::npos) << said;
        EXPECT_TRUE(std::filesystem::is_empty(temporary));
    }
    const environment tmpdir("TMPDIR", here + "/none");
    EXPECT_TRUE(refusal([&] { read_trace(folder); }).starts_with(folder.string() + ": this trace cannot be copied"));
}

/// The reader waits for a named pipe, which is in the place of a file of events, when the signal comes.
TEST_F(trace, AReaderThatIsEndedLeavesNothingBehind)
{
    const std::string here = home + "/ended", temporary = here + "/temporary";
    std::filesystem::create_directories(temporary);
    const auto folder = some_trace(here);
    std::filesystem::path events;
    for (const auto &file : std::filesystem::directory_iterator(folder)) {
        events = file.path().filename() != "metadata" ? file.path() : events;
    }
    std::filesystem::remove(events);
    ASSERT_EQ(mkfifo(events.c_str(), 0600), 0);
    const environment tmpdir("TMPDIR", temporary);
    const pid_t reader = fork();
    if (reader == 0) {
        try {
            read_trace(folder);
        } catch (const std::exception &) {
            // the pipe is no trace
        }
        _exit(0);
    }
    ASSERT_TRUE(eventually([&] { return !std::filesystem::is_empty(temporary); }));
    kill(reader, SIGTERM);
    int status = 0;
    EXPECT_TRUE(eventually([&] {
        close(open(events.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)); // the reader goes on
        return waitpid(reader, &status, WNOHANG) == reader;
    }));
    EXPECT_TRUE(WIFSIGNALED(status)) << status;
    EXPECT_TRUE(std::filesystem::is_empty(temporary));
}

/// A trace prepared for babeltrace2 2.1, as docs/tracing.md describes.
TEST_F(trace, MetadataWithPacketTimesIsReadAsItIs)
{
    const std::string here = home + "/prepared";
    std::filesystem::create_directory(here);
    const auto folder = some_trace(here);
    const auto events = printed(read_trace(folder));
    const std::string prepare =
        "sed -i '/packet.context/,/};/s/name.32.;/name[31]; integer { size = 8; map = clock.dpdk.value; } "
        "timestamp_begin;/' '" +
        (folder / "metadata").string() + "'";
    ASSERT_EQ(std::system(prepare.c_str()), 0);
    EXPECT_EQ(printed(read_trace(folder)), events);
    EXPECT_NE(events, "");
}

} // namespace

} // namespace halfpoll
