// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/log/log.hpp"
#include "apps/halfpoll/log/log_limit.hpp"
#include "apps/halfpoll/router/sd_notify.hpp"

#include <halfpoll/error.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace
{

using namespace halfpoll;
using testing::HasSubstr;
using testing::MatchesRegex;

// ---- limits ----

TEST(LogLimit, EachKindHasItsOwn)
{
    log_limit limit(3, 10);
    for (int i = 0; i < 3; ++i) {
        EXPECT_TRUE(limit.pass("link", 100).passes);
    }
    EXPECT_FALSE(limit.pass("link", 100).passes);
    EXPECT_FALSE(limit.pass("link", 109).passes);
    EXPECT_TRUE(limit.pass("reload", 109).passes);
    const log_limit::verdict next = limit.pass("link", 110);
    EXPECT_TRUE(next.passes);
    EXPECT_EQ(next.left_out, 2U);
    EXPECT_EQ(limit.pass("link", 111).left_out, 0U) << "said once";
}

TEST(LogLimit, WhatWasLeftOutIsToldOnce)
{
    log_limit limit(1, 10);
    limit.pass("a", 0);
    limit.pass("a", 1);
    limit.pass("b", 1);
    EXPECT_THAT(limit.take_left_out(), testing::ElementsAre(std::pair<std::string, unsigned>("a", 1)));
    EXPECT_THAT(limit.take_left_out(), testing::IsEmpty());
}

// ---- log targets ----

class LogTarget : public testing::Test
{
protected:
    LogTarget() : file_(testing::TempDir() + "service_test." + std::to_string(getpid())) {}
    ~LogTarget() override
    {
        log_open({});
        std::filesystem::remove(file_);
        std::filesystem::remove(file_ + ".1");
    }
    static std::string text(const std::string &file)
    {
        std::ostringstream all;
        all << std::ifstream(file).rdbuf();
        return all.str();
    }
    std::string stderr_of(const log_config &config, log_level level, const std::string &message)
    {
        testing::internal::CaptureStderr(); // a file, which never blocks
        log_open(config);
        log_line(level, testing::UnitTest::GetInstance()->current_test_info()->name(), message);
        log_open({});
        return testing::internal::GetCapturedStderr();
    }

    std::string file_;
};

TEST_F(LogTarget, AFileHasTimeAndLevelAndIsOpenedAnew)
{
    log_open({log_level::info, file_});
    log_line(log_level::warning, "file", "first");
    EXPECT_THAT(text(file_), MatchesRegex("[0-9-]+T[0-9:.]+[+-][0-9:]+ warning first\n"));
    std::filesystem::rename(file_, file_ + ".1"); // as logrotate does it
    log_open({log_level::info, file_});
    log_line(log_level::info, "file", "second");
    EXPECT_THAT(text(file_), HasSubstr("info second\n"));
    EXPECT_THAT(text(file_ + ".1"), testing::Not(HasSubstr("second")));
}

TEST_F(LogTarget, AFileThatCannotBeWrittenIsRefusedAndTheOldOneStays)
{
    log_open({log_level::info, file_});
    try {
        log_open({log_level::info, "/proc/no/such/file"});
        FAIL();
    } catch (const error &e) {
        EXPECT_THAT(e.what(), HasSubstr("/proc/no/such/file"));
    }
    log_line(log_level::info, "kept", "still here");
    EXPECT_THAT(text(file_), HasSubstr("still here"));
}

TEST_F(LogTarget, LevelsBelowAreSilent)
{
    EXPECT_EQ(stderr_of({log_level::warning, "stderr"}, log_level::info, "no"), "");
    EXPECT_EQ(stderr_of({log_level::warning, "stderr"}, log_level::warning, "yes"), "halfpoll: yes\n");
}

TEST_F(LogTarget, TheJournalGetsPriorities)
{
    EXPECT_EQ(stderr_of({log_level::debug, "journal"}, log_level::error, "e"), "<3>e\n");
    EXPECT_EQ(stderr_of({log_level::debug, "journal"}, log_level::warning, "w"), "<4>w\n");
    EXPECT_EQ(stderr_of({log_level::debug, "journal"}, log_level::info, "i"), "<6>i\n");
    EXPECT_EQ(stderr_of({log_level::debug, "journal"}, log_level::debug, "d"), "<7>d\n");
}

TEST_F(LogTarget, AutoSeesWhetherStderrIsTheJournal)
{
    testing::internal::CaptureStderr();
    struct stat st;
    ASSERT_EQ(fstat(STDERR_FILENO, &st), 0);
    setenv("JOURNAL_STREAM", (std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino)).c_str(), 1);
    log_open({log_level::info, "auto"});
    log_line(log_level::info, "auto", "to the journal");
    setenv("JOURNAL_STREAM", "1:1", 1); // the variable was inherited, but stderr was redirected since
    log_open({log_level::info, "auto"});
    log_line(log_level::info, "auto", "elsewhere");
    unsetenv("JOURNAL_STREAM");
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "<6>to the journal\nhalfpoll: elsewhere\n");
}

