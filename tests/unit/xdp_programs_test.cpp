// SPDX-License-Identifier: BSD-3-Clause
// The shipped XDP programs, loaded as shared objects: their verdicts, their changes to packets, and their refusals.
#include "xdp_frames.hpp"

#include <halfpoll/xdp_program.h>

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>

using namespace halfpoll;
using testing::HasSubstr;
using testing::StartsWith;

namespace
{

constexpr std::uint32_t CPUS = 2;
constexpr std::uint64_t SECOND = 1'000'000'000;

/// A new folder, removed with its contents.
class folder
{
public:
    folder()
    {
        char name[] = "/tmp/halfpoll-test-XXXXXX";
        EXPECT_NE(mkdtemp(name), nullptr);
        path_ = name;
    }
    ~folder() { std::filesystem::remove_all(path_); }
    folder(const folder &) = delete;
    folder &operator=(const folder &) = delete;
    std::string operator/(const std::string &name) const { return (path_ / name).string(); }

private:
    std::filesystem::path path_;
};

rte_mempool *pool()
{
    static rte_mempool *p =
        rte_pktmbuf_pool_create("xdp_programs", 1023, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    EXPECT_NE(p, nullptr);
    return p;
}

/// The result for a packet.
struct verdict {
    unsigned action;
    bytes frame;
    halfpoll_xdp_target target;
};

/// A program's shared object from the build folder, and one instance of it.
class program
{
public:
    program(const std::string &name, const std::string &config)
    {
        const auto self = std::filesystem::read_symlink("/proc/self/exe");
        const auto path = self.parent_path().parent_path() / "apps" / "xdp" / (name + ".so");
        object_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        EXPECT_NE(object_, nullptr) << dlerror();
        program_ = static_cast<const halfpoll_xdp_program *>(dlsym(object_, "halfpoll_xdp_program"));
        EXPECT_EQ(program_->abi, static_cast<std::uint32_t>(HALFPOLL_XDP_ABI));
        EXPECT_EQ(program_->name, name);
        halfpoll_xdp_host host{};
        host.ctx = this;
        host.cpus = CPUS;
        host.error = [](void *ctx, const char *text) { static_cast<program *>(ctx)->error = text; };
        host.ifindex = [](void *, const char *ifname) -> std::uint32_t { return std::string(ifname) == "wan" ? 7 : 0; };
        host.map = [](void *ctx, const char *map) -> halfpoll_xdp_map * {
            return std::string(map) == "ports" ? static_cast<halfpoll_xdp_map *>(ctx) : nullptr;
        };
        status = program_->open(&host, config.c_str(), &state_);
    }
    ~program()
    {
        close();
        dlclose(object_);
    }
    program(const program &) = delete;
    program &operator=(const program &) = delete;

    void close()
    {
        if (status == 0) {
            program_->close(state_);
            status = -1;
        }
    }

    std::vector<verdict> run(const std::vector<bytes> &frames, std::uint64_t now = SECOND, std::uint16_t cpu = 0,
                             std::size_t segment = 0)
    {
        EXPECT_EQ(status, 0) << error;
        std::vector<verdict> verdicts;
        for (std::size_t i = 0; i < frames.size(); i += HALFPOLL_XDP_BURST) {
            const std::size_t n = std::min<std::size_t>(HALFPOLL_XDP_BURST, frames.size() - i);
            burst({frames.begin() + static_cast<long>(i), frames.begin() + static_cast<long>(i + n)}, now, cpu, segment,
                  verdicts);
        }
        return verdicts;
    }

    unsigned action(const frame_parts &p, std::uint64_t now = SECOND, std::uint16_t cpu = 0)
    {
        return run({frame(p)}, now, cpu).front().action;
    }

    std::uint64_t shown(const std::string &name) const
    {
        char text[1024];
        EXPECT_LT(program_->show(state_, text, sizeof text), static_cast<int>(sizeof text));
        const std::string all = std::string("\n") + text;
        const auto at = all.find("\n" + name + " ");
        EXPECT_NE(at, all.npos) << all;
        return std::stoull(all.substr(at + name.size() + 2));
    }

    int status;
    std::string error;

private:
    /// Makes a packet. If `segment` is not 0, the first segment has that many bytes and a second one has the rest.
    static rte_mbuf *packet(const bytes &f, std::size_t segment)
    {
        rte_mbuf *m = rte_pktmbuf_alloc(pool());
        const std::size_t first = segment ? std::min(segment, f.size()) : f.size();
        std::memcpy(rte_pktmbuf_append(m, static_cast<std::uint16_t>(first)), f.data(), first);
        if (first < f.size()) {
            rte_mbuf *rest = rte_pktmbuf_alloc(pool());
            std::memcpy(rte_pktmbuf_append(rest, static_cast<std::uint16_t>(f.size() - first)), f.data() + first,
                        f.size() - first);
            EXPECT_EQ(rte_pktmbuf_chain(m, rest), 0);
        }
        return m;
    }

    void burst(const std::vector<bytes> &frames, std::uint64_t now, std::uint16_t cpu, std::size_t segment,
               std::vector<verdict> &verdicts)
    {
        rte_mbuf *pkts[HALFPOLL_XDP_BURST];
        halfpoll_xdp_burst b{};
        b.pkts = pkts;
        b.n = static_cast<std::uint32_t>(frames.size());
        b.ingress_ifindex = 3;
        b.cpu = cpu;
        b.now = now;
        for (std::size_t i = 0; i < frames.size(); ++i) {
            pkts[i] = packet(frames[i], segment);
        }
        program_->run(state_, &b);
        for (std::size_t i = 0; i < frames.size(); ++i) {
            const std::uint8_t *data = xdp_data(&b, static_cast<std::uint32_t>(i));
            verdicts.push_back({b.action[i], bytes(data, data + pkts[i]->data_len), b.target[i]});
            rte_pktmbuf_free(pkts[i]);
        }
    }

    void *object_ = nullptr, *state_ = nullptr;
    const halfpoll_xdp_program *program_ = nullptr;
};

std::string refusal(const std::string &name, const std::string &config)
{
    const program p(name, config);
    EXPECT_EQ(p.status, -EINVAL) << config;
    return p.error;
}

// ---- filter

TEST(xdp_filter, drops_listed_prefixes_and_nothing_else)
{
    program p("filter", "drop src 10.1.0.0/16 10.1.2.0/24 10.9.9.9 # nested\n\ndrop dst 203.0.113.0/25\n"
                        "drop src 2001:db8:1::/48\ndrop dst 2001:db8:2::5\n");
    const std::vector<std::pair<frame_parts, unsigned>> cases = {
        {{.src = "10.1.0.0"}, XDP_DROP},
        {{.src = "10.1.2.3"}, XDP_DROP},
        {{.src = "10.1.3.0"}, XDP_DROP}, // behind the nested prefix
        {{.src = "10.1.255.255"}, XDP_DROP},
        {{.src = "10.0.255.255"}, XDP_PASS},
        {{.src = "10.2.0.0"}, XDP_PASS},
        {{.src = "10.9.9.9"}, XDP_DROP},
        {{.src = "10.9.9.8"}, XDP_PASS},
        {{.dst = "10.1.0.1"}, XDP_PASS}, // listed only as a source
        {{.dst = "203.0.113.127"}, XDP_DROP},
        {{.dst = "203.0.113.128"}, XDP_PASS},
        {{.src = "2001:db8:1::1", .dst = "2001:db8::1"}, XDP_DROP},
        {{.src = "2001:db8:2::1", .dst = "2001:db8::1"}, XDP_PASS},
        {{.src = "2001:db8::1", .dst = "2001:db8:2::5"}, XDP_DROP},
        {{.src = "2001:db8::1", .dst = "2001:db8:2::4"}, XDP_PASS},
        {{.src = "10.1.0.1", .tags = 1}, XDP_DROP},
        {{.src = "10.1.0.1", .tags = 2}, XDP_DROP},
        {{.src = "10.1.0.1", .tags = 3}, XDP_PASS},
        {{.src = "10.1.0.1", .fragment = 100}, XDP_DROP},
    };
    for (const auto &[parts, action] : cases) {
        EXPECT_EQ(p.action(parts), action) << parts.src << " to " << parts.dst << ", tags " << parts.tags;
    }
    EXPECT_EQ(p.shown("drop_src"), 9U);
    EXPECT_EQ(p.shown("drop_dst"), 2U);
    EXPECT_EQ(p.shown("passed"), cases.size() - 11);
}

TEST(xdp_filter, passes_what_is_cut_off_or_not_in_the_first_segment)
{
    program p("filter", "drop src 0.0.0.0/0 ::/0\n");
    for (const char *src : {"192.0.2.1", "2001:db8::1"}) {
        const bool six = std::string(src).find(':') != std::string::npos;
        const bytes whole = frame({.src = src, .dst = six ? "2001:db8::2" : "192.0.2.2"});
        const std::size_t headers = six ? 54 : 34;
        for (std::size_t size = 1; size < whole.size(); ++size) {
            const unsigned expected = size < headers ? XDP_PASS : XDP_DROP;
            EXPECT_EQ(p.run({bytes(whole.begin(), whole.begin() + static_cast<long>(size))})[0].action, expected)
                << size;
            EXPECT_EQ(p.run({whole}, SECOND, 0, size)[0].action, expected) << size << " in the first segment";
        }
    }
    bytes arp = frame({});
    arp[13] = 0x06;
    EXPECT_EQ(p.run({arp})[0].action, static_cast<unsigned>(XDP_PASS));
}

/// The number of SYNs that pass, out of `n` that arrive at one time.
unsigned passing(program &p, frame_parts parts, unsigned n, std::uint64_t now, std::uint16_t cpu = 0)
{
    parts.flags = parts.flags == ACK ? SYN : parts.flags;
    unsigned passed = 0;
    for (const verdict &v : p.run(std::vector<bytes>(n, frame(parts)), now, cpu)) {
        passed += v.action == XDP_PASS;
    }
    return passed;
}

TEST(xdp_filter, limits_syns_of_a_source_prefix)
{
    program p("filter", "syn src 100 20 24 64\n");
    std::uint64_t now = 50 * SECOND;
    EXPECT_EQ(passing(p, {}, 50, now), 20U) << "the burst";
    EXPECT_EQ(passing(p, {.src = "192.0.2.200", .sport = 9}, 50, now), 0U) << "the same prefix";
    EXPECT_EQ(passing(p, {.src = "192.0.3.1"}, 50, now), 20U) << "another one";
    EXPECT_EQ(passing(p, {}, 50, now, 1), 20U) << "another CPU";
    EXPECT_EQ(passing(p, {}, 50, now += SECOND / 20), 5U) << "100 a second";
    EXPECT_EQ(passing(p, {}, 50, now += 100 * SECOND), 20U) << "no more than the burst";
    EXPECT_EQ(passing(p, {.flags = SYN | ACK}, 50, now), 50U) << "answers";
    EXPECT_EQ(passing(p, {.protocol = UDP}, 50, now), 50U);
    EXPECT_EQ(passing(p, {.tags = 2}, 50, now), 0U);
    EXPECT_EQ(passing(p, {.fragment = 10}, 50, now), 50U) << "a later fragment has no flags";
    EXPECT_EQ(p.shown("syn_src"), 30U + 50 + 30 + 30 + 45 + 30 + 50);
}

TEST(xdp_filter, limits_syns_of_ipv6_behind_extension_headers)
{
    program p("filter", "syn dst 100 20\n");
    const frame_parts parts{.src = "2001:db8::1", .dst = "2001:db8::2", .hop_by_hop = 3};
    EXPECT_EQ(passing(p, parts, 50, SECOND), 20U);
    EXPECT_EQ(passing(p, {.src = "2001:db8:5::1", .dst = "2001:db8::2"}, 50, SECOND), 0U) << "whatever the source";
    EXPECT_EQ(passing(p, {.src = "2001:db8::1", .dst = "2001:db8:0:0:1::2"}, 50, SECOND), 0U) << "in the same /64";
    EXPECT_EQ(passing(p, {.src = "2001:db8::1", .dst = "2001:db8:0:1::2"}, 50, SECOND), 20U);
    EXPECT_EQ(passing(p, {.src = "2001:db8::1", .dst = "2001:db8::2", .hop_by_hop = 8}, 50, SECOND), 50U)
        << "eight headers and nothing of a ninth is looked at";
}

TEST(xdp_filter, says_what_is_wrong_and_where)
{
    EXPECT_EQ(refusal("filter", "drop src 10.0.0.0/8\nallow src 10.0.0.0/8\n"),
              "filter:2:1: found allow, expected drop, syn or include");
    EXPECT_EQ(refusal("filter", "drop"), "filter:1:5: found the end of the line, expected src or dst");
    EXPECT_THAT(refusal("filter", "drop src 10.0.0.0/33"),
                StartsWith("filter:1:10: found 10.0.0.0/33, expected an addr"));
    EXPECT_THAT(refusal("filter", "\n  drop dst 10.0.0.0 10.0.0/8"), StartsWith("filter:2:21: found 10.0.0/8, "));
    EXPECT_THAT(refusal("filter", "drop src 2001:db8::/129"), StartsWith("filter:1:10: "));
    EXPECT_THAT(refusal("filter", "drop src 10.0.0.0/"), StartsWith("filter:1:10: "));
    EXPECT_EQ(refusal("filter", "syn src 0 5"), "filter:1:9: found 0, expected SYNs per second from 1 to 100000000");
    EXPECT_EQ(refusal("filter", "syn src 5 5 24 64 7"), "filter:1:19: found 7, expected the end of the line");
}

TEST(xdp_filter, reads_further_files)
{
    const folder dir;
    std::ofstream(dir / "list") << "# ours\ndrop src 10.0.0.0/8\n";
    std::ofstream(dir / "bad") << "drop src 10.0.0.0/8\ndrop src x\n";
    std::ofstream(dir / "loop") << "include " << dir / "loop"
                                << "\n";
    program p("filter", "include " + (dir / "list") + "\ndrop dst 10.0.0.0/8");
    EXPECT_EQ(p.action({.src = "10.1.1.1"}), static_cast<unsigned>(XDP_DROP));
    EXPECT_EQ(p.action({.dst = "10.1.1.1"}), static_cast<unsigned>(XDP_DROP));
    EXPECT_THAT(refusal("filter", "include " + (dir / "bad")), StartsWith(dir / "bad:2:10: found x"));
    EXPECT_THAT(refusal("filter", "include " + (dir / "none")), HasSubstr("none, expected a file"));
    EXPECT_THAT(refusal("filter", "include /dev/zero"), StartsWith("filter:1:9: found /dev/zero, expected a file"));
    EXPECT_THAT(refusal("filter", "include " + (dir / "loop")), HasSubstr("expected no more files that include files"));
}

// ---- l4lb

constexpr unsigned FLOWS = 4000;

std::string backends(const std::set<unsigned> &numbers)
{
    std::string text;
    for (const unsigned n : numbers) {
        text += "backend web" + std::to_string(n) + " 02:00:00:00:01:0" + std::to_string(n) + "\n";
    }
    return text;
}

std::string vip(const std::set<unsigned> &numbers)
{
    return "flows 65536\nvip 198.51.100.1 tcp 80\n" + backends(numbers) + "vip 2001:db8:99::1 udp 53\n" +
           backends(numbers);
}

std::vector<bytes> flows(std::uint8_t flags)
{
    std::vector<bytes> frames;
    for (unsigned i = 0; i < FLOWS; ++i) {
        frames.push_back(frame({.src = "192.0.2." + std::to_string(i % 200), .sport = 1024 + i, .flags = flags}));
    }
    return frames;
}

/// The backend that each packet was sent to.
std::vector<unsigned> where(const std::vector<verdict> &verdicts)
{
    std::vector<unsigned> to;
    for (const verdict &v : verdicts) {
        EXPECT_EQ(v.action, static_cast<unsigned>(XDP_TX));
        EXPECT_EQ(bytes(v.frame.begin(), v.frame.begin() + 5), (bytes{2, 0, 0, 0, 1}));
        to.push_back(v.frame[5]);
    }
    return to;
}

unsigned moved(const std::vector<unsigned> &before, const std::vector<unsigned> &after)
{
    unsigned n = 0;
    for (std::size_t i = 0; i < before.size(); ++i) {
        n += before[i] != after[i];
    }
    return n;
}

TEST(xdp_l4lb, spreads_flows_evenly)
{
    program p("l4lb", vip({1, 2, 3, 4, 5}));
    std::map<unsigned, unsigned> share;
    for (const unsigned to : where(p.run(flows(ACK)))) {
        ++share[to];
    }
    ASSERT_EQ(share.size(), 5U);
    for (const auto &[to, n] : share) {
        EXPECT_NEAR(n, FLOWS / 5, FLOWS / 5 * 0.15) << to; // five standard deviations
    }
    EXPECT_EQ(p.shown("sent"), FLOWS);
    EXPECT_EQ(p.shown("flows_remembered"), FLOWS);
}

TEST(xdp_l4lb, gives_the_frame_to_the_backend_and_changes_nothing_else)
{
    program p("l4lb", "vip 198.51.100.1 tcp 80\nbackend a 02:00:00:00:00:aa\n"
                      "vip 198.51.100.1 udp 80\nbackend a 02:00:00:00:00:AB dev wan\n"
                      "vip 198.51.100.1 tcp 443\nbackend a 02:00:00:00:00:ac map ports 12\n");
    const bytes sent = frame({.tags = 1});
    const verdict tx = p.run({sent})[0];
    EXPECT_EQ(tx.action, static_cast<unsigned>(XDP_TX));
    bytes expected = sent;
    std::copy_n(sent.begin(), 6, expected.begin() + 6);
    std::copy_n(bytes{2, 0, 0, 0, 0, 0xaa}.begin(), 6, expected.begin());
    EXPECT_EQ(tx.frame, expected);

    const verdict dev = p.run({frame({.protocol = UDP})})[0];
    EXPECT_EQ(dev.action, static_cast<unsigned>(XDP_REDIRECT));
    EXPECT_EQ(dev.target.map, nullptr);
    EXPECT_EQ(dev.target.key, 7U);
    EXPECT_EQ(dev.frame[5], 0xab);

    const verdict map = p.run({frame({.dport = 443})})[0];
    EXPECT_EQ(map.action, static_cast<unsigned>(XDP_REDIRECT));
    EXPECT_NE(map.target.map, nullptr);
    EXPECT_EQ(map.target.key, 12U);
    EXPECT_EQ(map.target.flags, static_cast<unsigned>(XDP_ABORTED));
}

TEST(xdp_l4lb, passes_what_is_not_for_a_vip)
{
    program p("l4lb", vip({1}));
    const std::vector<frame_parts> others = {{.dst = "198.51.100.2"},
                                             {.dport = 81},
                                             {.protocol = UDP},
                                             {.protocol = ICMP, .payload = {8, 0, 0, 0, 0, 1, 0, 1}},
                                             {.protocol = 47},
                                             {.dport = 0},
                                             {.src = "2001:db8::1", .dst = "2001:db8:99::1"},
                                             {.payload = {1, 2, 0}}};
    for (const frame_parts &parts : others) {
        const verdict v = p.run({frame(parts)})[0];
        EXPECT_EQ(v.action, static_cast<unsigned>(XDP_PASS));
        EXPECT_EQ(v.frame, frame(parts));
    }
    EXPECT_EQ(p.shown("passed"), others.size());
    EXPECT_EQ(p.shown("sent"), 0U);
}

/// For flows that are not remembered the consistent hash alone decides: few flows move in addition to those of the
/// removed backend.
TEST(xdp_l4lb, few_unknown_flows_move_when_backends_change)
{
    std::vector<unsigned> all, fewer;
    {
        program p("l4lb", vip({1, 2, 3, 4, 5}));
        all = where(p.run(flows(SYN)));
        EXPECT_EQ(p.shown("flows_remembered"), 0U) << "a SYN is not yet a flow";
    }
    {
        program p("l4lb", vip({5, 4, 3, 1}));
        fewer = where(p.run(flows(SYN)));
    }
    unsigned needless = 0, left = 0;
    for (unsigned i = 0; i < FLOWS; ++i) {
        left += all[i] == 2;
        needless += all[i] != 2 && all[i] != fewer[i];
        EXPECT_NE(fewer[i], 2U);
    }
    EXPECT_GT(left, FLOWS / 6);
    EXPECT_LT(needless, FLOWS / 25);
}

TEST(xdp_l4lb, established_flows_stay_when_backends_come_and_go)
{
    auto before = std::make_unique<program>("l4lb", vip({1, 2, 3}));
    const std::vector<unsigned> first = where(before->run(flows(ACK)));

    program more("l4lb", vip({1, 2, 3, 4, 5, 6})); // as in the replacement of a program: both are open for a while
    before.reset();
    EXPECT_EQ(moved(first, where(more.run(flows(ACK)))), 0U);
    EXPECT_GT(moved(first, where(more.run(flows(ACK), SECOND, 1))), FLOWS / 4) << "another CPU does not know them";
    EXPECT_EQ(more.shown("flows_remembered"), FLOWS) << "by CPU 1";

    program fewer("l4lb", vip({1, 3, 4, 5, 6}));
    more.close();
    const std::vector<unsigned> last = where(fewer.run(flows(ACK)));
    for (unsigned i = 0; i < FLOWS; ++i) {
        EXPECT_TRUE(last[i] == first[i] || first[i] == 2) << i;
        EXPECT_NE(last[i], 2U);
    }
    EXPECT_EQ(moved(last, where(fewer.run(flows(ACK)))), 0U) << "the new ones are remembered, too";
}

TEST(xdp_l4lb, forgets_the_flows_that_were_not_seen_for_longest)
{
    program p("l4lb", "flows 4\nvip 198.51.100.1 tcp 80\n" + backends({1, 2}));
    for (unsigned i = 0; i < 6; ++i) {
        p.run({frame({.sport = 1000 + i})}, (i + 1) * SECOND);
    }
    EXPECT_EQ(p.shown("flows_remembered"), 6U);
    EXPECT_EQ(p.shown("flows_forgotten"), 2U);
    p.run({frame({.sport = 1005}), frame({.sport = 1002}), frame({.sport = 1000})}, 9 * SECOND);
    EXPECT_EQ(p.shown("flows_remembered"), 7U) << "only the third one was gone";
    p.run(flows(SYN), 10 * SECOND);
    EXPECT_EQ(p.shown("flows_forgotten"), 3U) << "SYNs push nothing out";
}

TEST(xdp_l4lb, icmp_errors_follow_the_flow_that_they_quote)
{
    program p("l4lb", vip({1, 2, 3, 4}));
    for (unsigned port = 2000; port < 2032; ++port) {
        const unsigned four = where(p.run({frame({.sport = port})}))[0];
        bytes quote = {3, 4, 0, 0, 0, 0, 5, 0};
        append(quote, ip_packet({.src = "198.51.100.1", .dst = "192.0.2.1", .sport = 80, .dport = port}));
        quote.resize(8 + 28); // the length that RFC 792 prescribes: header and 8 bytes
        const frame_parts error4{.src = "203.0.113.9", .protocol = ICMP, .payload = quote};
        EXPECT_EQ(where(p.run({frame(error4)}))[0], four);

        const frame_parts query{
            .src = "2001:db8::7", .dst = "2001:db8:99::1", .sport = port, .dport = 53, .protocol = UDP};
        const unsigned six = where(p.run({frame(query)}))[0];
        quote = {2, 0, 0, 0, 0, 0, 5, 0};
        append(quote, ip_packet({.src = query.dst, .dst = query.src, .sport = 53, .dport = port, .protocol = UDP}));
        EXPECT_EQ(
            where(p.run({frame({.src = "2001:db8::9", .dst = query.dst, .protocol = ICMP6, .payload = quote})}))[0],
            six);
    }
    bytes foreign = {3, 4, 0, 0, 0, 0, 5, 0};
    append(foreign, ip_packet({.src = "198.51.100.2", .dst = "192.0.2.1", .sport = 80, .dport = 2000}));
    EXPECT_EQ(p.action({.protocol = ICMP, .payload = foreign}), static_cast<unsigned>(XDP_PASS))
        << "of another address";
}

TEST(xdp_l4lb, fragments_of_a_packet_stay_together)
{
    program p("l4lb", vip({1, 2, 3, 4}));
    std::set<unsigned> used;
    for (unsigned i = 0; i < 32; ++i) {
        const std::string src = "192.0.2." + std::to_string(i);
        const auto to = where(p.run({frame({.src = src, .sport = 1000 + i, .fragment = 0x2000}),
                                     frame({.src = src, .fragment = 0x2010, .payload = bytes(64, 0xEE)}),
                                     frame({.src = src, .fragment = 0x0020, .payload = bytes(9, 0xEE)})}));
        EXPECT_EQ(to[0], to[1]);
        EXPECT_EQ(to[0], to[2]);
        used.insert(to[0]);
    }
    EXPECT_EQ(used.size(), 4U);
    const frame_parts six{.src = "2001:db8::1", .dst = "2001:db8:99::1", .dport = 53, .protocol = UDP};
    frame_parts first = six, later = six;
    first.fragment = 1;
    later.fragment = 0x200;
    later.payload = bytes(64, 0xEE);
    const auto to = where(p.run({frame(first), frame(later)}));
    EXPECT_EQ(to[0], to[1]);
}

TEST(xdp_l4lb, says_what_is_wrong_and_where)
{
    const std::string vip4 = "vip 10.0.0.1 tcp 80\n";
    EXPECT_THAT(refusal("l4lb", ""), HasSubstr("there is no vip"));
    EXPECT_THAT(refusal("l4lb", vip4), HasSubstr("needs 1 to 65535 lines"));
    EXPECT_THAT(refusal("l4lb", "backend a 02:00:00:00:00:01"), StartsWith("l4lb:1:1: found backend, expected vip"));
    EXPECT_EQ(refusal("l4lb", "vip 10.0.0.0/24 tcp 80"), "l4lb:1:5: found 10.0.0.0/24, expected one address");
    EXPECT_EQ(refusal("l4lb", "vip 10.0.0.1 sctp 80"), "l4lb:1:14: found sctp, expected tcp or udp");
    EXPECT_THAT(refusal("l4lb", "vip 10.0.0.1 tcp 65536"), StartsWith("l4lb:1:18: found 65536"));
    EXPECT_THAT(refusal("l4lb", vip4 + "backend a 02:00:00:00:0001"), StartsWith("l4lb:2:11: found 02:00:00:00:0001"));
    EXPECT_THAT(refusal("l4lb", vip4 + "backend a 02:00:00:00:00:0g"), StartsWith("l4lb:2:11:"));
    const std::string a = "backend a 02:00:00:00:00:01";
    EXPECT_EQ(refusal("l4lb", vip4 + a + " dev lan"), "l4lb:2:33: found lan, expected one that there is");
    EXPECT_EQ(refusal("l4lb", vip4 + a + " map maps 1"), "l4lb:2:33: found maps, expected one that there is");
    EXPECT_EQ(refusal("l4lb", vip4 + a + "\n" + a), "l4lb:3:9: found a, expected another name than those before");
    EXPECT_THAT(refusal("l4lb", vip4 + a + "\n" + vip4 + a), HasSubstr("expected a vip that is not there yet"));
}

// ---- sampler

/// A packet of a pcapng file, as far as sampler writes its fields.
struct captured {
    std::uint64_t time;
    std::uint32_t length;
    bytes data;
};

std::vector<captured> read_pcapng(const std::string &path)
{
    std::ifstream file(path, std::ios::binary);
    const bytes all{std::istreambuf_iterator<char>(file), {}};
    const auto word = [&](std::size_t at) {
        std::uint32_t v;
        std::memcpy(&v, &all.at(at), sizeof v);
        return v;
    };
    std::vector<captured> packets;
    std::size_t at = 0;
    for (; at + 12 <= all.size(); at += word(at + 4)) {
        EXPECT_EQ(word(at + 4), word(at + word(at + 4) - 4)) << "a block's two lengths";
        if (at == 0) {
            EXPECT_EQ(word(0), 0x0A0D0D0AU);
            EXPECT_EQ(word(8), 0x1A2B3C4DU);
        }
        if (word(at) == 6) {
            const std::uint32_t kept = word(at + 20);
            EXPECT_EQ(word(at + 8), 0U) << "the interface";
            packets.push_back({std::uint64_t{word(at + 12)} << 32 | word(at + 16), word(at + 24),
                               bytes(&all.at(at + 28), &all.at(at + 28) + kept)});
        }
    }
    EXPECT_EQ(at, all.size());
    return packets;
}

std::uint64_t clock_ns(clockid_t clock)
{
    timespec t;
    clock_gettime(clock, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * SECOND + static_cast<std::uint64_t>(t.tv_nsec);
}

std::vector<bytes> numbered(unsigned n, std::size_t size = 60)
{
    std::vector<bytes> frames;
    for (unsigned i = 0; i < n; ++i) {
        bytes f = frame({.sport = i});
        f.resize(size, static_cast<std::uint8_t>(i));
        frames.push_back(f);
    }
    return frames;
}

TEST(xdp_sampler, writes_one_of_n_as_it_came)
{
    const folder dir;
    program p("sampler", "file " + (dir / "s.pcapng") + "\nevery 10\nbytes 64");
    const std::vector<bytes> sent = numbered(205, 100);
    for (const verdict &v : p.run(sent, clock_ns(CLOCK_MONOTONIC), 1, 30)) { // in two segments
        EXPECT_EQ(v.action, static_cast<unsigned>(XDP_PASS));
    }
    EXPECT_EQ(p.shown("matched"), 205U);
    EXPECT_EQ(p.shown("sampled"), 21U);
    p.close();
    const std::vector<captured> got = read_pcapng(dir / "s.pcapng");
    ASSERT_EQ(got.size(), 21U);
    for (std::size_t i = 0; i < got.size(); ++i) {
        const bytes &f = sent[10 * i];
        EXPECT_EQ(got[i].data, bytes(f.begin(), f.begin() + 64));
        EXPECT_EQ(got[i].length, 100U);
        EXPECT_NEAR(static_cast<double>(got[i].time), static_cast<double>(clock_ns(CLOCK_REALTIME)), 20.0 * SECOND);
    }
}

TEST(xdp_sampler, keeps_what_matches)
{
    const folder dir;
    program p("sampler",
              "file " + (dir / "s.pcapng") + "\nmatch src 10.0.0.0/8\nmatch dst 10.1.0.0/16\nmatch protocol 17\n");
    const bytes wanted = frame({.src = "10.0.0.1", .dst = "10.1.0.9", .protocol = UDP, .tags = 1});
    p.run({frame({.src = "10.0.0.1", .dst = "10.1.0.9"}), wanted,
           frame({.src = "11.0.0.1", .dst = "10.1.0.9", .protocol = UDP}),
           frame({.src = "10.0.0.1", .dst = "10.2.0.9", .protocol = UDP}), bytes(14, 0)});
    p.close();
    const std::vector<captured> got = read_pcapng(dir / "s.pcapng");
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(got[0].data, wanted);
}

TEST(xdp_sampler, counts_what_finds_the_ring_full)
{
    const folder dir;
    program p("sampler", "file " + (dir / "s.pcapng") + "\nslots 2\n");
    p.run(numbered(640));
    const std::uint64_t sampled = p.shown("sampled");
    EXPECT_GT(p.shown("ring_full"), 0U);
    EXPECT_EQ(sampled + p.shown("ring_full"), 640U);
    p.close();
    EXPECT_EQ(read_pcapng(dir / "s.pcapng").size(), sampled);
}

TEST(xdp_sampler, stops_when_its_one_file_is_full)
{
    const folder dir;
    program p("sampler", "file " + (dir / "s.pcapng") + " 4096\n");
    p.run(numbered(200, 1000));
    p.close();
    EXPECT_LE(std::filesystem::file_size(dir / "s.pcapng"), 4096U);
    EXPECT_EQ(read_pcapng(dir / "s.pcapng").size(), (4096U - 28 - 32) / (32 + 128));
}

TEST(xdp_sampler, goes_on_to_the_next_file)
{
    const folder dir;
    program p("sampler", "file " + (dir / "s.pcapng") + " 4096 3\n");
    p.run(numbered(120));
    p.close();
    std::vector<captured> got;
    for (const char *name : {"s.pcapng.2", "s.pcapng.1", "s.pcapng"}) {
        ASSERT_TRUE(std::filesystem::exists(dir / name)) << name;
        EXPECT_LE(std::filesystem::file_size(dir / name), 4096U);
        const std::vector<captured> part = read_pcapng(dir / name);
        got.insert(got.end(), part.begin(), part.end());
    }
    EXPECT_FALSE(std::filesystem::exists(dir / "s.pcapng.3"));
    ASSERT_FALSE(got.empty());
    EXPECT_EQ(got.back().data, numbered(120).back());
    for (std::size_t i = 1; i < got.size(); ++i) {
        EXPECT_EQ(got[i].data[35], static_cast<std::uint8_t>(got[i - 1].data[35] + 1)) << "in order, none left out";
    }
}

TEST(xdp_sampler, says_what_is_wrong_and_where)
{
    EXPECT_THAT(refusal("sampler", "every 10"), HasSubstr("no file is named"));
    EXPECT_THAT(refusal("sampler", "file x 100"), StartsWith("sampler:1:8: found 100, expected bytes from 4096"));
    EXPECT_THAT(refusal("sampler", "match port 7"),
                StartsWith("sampler:1:7: found port, expected src, dst or protocol"));
    EXPECT_EQ(refusal("sampler", "file /nonexistent/x"),
              "sampler: /nonexistent/x cannot be written; name another file");
    EXPECT_EQ(refusal("sampler", "file /dev/null"), "sampler: /dev/null cannot be written; name another file");
    EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

} // namespace
