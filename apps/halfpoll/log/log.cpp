// SPDX-License-Identifier: BSD-3-Clause
#include "log.hpp"
#include "log_limit.hpp"

#include <halfpoll/error.hpp>

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

constexpr const char *PLAIN_PATTERN = "halfpoll: %v";
constexpr const char *FILE_PATTERN = "%Y-%m-%dT%H:%M:%S.%e%z %l %v";
constexpr const char *JOURNAL_PATTERN = "%v"; // the journal adds program and time

/// The prefix of a line from which the journal takes the priority, see sd-daemon(3).
const char *journal_prefix(spdlog::level::level_enum level)
{
    switch (level) {
    case spdlog::level::trace:
    case spdlog::level::debug:
        return "<7>";
    case spdlog::level::info:
        return "<6>";
    case spdlog::level::warn:
        return "<4>";
    default:
        return "<3>";
    }
}

/// Writes to stderr only what stderr accepts without blocking: a slow reader never delays the control thread.
class stderr_sink final : public spdlog::sinks::base_sink<std::mutex>
{
public:
    explicit stderr_sink(bool journal) : journal_(journal) {}

private:
    void sink_it_(const spdlog::details::log_msg &message) override
    {
        spdlog::memory_buf_t line;
        if (journal_) {
            line.append(std::string_view(journal_prefix(message.level)));
        }
        formatter_->format(message, line);
        pollfd p{STDERR_FILENO, POLLOUT, 0};
        if (poll(&p, 1, 0) == 1 && (p.revents & POLLOUT)) {
            (void)!write(STDERR_FILENO, line.data(), line.size());
        }
    }
    void flush_() override {}

    bool journal_;
};

/// True if stderr is connected to the journal; systemd names that socket in JOURNAL_STREAM.
bool stderr_is_the_journal()
{
    const char *stream = std::getenv("JOURNAL_STREAM");
    struct stat st;
    return stream && fstat(STDERR_FILENO, &st) == 0 &&
           stream == std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino);
}

spdlog::level::level_enum level_of(log_level level)
{
    constexpr std::array levels = {spdlog::level::debug, spdlog::level::info, spdlog::level::warn, spdlog::level::err};
    return levels[static_cast<std::size_t>(level)];
}

std::shared_ptr<spdlog::logger> make_logger(const log_config &config)
{
    const bool file = config.target.starts_with('/');
    const bool journal = config.target == "journal" || (config.target == "auto" && stderr_is_the_journal());
    spdlog::sink_ptr sink;
    if (file) {
        try {
            sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(config.target);
        } catch (const spdlog::spdlog_ex &e) {
            throw error("[log] target " + config.target + ": cannot be written to (" + e.what() + ")");
        }
    } else {
        sink = std::make_shared<stderr_sink>(journal);
    }
    auto logger = std::make_shared<spdlog::logger>("halfpoll", sink);
    logger->set_pattern(file ? FILE_PATTERN : journal ? JOURNAL_PATTERN : PLAIN_PATTERN);
    logger->set_level(level_of(config.level));
    logger->flush_on(spdlog::level::trace);
    logger->set_error_handler([](const std::string &) {}); // a full disk does not stop the program
    return logger;
}

struct state {
    std::mutex mutex;
    std::shared_ptr<spdlog::logger> logger = make_logger({});
    log_limit limit{LOG_BURST, LOG_INTERVAL_SECONDS *NSEC_PER_SEC};
};

state &the_log()
{
    static state log;
    return log;
}

} // namespace

const std::vector<std::string_view> &log_level_names()
{
    static const std::vector<std::string_view> names = {"debug", "info", "warning", "error"};
    return names;
}

const char *to_string(log_level level) noexcept { return log_level_names()[static_cast<std::size_t>(level)].data(); }

void log_open(const log_config &config)
{
    auto logger = make_logger(config);
    const std::lock_guard lock(the_log().mutex);
    the_log().logger = std::move(logger);
}

void log_line(log_level level, std::string_view kind, const std::string &text)
{
    state &log = the_log();
    const std::lock_guard lock(log.mutex);
    if (!log.logger->should_log(level_of(level))) {
        return;
    }
    const log_limit::verdict verdict = log.limit.pass(kind, ktime_get());
    if (!verdict.passes) {
        return;
    }
    const std::string before =
        verdict.left_out ? " (" + std::to_string(verdict.left_out) + " such messages left out before)" : "";
    log.logger->log(level_of(level), text + before);
}

void log_close()
{
    state &log = the_log();
    const std::lock_guard lock(log.mutex);
    for (const auto &[kind, count] : log.limit.take_left_out()) {
        log.logger->info("{} messages about {} left out", count, kind);
    }
    log.logger->flush();
}

} // namespace halfpoll
