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

/// A mistake in a program's configuration: "filter:3:12: found …, expected …".
struct settings_error : std::runtime_error {
    using runtime_error::runtime_error;
};

struct ip_range {
    unsigned version = 0, length = 0;
    ip_number first, last;
};

/// One line of a program's configuration: words with blanks between them. What is asked for and is not there is a
/// settings_error that says where.
class settings_line
{
public:
    settings_line(std::string_view text, std::string file, unsigned number)
        : text_(text), file_(std::move(file)), number_(number)
    {
    }

    /// Whether a word is left.
    bool more();
    /// The next one; `expected` says what it should be.
    std::string word(std::string_view expected);
    /// Takes the next word if it is this one.
    bool take(std::string_view word);
    std::uint64_t number(std::string_view expected, std::uint64_t least, std::uint64_t most);
    /// A prefix or an address.
    ip_range prefix();
    /// An Ethernet address.
    std::array<std::uint8_t, 6> mac();
    /// Refuses words that are left.
    void end();
    /// About the word that was taken last.
    [[noreturn]] void fail(std::string_view expected) const;

private:
    friend class settings;
    std::string_view text_;
    std::size_t at_ = 0, start_ = 0;
    std::string file_;
    unsigned number_;
};

/// Reads a configuration line by line; `#` starts a comment, and `include PATH` stands for the lines of that file.
class settings
{
public:
    explicit settings(std::string text, std::string file, unsigned depth = 0);
    /// Calls read(settings_line &) for each line that has words.
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

/// The open() of a program whose instances are of class `Program`, made from host and configuration: no exception may
/// leave a shared object.
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

/// Counts on one CPU; read from any.
class counter
{
public:
    /// The only writer is the CPU that owns it, hence no read-modify-write. Pairs with get() in show().
    void add() { value_.store(get() + 1, std::memory_order_relaxed); }
    std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> value_{0};
};

/// Of one counter on all CPUs, as show() prints it.
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
