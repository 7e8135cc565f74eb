// SPDX-License-Identifier: BSD-3-Clause
// The cost of the kernel's XDP on veth. The kernel makes frames (BPF_PROG_TEST_RUN with live frames) and sends them by
// va to its peer vb, which runs an XDP program. Everything runs on the caller's CPU, so that time is CPU time.
//   kernel_xdp generate|drop|tx|redirect FRAMES
// `generate` drops the frames where they are made, and `drop` drops them at vb. `tx` sends them back to va, where a
// program drops them. `redirect` sends them by vc to its peer vd, which drops them. Prints the time of all frames in
// ns, and the number of frames that came to vb.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace
{

constexpr unsigned BATCH = 64;
constexpr int DST_OFFSET = 30;

[[noreturn]] void fail(const std::string &what, int err)
{
    throw std::runtime_error(what + ": " + std::strerror(err < 0 ? -err : err));
}

constexpr bpf_insn load(std::uint8_t dst, std::uint8_t src, int offset)
{
    return {BPF_LDX | BPF_W | BPF_MEM, dst, src, static_cast<std::int16_t>(offset), 0};
}
constexpr bpf_insn set(std::uint8_t dst, int value) { return {BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value}; }

/// Loads a program that runs `then`, which leaves the action in r0, if the frame has the destination; else it returns
/// XDP_ABORTED.
int load_program(const std::vector<bpf_insn> &then)
{
    std::vector<bpf_insn> code = {
        load(BPF_REG_2, BPF_REG_1, offsetof(xdp_md, data)),
        load(BPF_REG_3, BPF_REG_1, offsetof(xdp_md, data_end)),
        set(BPF_REG_0, XDP_ABORTED),
        {BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_4, BPF_REG_2, 0, 0},
        {BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_4, 0, 0, DST_OFFSET + 4},
        {BPF_JMP | BPF_JGT | BPF_X, BPF_REG_4, BPF_REG_3, static_cast<std::int16_t>(then.size() + 2), 0},
        load(BPF_REG_5, BPF_REG_2, DST_OFFSET),
        {BPF_JMP32 | BPF_JNE | BPF_K, BPF_REG_5, 0, static_cast<std::int16_t>(then.size()), 0x0100000a},
    };
    code.insert(code.end(), then.begin(), then.end());
    code.push_back({BPF_JMP | BPF_EXIT, 0, 0, 0, 0});
    const int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "hp_bench", "Dual BSD/GPL", code.data(), code.size(), nullptr);
    if (fd < 0) {
        fail("cannot load a program (root is needed)", fd);
    }
    return fd;
}

int number_of(const char *ifname)
{
    const unsigned ifindex = if_nametoindex(ifname);
    if (ifindex == 0) {
        fail(ifname, errno);
    }
    return static_cast<int>(ifindex);
}

int program(const std::string &verdict)
{
    if (verdict == "tx") {
        return load_program({set(BPF_REG_0, XDP_TX)});
    }
    if (verdict.starts_with("redirect:")) {
        return load_program({set(BPF_REG_1, number_of(verdict.c_str() + std::strlen("redirect:"))),
                             set(BPF_REG_2, 0),
                             {BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect}});
    }
    return load_program({set(BPF_REG_0, XDP_DROP)});
}

void attach(const char *ifname, const std::string &verdict)
{
    if (const int err = bpf_xdp_attach(number_of(ifname), program(verdict), XDP_FLAGS_DRV_MODE, nullptr); err < 0) {
        fail(std::string("no native XDP on ") + ifname, err);
    }
}

unsigned long long seen(const char *ifname)
{
    std::ifstream in(std::string("/sys/class/net/") + ifname + "/statistics/rx_packets");
    unsigned long long packets = 0;
    in >> packets;
    return packets;
}

long long now()
{
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

void generate(const std::string &verdict, int frames)
{
    unsigned char frame[60] = {};
    frame[12] = 8;
    frame[14] = 0x45;
    frame[DST_OFFSET] = 10;
    frame[DST_OFFSET + 3] = 1;
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame;
    options.data_size_in = sizeof frame;
    options.repeat = frames;
    options.batch_size = BATCH;
    options.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
    if (const int err = bpf_prog_test_run_opts(program(verdict), &options); err < 0) {
        fail("no live frames (kernel >= 5.18 is needed)", err);
    }
}

void run(const std::string &verdict, int frames)
{
    attach("vb", verdict == "redirect" ? "redirect:vc" : verdict);
    attach("va", "drop");
    attach("vd", "drop");
    const std::string maker = verdict == "generate" ? "drop" : "redirect:va";
    generate(maker, frames / 8);
    const unsigned long long packets = seen("vb");
    const long long start = now();
    generate(maker, frames);
    const long long ns = now() - start;
    std::printf("{\"ns\": %lld, \"seen\": %llu}\n", ns, seen("vb") - packets);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 3) {
        std::fprintf(stderr, "usage: kernel_xdp generate|drop|tx|redirect FRAMES\n");
        return 1;
    }
    try {
        run(argv[1], std::atoi(argv[2]));
    } catch (const std::exception &e) {
        std::fprintf(stderr, "kernel_xdp: %s\n", e.what());
        return 1;
    }
    return 0;
}
