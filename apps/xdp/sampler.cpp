// SPDX-License-Identifier: BSD-3-Clause
//
// XDP program `sampler`: copies some packets to a pcapng file, and passes all packets. Data CPUs copy into rings of
// fixed size, one for each CPU, which a thread of the program writes to the file. A packet that finds its ring full is
// counted; data CPUs never wait.
//
//   file PATH [BYTES [FILES]]     at most BYTES (100000000) each, FILES in turn (1: stops when the file is full)
//   every N                       one of N matching packets, on each CPU
//   bytes N                       of a packet that are kept (128)
//   slots N                       packets that fit into a CPU's ring (1024)
//   match src|dst PREFIX          only packets from there, or to there; all match lines must hold
//   match protocol NUMBER         only IP packets that carry this protocol
#include "pcapng.hpp"
#include "sample_ring.hpp"
#include "settings.hpp"

#include <chrono>
#include <csignal>
#include <ctime>
#include <memory>
#include <optional>
#include <thread>

namespace halfpoll
{
namespace
{

struct alignas(64) cpu_state {
    counter seen, sampled, ring_full;
    std::uint64_t skip = 0; ///< matching packets before the next sample
    std::unique_ptr<sample_ring> ring;
};

struct choice {
    std::string path;
    std::uint64_t file_bytes = 100'000'000, files = 1, every = 1, bytes = 128, slots = 1024;
    std::optional<ip_range> source, destination;
    std::optional<std::uint64_t> protocol;

    explicit choice(const char *config)
    {
        settings(config, "sampler").each([this](settings_line &line) { read(line); });
        if (path.empty()) {
            throw settings_error("sampler: no file is named; add a line \"file PATH\"");
        }
    }

    bool matches(const std::uint8_t *frame, const std::uint8_t *end) const
    {
        if (!source && !destination && !protocol) {
            return true;
        }
        const ip_view ip = parse_frame(frame, end);
        const auto in = [&](const std::optional<ip_range> &range, const ip_number &address) {
            return !range || (range->version == ip.version && range->first <= address && address <= range->last);
        };
        return ip.version != 0 && in(source, ip.source) && in(destination, ip.destination) &&
               (!protocol || *protocol == ip.protocol);
    }

private:
    void read(settings_line &line)
    {
        if (line.take("file")) {
            path = line.word("a path");
            file_bytes = line.more() ? line.number("bytes", 4096, UINT64_MAX) : file_bytes;
            files = line.more() ? line.number("files", 1, 1000) : files;
        } else if (line.take("every")) {
            every = line.number("a number of packets", 1, UINT32_MAX);
        } else if (line.take("bytes")) {
            bytes = line.number("bytes of a packet", 14, 65535);
        } else if (line.take("slots")) {
            slots = line.number("slots", 1, 1U << 20);
        } else if (line.take("match")) {
            read_match(line);
        } else {
            line.word("");
            line.fail("file, every, bytes, slots, match or include");
        }
    }

    void read_match(settings_line &line)
    {
        if (line.take("src")) {
            source = line.prefix();
        } else if (line.take("dst")) {
            destination = line.prefix();
        } else if (line.take("protocol")) {
            protocol = line.number("a protocol's number", 0, 255);
        } else {
            line.word("src, dst or protocol");
            line.fail("src, dst or protocol");
        }
    }
};

class sampler
{
public:
    sampler(const halfpoll_xdp_host &host, const char *config)
        : choice_(config), cpus_(host.cpus), file_(choice_.path, choice_.file_bytes, choice_.files)
    {
        if (!file_.is_open()) {
            throw settings_error("sampler: " + choice_.path + " cannot be written; name another file");
        }
        for (cpu_state &cpu : cpus_) {
            cpu.ring = std::make_unique<sample_ring>(choice_.slots, choice_.bytes);
        }
        sigset_t all, before; // the process's own threads handle signals
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        writer_ = std::jthread([this](const std::stop_token &stop) { write(stop); });
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }

    void run(halfpoll_xdp_burst &burst)
    {
        cpu_state &cpu = cpus_[burst.cpu];
        for (std::uint32_t i = 0; i < burst.n; ++i) {
            burst.action[i] = XDP_PASS;
            if (!choice_.matches(xdp_data(&burst, i), xdp_data_end(&burst, i))) {
                continue;
            }
            cpu.seen.add();
            if (cpu.skip > 0) {
                --cpu.skip;
                continue;
            }
            cpu.skip = choice_.every - 1;
            (cpu.ring->put(burst.pkts[i], burst.ingress_ifindex, burst.now) ? cpu.sampled : cpu.ring_full).add();
        }
    }

    int show(char *text, std::size_t size) const
    {
        return std::snprintf(text, size, "matched %llu\nsampled %llu\nring_full %llu\nwritten %llu\nfile_full %llu\n",
                             total(cpus_, &cpu_state::seen), total(cpus_, &cpu_state::sampled),
                             total(cpus_, &cpu_state::ring_full), static_cast<unsigned long long>(written_.get()),
                             static_cast<unsigned long long>(refused_.get()));
    }

private:
    /// Writes samples until it is asked to stop, and then those that are left.
    void write(const std::stop_token &stop)
    {
        for (bool last = false; !last;) {
            last = stop.stop_requested();
            const std::uint64_t offset = time_now(CLOCK_REALTIME) - time_now(CLOCK_MONOTONIC);
            for (cpu_state &cpu : cpus_) {
                cpu.ring->take([&](const sample &s, std::span<const std::uint8_t> bytes) {
                    (file_.packet(s.ifindex, s.time + offset, bytes, s.length) ? written_ : refused_).add();
                });
            }
            file_.flush();
            if (!last) {
                std::this_thread::sleep_for(std::chrono::milliseconds(10));
            }
        }
    }

    static std::uint64_t time_now(clockid_t clock)
    {
        timespec t;
        clock_gettime(clock, &t);
        return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
    }

    const choice choice_;
    std::vector<cpu_state> cpus_;
    pcapng_file file_;
    counter written_, refused_;
    std::jthread writer_; ///< last, so that the thread ends before the members that it uses are destroyed
};

void run(void *state, halfpoll_xdp_burst *burst) { static_cast<sampler *>(state)->run(*burst); }
void close(void *state) { delete static_cast<sampler *>(state); }
int show(void *state, char *text, std::size_t size) { return static_cast<sampler *>(state)->show(text, size); }

} // namespace
} // namespace halfpoll

HALFPOLL_XDP_PROGRAM("sampler", halfpoll::open_program<halfpoll::sampler>, halfpoll::run, halfpoll::close,
                     halfpoll::show);
