// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "packet.hpp"

#include <halfpoll/xdp_program.h>

#include <array>
#include <atomic>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace halfpoll
{

/// A mistake in the configuration of a program: "filter:3:12: found …, expected …".
struct settings_error : std::runtime_error {
    using runtime_error::runtime_error;
};

struct ip_range {
    unsigned version = 0, length = 0;
    ip_number first, last;
};

/// One line of a program's configuration: words separated by blanks. If the expected word is missing or wrong, the
/// functions throw settings_error with its place.
class settings_line
{
public:
    settings_line(std::string_view text, std::string file, unsigned number)
        : text_(text), file_(std::move(file)), number_(number)
    {
    }

    /// Whether another word follows.
    bool more();
    /// Takes the next word; `expected` describes it in the error.
    std::string word(std::string_view expected);
    /// Takes the next word if it is `word`, and returns whether it did.
    bool take(std::string_view word);
    /// Takes a number from `least` to `most`.
    std::uint64_t number(std::string_view expected, std::uint64_t least, std::uint64_t most);
    /// Takes a prefix or an address.
    ip_range prefix();
    /// Takes an Ethernet address.
    std::array<std::uint8_t, 6> mac();
    /// Throws if another word follows.
    void end();
    /// Throws an error about the word that was taken last.
    [[noreturn]] void fail(std::string_view expected) const;

private:
    friend class settings;
    std::string_view text_;
    std::size_t at_ = 0, start_ = 0;
    std::string file_;
    unsigned number_;
};

/// Reads a configuration line by line. `#` starts a comment; `include PATH` stands for the lines of that file.
class settings
{
public:
    explicit settings(std::string text, std::string file, unsigned depth = 0);
    /// Calls read(settings_line &) for each line that has words. Throws settings_error.
    template <typename Read>
    void each(const Read &read);

private:
    bool next(settings_line &line);
    static settings included(settings_line &line, unsigned depth);

    std::string text_, file_;
    std::size_t at_ = 0;
    unsigned line_ = 0, depth_;
};

template <typename Read>
void settings::each(const Read &read)
{
    for (settings_line line("", file_, 0); next(line);) {
        if (line.take("include")) {
            included(line, depth_ + 1).each(read);
        } else {
            read(line);
            line.end();
        }
    }
}

/// The open() of a program whose instances are of class `Program`, constructed from host and configuration. Returns 0,
/// or after host->error(): -EINVAL (a mistake in the configuration), -ENOMEM, -EIO (any other exception). No exception
/// may leave a shared object.
template <typename Program>
int open_program(const halfpoll_xdp_host *host, const char *config, void **state) noexcept
{
    try {
        *state = new Program(*host, config);
        return 0;
    } catch (const settings_error &e) {
        host->error(host->ctx, e.what());
        return -EINVAL;
    } catch (const std::bad_alloc &) {
        host->error(host->ctx, "no memory for the program's tables; lower its sizes");
        return -ENOMEM;
    } catch (const std::exception &e) {
        host->error(host->ctx, e.what());
        return -EIO;
    }
}

/// A counter of one CPU, which any thread may read.
class counter
{
public:
    /// Only the CPU that owns the counter writes it, hence no read-modify-write. Pairs with get() in show().
    void add() { value_.store(get() + 1, std::memory_order_relaxed); }
    std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> value_{0};
};

/// The sum of one counter over all CPUs, for show().
template <typename Cpu>
unsigned long long total(const std::vector<Cpu> &cpus, counter Cpu::*what)
{
    unsigned long long sum = 0;
    for (const Cpu &cpu : cpus) {
        sum += (cpu.*what).get();
    }
    return sum;
}

} // namespace halfpoll
