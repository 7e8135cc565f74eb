// SPDX-License-Identifier: BSD-3-Clause
// Receive livelock: an echo over an AF_XDP port, with a handler so slow that several times its capacity can be offered.
// The placement says where the kernel's NAPI of the interface runs:
//   other       on the sender's CPU
//   same_above  on the worker's CPU, at a higher priority than the worker, as a softirq has
//   same_fair   on the worker's CPU, as a SCHED_OTHER thread beside a SCHED_OTHER worker (threaded NAPI)
//   same_below  on the worker's CPU, as a SCHED_OTHER thread below a SCHED_FIFO worker
// Prints one line of JSON per placement and round.
//   af_xdp_overload ROUNDS MILLISECONDS [PLACEMENT]...
#include "af_xdp_cable.hpp"

#include <halfpoll/af_xdp.hpp>
#include <halfpoll/eal.hpp>
#include <halfpoll/ktime.hpp>
#include <halfpoll/net_core.hpp>

#include <rte_mbuf.h>

#include <algorithm>
#include <atomic>
#include <bpf/bpf.h>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <linux/bpf.h>
#include <thread>

using namespace halfpoll;
using namespace halfpoll::bench;

namespace
{

constexpr int WORKER_CPU = 0, SENDER_CPU = 1, SENDER_FIFO = 10;
constexpr double FLOOD = 1e8;                             ///< packets/s that mean: as many as the sender can send
constexpr ktime_t WORK = 20 * NSEC_PER_USEC;              ///< the handler's time for a packet
constexpr double MULTIPLES[] = {0.8, 1.0, 1.5, 2.5, 5.5}; ///< offered loads, in capacities; the overload is the last

struct placement {
    const char *name;
    bool same_cpu;
    int worker_fifo; ///< priority of the worker; 0: SCHED_OTHER
    int napi_fifo;   ///< priority of the NAPI thread, if on the same CPU; 0: SCHED_OTHER
};
constexpr placement PLACEMENTS[] = {
    {"other", false, 10, 0}, {"same_above", true, 10, 20}, {"same_fair", true, 0, 0}, {"same_below", true, 10, 0}};

/// Work that takes the same CPU time, however often it is interrupted.
[[gnu::noinline]] void spin(std::uint64_t turns) noexcept
{
    for (std::uint64_t i = 0; i < turns; i++) {
        asm volatile("" ::: "memory");
    }
}

std::uint64_t turns_per_packet = 0;

/// Sets the number of turns that take WORK, from the shortest of several tries.
void calibrate()
{
    constexpr std::uint64_t probe = 1'000'000;
    ktime_t best = KTIME_MAX;
    for (int i = 0; i < 20; i++) {
        const ktime_t start = ktime_get();
        spin(probe);
        best = std::min(best, ktime_get() - start);
    }
    turns_per_packet = probe * WORK / static_cast<std::uint64_t>(best);
}

void work_and_echo(void *, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    spin(n * turns_per_packet);
    dev_queue_xmit(cpu, in, pkts, n);
}

/// Sends batches of 32 frames at a rate, until `stop`.
void send_paced(double per_second, const std::atomic<bool> &stop)
{
    const packet_socket socket;
    frame frames[32];
    iovec vectors[32];
    mmsghdr messages[32]{};
    for (unsigned i = 0; i < 32; i++) {
        vectors[i] = {&frames[i], sizeof(frame)};
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    const auto interval = static_cast<ktime_t>(32e9 / per_second);
    for (ktime_t next = ktime_get(); !stop.load(std::memory_order_relaxed);) { // pairs with the store in measure()
        if (ktime_get() < next) {
            continue;
        }
        for (unsigned i = 0; i < 32;) { // the call ends at a frame that the device drops; the device counts it
            const int n = sendmmsg(socket.fd(), messages + i, 32 - i, 0);
            i += n > 0 ? static_cast<unsigned>(n) : 1;
        }
        next += interval;
    }
}

/// Sends frames by an XDP program that the kernel runs repeatedly (BPF_PROG_TEST_RUN): the fastest sender.
class flood_source
{
public:
    flood_source()
    {
        const bpf_insn code[] = {
            {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_1, 0, 0, static_cast<int>(if_nametoindex("vb"))},
            {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_2, 0, 0, 0},
            {BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect},
            {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
        };
        prog_ = bpf_prog_load(BPF_PROG_TYPE_XDP, "generator", "BSD", code, std::size(code), nullptr);
        if (prog_ < 0) {
            throw_errno(-prog_, "cannot load the generator");
        }
    }
    ~flood_source() { ::close(prog_); }
    flood_source(const flood_source &) = delete;
    flood_source &operator=(const flood_source &) = delete;

    void send(unsigned count) const
    {
        const frame one;
        xdp_md context{};
        context.data_end = sizeof one;
        context.ingress_ifindex = if_nametoindex("vb");
        LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = &one, .data_size_in = sizeof one, .ctx_in = &context,
                    .ctx_size_in = sizeof context, .repeat = static_cast<int>(count),
                    .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
        if (const int err = bpf_prog_test_run_opts(prog_, &options); err < 0) {
            throw_errno(-err, "cannot generate (BPF_F_TEST_XDP_LIVE_FRAMES needs kernel >= 5.18)");
        }
    }

private:
    int prog_;
};

void send_flood(const std::atomic<bool> &stop)
{
    const flood_source source;
    while (!stop.load(std::memory_order_relaxed)) { // pairs with the store in measure()
        source.send(200'000);
    }
}

std::uint64_t peer_drops()
{
    std::uint64_t drops = 0;
    std::ifstream("/sys/class/net/vb/statistics/tx_dropped") >> drops;
    return drops;
}

struct rates {
    double offered = 0, echoed = 0; ///< packets/s, by the counters of the devices
};

rates measure(net_device &dev, double per_second, unsigned ms)
{
    std::atomic<bool> stop{false}; // relaxed: no other data depends on it
    std::thread sender([&] {
        pin(SENDER_CPU, SENDER_FIFO);
        if (per_second == FLOOD) {
            send_flood(stop);
        } else {
            send_paced(per_second, stop);
        }
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(ms / 4)); // until the queues are in their steady state
    const port_counters before = dev.driver->counters();
    const std::uint64_t lost = peer_drops();
    const ktime_t start = ktime_get();
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    const port_counters after = dev.driver->counters();
    const double seconds = static_cast<double>(ktime_get() - start) / 1e9;
    const std::uint64_t offered =
        after.rx_packets + after.rx_missed - before.rx_packets - before.rx_missed + peer_drops() - lost;
    stop.store(true, std::memory_order_relaxed); // pairs with the loads in send_…()
    sender.join();
    return {static_cast<double>(offered) / seconds,
            static_cast<double>(after.tx_packets - before.tx_packets) / seconds};
}

/// The kernel thread that polls the interface.
pid_t napi_thread()
{
    for (const auto &entry : std::filesystem::directory_iterator("/proc")) {
        std::string name;
        std::getline(std::ifstream(entry.path() / "comm"), name);
        if (name.starts_with("napi/va-")) {
            return std::stoi(entry.path().filename());
        }
    }
    throw error("the kernel has no thread napi/va-N (threaded NAPI needs kernel >= 5.12)");
}

void place_napi(const placement &p)
{
    if (!(std::ofstream("/sys/class/net/va/threaded") << p.same_cpu << std::flush)) {
        throw error("cannot write /sys/class/net/va/threaded");
    }
    if (!p.same_cpu) {
        return;
    }
    const pid_t pid = napi_thread();
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(WORKER_CPU, &one);
    sched_param priority{};
    priority.sched_priority = p.napi_fifo;
    if (sched_setaffinity(pid, sizeof one, &one) != 0 ||
        sched_setscheduler(pid, p.napi_fifo ? SCHED_FIFO : SCHED_OTHER, &priority) != 0) {
        throw_errno(errno, "cannot place the NAPI thread");
    }
}

void run(const placement &p, rte_mempool *pool, double &capacity, unsigned ms)
{
    runtime_options options;
    options.cpus = {cpu_options{WORKER_CPU, p.worker_fifo}};
    runtime rt(options);
    net_core core(rt, pool);
    core.set_rx_handler(work_and_echo, nullptr);
    net_device_options device;
    device.name = "va";
    net_device &dev = core.register_netdevice(make_af_xdp_port("va"), device);
    place_napi(p);
    if (capacity == 0) {
        capacity = measure(dev, 6e9 / WORK, ms).echoed;
    }
    std::printf("{\"placement\": \"%s\", \"capacity\": %.0f, \"echoed\": [", p.name, capacity);
    rates last;
    const char *comma = "";
    for (double multiple : MULTIPLES) {
        last = measure(dev, multiple * capacity, ms);
        std::printf("%s%.0f", comma, last.echoed);
        comma = ", ";
    }
    const rates flood = measure(dev, FLOOD, ms);
    std::printf("], \"offered\": %.0f, \"flood_offered\": %.0f, \"flood_echoed\": %.0f}\n", last.offered, flood.offered,
                flood.echoed);
    std::fflush(stdout);
    core.unregister_netdevice(dev);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc < 3) {
        std::fprintf(stderr, "usage: %s ROUNDS MILLISECONDS [PLACEMENT]...\n", argv[0]);
        return 2;
    }
    try {
        calibrate();
        make_cable();
        eal_init({});
        rte_mempool *pool = packet_pool_create("packets", 8191, 2048 + RTE_PKTMBUF_HEADROOM);
        for (int round = 0; round < std::atoi(argv[1]); round++) {
            double capacity = 0; // measured in the first placement of the round
            for (const placement &p : PLACEMENTS) {
                const auto named = [&](const char *arg) { return std::strcmp(arg, p.name) == 0; };
                if (argc == 3 || std::any_of(argv + 3, argv + argc, named)) {
                    run(p, pool, capacity, static_cast<unsigned>(std::atoi(argv[2])));
                }
            }
        }
        packet_pool_free(pool);
    } catch (const error &e) {
        std::fprintf(stderr, "af_xdp_overload: %s\n", e.what());
        return 1;
    }
    return 0;
}