TEST_F(LogTarget, AFloodOfOneKindLeavesRoomForOthers)
{
    log_open({log_level::info, file_});
    for (unsigned i = 0; i < 1000; ++i) {
        log_line(log_level::info, "flood", "flap");
    }
    log_line(log_level::error, "other", "important");
    log_close();
    const std::string all = text(file_);
    EXPECT_THAT(all, HasSubstr("important"));
    EXPECT_THAT(all, HasSubstr("990 messages about flood left out"));
    EXPECT_LT(std::ranges::count(all, '\n'), 20);
}

// ---- the service manager ----

class Notify : public testing::Test
{
protected:
    /// Listens on `name`: a path, or '@' and an abstract name.
    void listen_on(const std::string &name)
    {
        fd_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        sockaddr_un addr{};
        addr.sun_family = AF_UNIX;
        name.copy(addr.sun_path, sizeof addr.sun_path - 1);
        if (name[0] == '@') {
            addr.sun_path[0] = '\0';
        }
        const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
        ASSERT_EQ(bind(fd_, reinterpret_cast<sockaddr *>(&addr), length), 0);
        setenv("NOTIFY_SOCKET", name.c_str(), 1);
        path_ = name;
    }
    ~Notify() override
    {
        close(fd_);
        unlink(path_.c_str());
        for (const char *variable : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) {
            unsetenv(variable);
        }
    }
    std::string received() const
    {
        char text[256];
        const ssize_t n = recv(fd_, text, sizeof text, 0);
        return n < 0 ? "nothing" : std::string(text, static_cast<std::size_t>(n));
    }

    int fd_ = -1;
    std::string path_;
};

TEST_F(Notify, ReachesASocketInTheFileSystem)
{
    listen_on(testing::TempDir() + "notify." + std::to_string(getpid()));
    sd_notify("READY=1\nSTATUS=fine");
    EXPECT_EQ(received(), "READY=1\nSTATUS=fine");
}

TEST_F(Notify, ReachesAnAbstractSocket)
{
    listen_on("@halfpoll-notify-" + std::to_string(getpid()));
    sd_notify("STOPPING=1");
    EXPECT_EQ(received(), "STOPPING=1");
}

TEST_F(Notify, NobodyListensAndNothingHappens)
{
    sd_notify("READY=1");
    setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
    sd_notify("READY=1");
}

TEST_F(Notify, TheWatchdogIsForThisProcessOnly)
{
    EXPECT_EQ(sd_watchdog_interval(), KTIME_MAX);
    setenv("WATCHDOG_USEC", "3000000", 1);
    EXPECT_EQ(sd_watchdog_interval(), 1'500 * NSEC_PER_MSEC);
    setenv("WATCHDOG_PID", "1", 1);
    EXPECT_EQ(sd_watchdog_interval(), KTIME_MAX);
    setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
    EXPECT_EQ(sd_watchdog_interval(), 1'500 * NSEC_PER_MSEC);
}

} // namespace
