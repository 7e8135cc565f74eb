// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "eventually.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <signal.h>
#include <string>
#include <thread>
#include <unistd.h>

namespace halfpoll::test
{

/// Output, error output and exit status of a shell command.
struct command_result {
    int status = -1;
    std::string output;
};
inline command_result run(const std::string &command)
{
    command_result result;
    FILE *pipe = popen((command + " 2>&1").c_str(), "r");
    std::array<char, 4096> buffer;
    while (const std::size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) {
        result.output.append(buffer.data(), n);
    }
    result.status = pclose(pipe);
    return result;
}

/// A network namespace of this test's own. The constructor first removes those that dead test programs left.
class test_netns
{
public:
    explicit test_netns(const std::string &part)
    {
        const std::string prefix = "hp-" + part + "-";
        remove_stale(prefix);
        static int number = 0;
        name_ = prefix + std::to_string(getpid()) + "-" + std::to_string(number++);
        const command_result made = run("ip netns add " + name_);
        if (made.status != 0) {
            throw std::runtime_error("ip netns add " + name_ + ": " + made.output);
        }
        ip("link set lo up");
    }
    ~test_netns() { run("ip netns del " + name_); }
    test_netns(const test_netns &) = delete;
    test_netns &operator=(const test_netns &) = delete;

    const std::string &name() const { return name_; }
    /// Runs `ip -n NAME ARGUMENTS`, which must succeed, and returns its output.
    std::string ip(const std::string &arguments) const
    {
        const command_result result = run("ip -n " + name_ + " " + arguments);
        EXPECT_EQ(result.status, 0) << "ip " << arguments << ": " << result.output;
        return result.output;
    }
    /// Runs a command inside, which must succeed, and returns its output.
    std::string exec(const std::string &command) const
    {
        const command_result result = run("ip netns exec " + name_ + " " + command);
        EXPECT_EQ(result.status, 0) << command << ": " << result.output;
        return result.output;
    }

private:
    static void remove_stale(const std::string &prefix)
    {
        std::error_code none;
        for (const auto &entry : std::filesystem::directory_iterator("/run/netns", none)) {
            const std::string name = entry.path().filename();
            if (name.starts_with(prefix) && kill(std::atoi(name.c_str() + prefix.size()), 0) != 0) {
                run("ip netns del " + name);
            }
        }
    }
    std::string name_;
};

} // namespace halfpoll::test
