// SPDX-License-Identifier: BSD-3-Clause
// The load of scenario `rps` for the kernel's part:
//   kernel_load send IFNAME MS   sends 60-byte UDP frames of one flow by an interface; prints packets and CPU time
//   kernel_load soak MS          counts in a loop; interrupts, which the kernel charges to the thread, lower the count
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <time.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace
{

std::uint64_t ns(clockid_t clock)
{
    timespec t;
    clock_gettime(clock, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

int fail(const char *what)
{
    std::fprintf(stderr, "kernel_load: %s: %s\n", what, std::strerror(errno));
    return 1;
}

/// Makes a broadcast Ethernet frame with IPv4 and UDP.
void make_frame(unsigned char *frame)
{
    static const unsigned char head[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,  0, 0,  0,  0, 1,  8,  0,
                                         0x45, 0,    0,    46,   0,    0,    0,  0, 64, 17, 0, 0,  10, 0,
                                         0,    1,    10,   0,    0,    2,    16, 0, 32, 0,  0, 26, 0,  0};
    std::memset(frame, 0, 60);
    std::memcpy(frame, head, sizeof head);
    std::uint32_t sum = 0;
    for (unsigned i = 14; i < 34; i += 2) {
        sum += static_cast<std::uint32_t>(frame[i] << 8 | frame[i + 1]);
    }
    sum = ~((sum & 0xffff) + (sum >> 16));
    frame[24] = static_cast<unsigned char>(sum >> 8);
    frame[25] = static_cast<unsigned char>(sum);
}

int send_frames(const char *ifname, std::uint64_t ms)
{
    constexpr unsigned burst = 64;
    const int fd = socket(AF_PACKET, SOCK_RAW, 0);
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = static_cast<int>(if_nametoindex(ifname));
    if (fd < 0 || to.sll_ifindex == 0 || bind(fd, reinterpret_cast<sockaddr *>(&to), sizeof to) != 0) {
        return fail(ifname);
    }
    unsigned char frame[60];
    make_frame(frame);
    iovec data{frame, sizeof frame};
    mmsghdr messages[burst]{};
    for (mmsghdr &m : messages) {
        m.msg_hdr.msg_iov = &data;
        m.msg_hdr.msg_iovlen = 1;
    }
    const std::uint64_t end = ns(CLOCK_MONOTONIC) + ms * 1'000'000, cpu = ns(CLOCK_THREAD_CPUTIME_ID);
    std::uint64_t sent = 0;
    while (ns(CLOCK_MONOTONIC) < end) {
        const int n = sendmmsg(fd, messages, burst, 0);
        if (n < 0 && errno != ENOBUFS) {
            return fail("sendmmsg");
        }
        sent += n > 0 ? static_cast<unsigned>(n) : 0;
    }
    std::printf("{\"packets\": %llu, \"ns\": %llu}\n", static_cast<unsigned long long>(sent),
                static_cast<unsigned long long>(ns(CLOCK_THREAD_CPUTIME_ID) - cpu));
    return 0;
}

int soak(std::uint64_t ms)
{
    const std::uint64_t end = ns(CLOCK_MONOTONIC) + ms * 1'000'000, cpu = ns(CLOCK_THREAD_CPUTIME_ID);
    std::uint64_t rounds = 0;
    volatile std::uint64_t x = 1;
    while (ns(CLOCK_MONOTONIC) < end) {
        for (unsigned i = 0; i < 1000; ++i) {
            x = x * 3;
        }
        ++rounds;
    }
    std::printf("{\"rounds\": %llu, \"ns\": %llu}\n", static_cast<unsigned long long>(rounds),
                static_cast<unsigned long long>(ns(CLOCK_THREAD_CPUTIME_ID) - cpu));
    return 0;
}

} // namespace

int main(int argc, char **argv)
{
    if (argc == 4 && std::strcmp(argv[1], "send") == 0) {
        return send_frames(argv[2], std::strtoull(argv[3], nullptr, 10));
    }
    if (argc == 3 && std::strcmp(argv[1], "soak") == 0) {
        return soak(std::strtoull(argv[2], nullptr, 10));
    }
    std::fprintf(stderr, "usage: kernel_load send IFNAME MS | soak MS\n");
    return 1;
}
