// SPDX-License-Identifier: BSD-3-Clause
#include "run.hpp"
#include "apps/halfpoll/log/log.hpp"
#include "apps/halfpoll/router/router.hpp"
#include "apps/halfpoll/router/sd_notify.hpp"
#include "apps/halfpoll/serve/control_server.hpp"
#include "apps/halfpoll/serve/serve.hpp"

#include <algorithm>
#include <csignal>
#include <ctime>
#include <poll.h>
#include <span>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

/// Delay from a change of the tables to reclaim() of the memory that the change freed. A grace period is much shorter.
constexpr ktime_t RECLAIM_DELAY = NSEC_PER_SEC;

/// A signalfd for the signals that end the process. It is made before any other thread, so all threads inherit the
/// blocked signals.
class stop_signals
{
public:
    stop_signals()
    {
        sigset_t set;
        sigemptyset(&set);
        for (int signal : {SIGTERM, SIGINT, SIGHUP}) {
            sigaddset(&set, signal);
        }
        std::signal(SIGPIPE, SIG_IGN);
        pthread_sigmask(SIG_BLOCK, &set, nullptr);
        fd_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd_ < 0) {
            throw_errno(errno, "signalfd");
        }
    }
    ~stop_signals() { close(fd_); }
    stop_signals(const stop_signals &) = delete;
    stop_signals &operator=(const stop_signals &) = delete;
    int fd() const noexcept { return fd_; }

private:
    int fd_;
};

/// Waits for the fds until `when` at the latest.
void wait_for(std::span<pollfd> fds, ktime_t when)
{
    const ktime_t left = std::clamp<ktime_t>(when - ktime_get(), 0, 60 * NSEC_PER_SEC);
    const timespec timeout{.tv_sec = left / NSEC_PER_SEC, .tv_nsec = left % NSEC_PER_SEC};
    if (ppoll(fds.data(), fds.size(), when == KTIME_MAX ? nullptr : &timeout, nullptr) < 0 && errno != EINTR) {
        throw_errno(errno, "control loop: poll");
    }
}

/// Feeds the service manager's watchdog after every online data CPU has answered a call_on(). A CPU that does not
/// answer blocks the control thread in feed(), so the watchdog expires and the manager acts.
class watchdog
{
public:
    explicit watchdog(runtime &rt) : rt_(rt), interval_(sd_watchdog_interval()) {}
    ktime_t due() const noexcept { return interval_ == KTIME_MAX ? KTIME_MAX : last_ + interval_; }
    void feed()
    {
        for (unsigned cpu = 0; cpu < rt_.cpus(); ++cpu) {
            if (rt_.cpu_online(cpu)) {
                rt_.call_on(cpu, [](softnet_data &) {});
            }
        }
        sd_notify("WATCHDOG=1");
        last_ = ktime_get();
    }

private:
    runtime &rt_;
    ktime_t interval_;
    ktime_t last_ = 0;
};

/// The control thread's loop. It wakes only when there is something to do.
void run_until_stopped(router &r, control_server &server, const stop_signals &signals, const bool &stopping)
{
    ktime_t reclaim_at = ktime_get() + RECLAIM_DELAY;
    watchdog dog(r.rt());
    while (!stopping) {
        pollfd fds[] = {{signals.fd(), POLLIN, 0},
                        {server.fd(), POLLIN, 0},
                        {r.core().control_fd(), POLLIN, 0},
                        {r.kernel().fd(), POLLIN, 0}};
        wait_for(fds, std::min({server.deadline(), reclaim_at, dog.due(), r.scaler().due(), r.trace().due()}));
        if (fds[0].revents) {
            log_line(log_level::info, "program", "stopping on a signal");
            return;
        }
        if (fds[1].revents || server.deadline() <= ktime_get()) {
            server.process();
        }
        if (fds[2].revents) {
            r.core().run_control();
        }
        if (fds[3].revents) {
            r.kernel().process();
        }
        if (r.scaler().due() <= ktime_get()) {
            r.scaler().look();
        }
        r.trace().look();
        if (dog.due() <= ktime_get()) {
            dog.feed();
        }
        const bool changed = fds[1].revents || fds[2].revents || fds[3].revents; // a request may be a reload
        if (changed || reclaim_at <= ktime_get()) { // retried until the grace period is over
            reclaim_at = r.fwd().reclaim() ? KTIME_MAX : ktime_get() + RECLAIM_DELAY;
        }
    }
    log_line(log_level::info, "program", "stopping on request");
}

/// Raises the soft limit of open files to the hard limit: each queue and each client needs an fd. Nothing here uses
/// select(), which fails on high fds.
void raise_file_limit()
{
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

} // namespace

void run(const config &cfg)
{
    raise_file_limit();
    const stop_signals signals;
    log_open(cfg.log);
    router *running = nullptr;
    bool stopping = false;
    // `server` is made first: a second instance is refused before it touches a device. It is destroyed last: a client
    // sees the end of its connection when everything is down.
    control_server server(cfg.control,
                          [&](const nlohmann::json &request) { return serve_request(*running, request, stopping); });
    router r(cfg);
    running = &r;
    const std::string about = "forwarding between " + std::to_string(cfg.ports.size()) + " ports";
    log_line(log_level::info, "program", about + "; control socket " + cfg.control);
    sd_notify("READY=1\nSTATUS=" + about);
    run_until_stopped(r, server, signals, stopping);
    sd_notify("STOPPING=1");
    log_close();
}

} // namespace halfpoll
