// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>

namespace halfpoll::test
{

/// A program in the folder of the test program, driven by lines through its stdin and stdout. It is killed if it does
/// not exit by itself.
class child_process
{
public:
    child_process(const std::string &program, const std::string &argument)
    {
        const std::string path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / program;
        int in[2], out[2];
        if (pipe2(in, O_CLOEXEC) != 0) {
            throw_errno(errno, "pipe");
        }
        in_ = in[1];
        if (pipe2(out, O_CLOEXEC) != 0) {
            const int err = errno;
            ::close(in[0]);
            ::close(in[1]);
            throw_errno(err, "pipe");
        }
        out_ = out[0];
        posix_spawn_file_actions_t files;
        posix_spawn_file_actions_init(&files);
        posix_spawn_file_actions_adddup2(&files, in[0], STDIN_FILENO);
        posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
        char *const argv[] = {const_cast<char *>(path.c_str()), const_cast<char *>(argument.c_str()), nullptr};
        const int err = posix_spawn(&pid_, path.c_str(), &files, nullptr, argv, environ);
        posix_spawn_file_actions_destroy(&files);
        ::close(in[0]);
        ::close(out[1]);
        if (err != 0) {
            ::close(in_);
            ::close(out_);
            throw_errno(err, path);
        }
    }
    ~child_process()
    {
        if (pid_ > 0) {
            kill(pid_, SIGKILL);
            waitpid(pid_, nullptr, 0);
        }
        close_stdin();
        ::close(out_);
    }
    child_process(const child_process &) = delete;
    child_process &operator=(const child_process &) = delete;

    /// Sends a line and returns the answer; empty if there is none.
    std::string ask(const std::string &line)
    {
        const std::string s = line + '\n';
        return write(in_, s.data(), s.size()) == static_cast<ssize_t>(s.size()) ? read_line() : "";
    }
    void signal(int number) { kill(pid_, number); }
    /// Closes its stdin and waits at most a minute for its exit. Returns its wait status, or -1 if it is still running.
    int end()
    {
        close_stdin();
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        int status;
        while (waitpid(pid_, &status, WNOHANG) != pid_) {
            if (std::chrono::steady_clock::now() > deadline) {
                return -1;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        pid_ = -1;
        return status;
    }

private:
    /// Returns an empty line at the end of its output, or after a minute without output.
    std::string read_line()
    {
        std::string line;
        for (;;) {
            pollfd fd{out_, POLLIN, 0};
            char c;
            if (poll(&fd, 1, 60'000) != 1 || read(out_, &c, 1) != 1) {
                return "";
            }
            if (c == '\n') {
                return line;
            }
            line += c;
        }
    }
    void close_stdin()
    {
        if (in_ >= 0) {
            ::close(in_);
            in_ = -1;
        }
    }

    pid_t pid_ = -1;
    int in_ = -1, out_ = -1;
};

} // namespace halfpoll::test
