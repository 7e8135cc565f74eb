// SPDX-License-Identifier: BSD-3-Clause
// A shipped program on any burst: it sets a valid action for each packet, and changes no packet's length.
#include XDP_PROGRAM

#include "fuzz_frames.hpp"
#include "fuzz_packets.hpp"

#include <string_view>

using namespace halfpoll;

namespace
{

constexpr std::uint32_t CPUS = 2;
constexpr unsigned MOST = 16;

const char *config(std::string_view program)
{
    if (program == "filter") {
        return "drop src 10.0.0.3 fd00::3\ndrop dst 10.0.0.4 fd00::4/127\nsyn src 1000 2 31 64\nsyn dst 1000 3\n";
    }
    if (program == "l4lb") {
        return "vip 10.0.0.1 tcp 80\nbackend a 02:00:00:00:00:01\nbackend b 02:00:00:00:00:02 dev x\n"
               "vip 10.0.0.2 udp 53\nbackend a 02:00:00:00:00:01 map m 1\nvip fd00::1 tcp 80\n"
               "backend a 02:00:00:00:00:01\nbackend b 02:00:00:00:00:02\nflows 64\n";
    }
    return "file fuzz_samples.pcapng 65536 2\nevery 2\nslots 8\nbytes 96\nmatch src 10.0.0.0/29\n"; // for sampler
}

void *open_instance()
{
    halfpoll_xdp_host host{};
    host.cpus = CPUS;
    host.error = [](void *, const char *text) { std::fprintf(stderr, "%s\n", text); };
    host.ifindex = [](void *, const char *) -> std::uint32_t { return 3; };
    host.map = [](void *, const char *) { return reinterpret_cast<halfpoll_xdp_map *>(8); };
    void *state = nullptr;
    fuzz::require(halfpoll_xdp_program.open(&host, config(halfpoll_xdp_program.name), &state) == 0);
    return state;
}

struct instance {
    void *state = open_instance();
    ~instance() { halfpoll_xdp_program.close(state); }
};

bool valid(const halfpoll_xdp_burst &burst, unsigned i)
{
    const halfpoll_xdp_target &target = burst.target[i];
    switch (burst.action[i]) {
    case XDP_DROP:
    case XDP_PASS:
    case XDP_TX:
        return true;
    case XDP_REDIRECT:
        return target.flags == 0 && (target.map ? target.key == 1 : target.key == 3);
    default:
        return false;
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size)
{
    static instance program;
    static std::uint64_t now = 1;
    if (size < 1) {
        return 0;
    }
    now += std::uint64_t{data[0]} << 14;
    fuzz::packets pkts(data + 1, size - 1, MOST);
    if (pkts.size() == 0) {
        return 0;
    }
    static halfpoll_xdp_burst storage, *const burst = &storage;
    burst->pkts = pkts.data();
    burst->n = pkts.size();
    burst->ingress_ifindex = 1 + data[0] % 3;
    burst->egress_ifindex = 0;
    burst->rx_queue_index = 0;
    burst->cpu = data[0] % CPUS;
    burst->now = now;
    std::uint32_t lengths[MOST];
    for (unsigned i = 0; i < burst->n; ++i) {
        burst->action[i] = XDP_ABORTED;
        lengths[i] = pkts.data()[i]->pkt_len;
    }
    halfpoll_xdp_program.run(program.state, burst);
    for (unsigned i = 0; i < burst->n; ++i) {
        fuzz::require(valid(*burst, i) && pkts.data()[i]->pkt_len == lengths[i]);
    }
    char text[8];
    fuzz::require(halfpoll_xdp_program.show(program.state, text, sizeof text) > 0 && text[7] == 0);
    return 0;
}
