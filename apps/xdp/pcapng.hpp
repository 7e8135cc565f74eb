// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace halfpoll
{

/// A pcapng capture, written to the file PATH. When that is full, it is renamed to PATH.1, PATH.1 to PATH.2 and so on,
/// and a new PATH is begun.
class pcapng_file
{
public:
    /// Begins a new PATH. Keeps `most_files` files of at most `most_bytes` bytes each; with one file, packets that do
    /// not fit are refused.
    pcapng_file(std::string path, std::uint64_t most_bytes, unsigned most_files)
        : path_(std::move(path)), most_bytes_(most_bytes), most_files_(most_files)
    {
        begin();
    }
    ~pcapng_file() { close(); }
    pcapng_file(const pcapng_file &) = delete;
    pcapng_file &operator=(const pcapng_file &) = delete;

    bool is_open() const { return file_; }

    /// Writes a packet of `length` bytes, of which `bytes` is the beginning, received at `time` in ns since 1970.
    /// False: the packet is not in the file, because that is full or cannot be written.
    bool packet(std::uint32_t ifindex, std::uint64_t time, std::span<const std::uint8_t> bytes, std::uint32_t length)
    {
        if (file_ && most_files_ > 1 && written_ + room(bytes.size()) > most_bytes_) {
            rotate();
        }
        if (!file_ || written_ + room(bytes.size()) > most_bytes_) {
            return false;
        }
        const std::uint32_t head[] = {interface(ifindex), static_cast<std::uint32_t>(time >> 32),
                                      static_cast<std::uint32_t>(time), static_cast<std::uint32_t>(bytes.size()),
                                      length};
        block(6, as_bytes(head), bytes);
        return file_;
    }

    /// Makes the bytes written so far visible to readers.
    void flush()
    {
        if (file_ && std::fflush(file_) != 0) {
            close();
        }
    }

private:
    template <typename T, std::size_t N>
    static std::span<const std::uint8_t> as_bytes(const T (&what)[N])
    {
        return {reinterpret_cast<const std::uint8_t *>(what), sizeof what};
    }

    /// Most bytes in the file that a packet takes, including the description of its interface.
    static std::uint64_t room(std::size_t bytes) { return 32 + 4 + bytes + 32; }

    void begin()
    {
        constexpr std::uint32_t head[] = {0x1A2B3C4D, 1, ~0U, ~0U}; // byte order, version 1.0, unknown length
        std::error_code none;
        if (std::filesystem::is_regular_file(path_, none)) {
            // A program that still writes to the old file must not write to the new one.
            std::filesystem::remove(path_, none);
        }
        file_ = std::fopen(path_.c_str(), "wbx");
        written_ = 0;
        interfaces_.clear();
        block(0x0A0D0D0A, as_bytes(head), {});
    }

    void close()
    {
        if (file_) {
            std::fclose(file_);
            file_ = nullptr;
        }
    }

    void rotate()
    {
        close();
        std::error_code error; // ignored: a file that cannot be renamed is overwritten
        for (unsigned n = most_files_ - 1; n > 0; --n) {
            const std::string newer = n == 1 ? path_ : path_ + "." + std::to_string(n - 1);
            std::filesystem::rename(newer, path_ + "." + std::to_string(n), error);
        }
        begin();
    }

    /// The number of an interface in this file. Describes the interface when it appears first: Ethernet, times in ns.
    std::uint32_t interface(std::uint32_t ifindex)
    {
        const auto found = std::ranges::find(interfaces_, ifindex);
        const auto number = static_cast<std::uint32_t>(found - interfaces_.begin());
        if (found == interfaces_.end()) {
            interfaces_.push_back(ifindex);
            constexpr std::uint32_t head[] = {1, 0};
            const std::uint8_t resolution[] = {9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0};
            block(1, as_bytes(head), resolution);
        }
        return number;
    }

    /// Writes a block: type, length, two pieces, padding and the length again.
    void block(std::uint32_t type, std::span<const std::uint8_t> head, std::span<const std::uint8_t> body)
    {
        const std::size_t padding = (4 - body.size() % 4) % 4;
        const auto length = static_cast<std::uint32_t>(12 + head.size() + body.size() + padding);
        const std::uint32_t front[] = {type, length}, back[] = {length};
        put(as_bytes(front));
        put(head);
        put(body);
        constexpr std::uint8_t zeros[4] = {};
        put(std::span(zeros).first(padding));
        put(as_bytes(back));
    }

    void put(std::span<const std::uint8_t> bytes)
    {
        if (file_ && !bytes.empty() && std::fwrite(bytes.data(), bytes.size(), 1, file_) != 1) {
            close();
        }
        written_ += bytes.size();
    }

    const std::string path_;
    const std::uint64_t most_bytes_;
    const unsigned most_files_;
    std::FILE *file_ = nullptr;
    std::uint64_t written_ = 0;
    std::vector<std::uint32_t> interfaces_;
};

} // namespace halfpoll
