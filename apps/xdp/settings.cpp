// SPDX-License-Identifier: BSD-3-Clause
#include "settings.hpp"

#include <arpa/inet.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace halfpoll
{
namespace
{

constexpr std::string_view BLANKS = " \t\r";
constexpr std::uintmax_t MOST_BYTES = 256 << 20;
constexpr unsigned MOST_DEPTH = 4;

bool to_number(std::string_view text, std::uint64_t &value)
{
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size();
}

} // namespace

bool settings_line::more()
{
    at_ = std::min(text_.find_first_not_of(BLANKS, at_), text_.size());
    return at_ < text_.size();
}

std::string settings_line::word(std::string_view expected)
{
    const bool there = more();
    start_ = at_;
    at_ = std::min(text_.find_first_of(BLANKS, at_), text_.size());
    if (!there) {
        fail(expected);
    }
    return std::string(text_.substr(start_, at_ - start_));
}

bool settings_line::take(std::string_view word)
{
    const std::string_view rest = more() ? text_.substr(at_) : "";
    if (rest.substr(0, rest.find_first_of(BLANKS)) != word) {
        return false;
    }
    start_ = at_;
    at_ += word.size();
    return true;
}

std::uint64_t settings_line::number(std::string_view expected, std::uint64_t least, std::uint64_t most)
{
    std::uint64_t value = 0;
    if (!to_number(word(expected), value) || value < least || value > most) {
        fail(std::string(expected) + " from " + std::to_string(least) + " to " + std::to_string(most));
    }
    return value;
}

ip_range settings_line::prefix()
{
    constexpr std::string_view expected = "an address or a prefix, such as 192.0.2.0/24 or 2001:db8::/32";
    const std::string text = word(expected);
    const std::size_t slash = std::min(text.find('/'), text.size());
    const unsigned version = text.find(':') == text.npos ? 4 : 6;
    std::uint8_t bytes[16];
    std::uint64_t length = version == 4 ? 32 : 128;
    const std::uint64_t most = length;
    if (inet_pton(version == 4 ? AF_INET : AF_INET6, text.substr(0, slash).c_str(), bytes) != 1 ||
        (slash < text.size() && !to_number(std::string_view(text).substr(slash + 1), length)) || length > most) {
        fail(expected);
    }
    const ip_number address = load_address(bytes, version);
    const auto bits = static_cast<unsigned>(length);
    return {version, bits, address.cut(bits), address.cut(bits, true)};
}

std::array<std::uint8_t, 6> settings_line::mac()
{
    constexpr std::string_view expected = "an Ethernet address, such as 02:00:00:00:00:01";
    const std::string text = word(expected);
    std::array<std::uint8_t, 6> bytes;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const std::string_view two = std::string_view(text).substr(std::min(3 * i, text.size()), 2);
        const auto [end, error] = std::from_chars(two.data(), two.data() + two.size(), bytes[i], 16);
        if (error != std::errc{} || two.size() != 2 || end != two.data() + 2 || text.size() != 17 ||
            (i < 5 && text[3 * i + 2] != ':')) {
            fail(expected);
        }
    }
    return bytes;
}

void settings_line::end()
{
    if (more()) {
        word("");
        fail("the end of the line");
    }
}

void settings_line::fail(std::string_view expected) const
{
    const std::string found(text_.substr(start_, at_ - start_));
    throw settings_error(file_ + ":" + std::to_string(number_) + ":" + std::to_string(start_ + 1) + ": found " +
                         (found.empty() ? "the end of the line" : found) + ", expected " + std::string(expected));
}

settings::settings(std::string text, std::string file, unsigned depth)
    : text_(std::move(text)), file_(std::move(file)), depth_(depth)
{
}

bool settings::next(settings_line &line)
{
    while (at_ < text_.size()) {
        const std::size_t end = std::min(text_.find('\n', at_), text_.size());
        std::string_view text = std::string_view(text_).substr(at_, end - at_);
        at_ = end + 1;
        line = settings_line(text.substr(0, text.find('#')), file_, ++line_);
        if (line.more()) {
            return true;
        }
    }
    return false;
}

settings settings::included(settings_line &line, unsigned depth)
{
    const std::string path = line.word("the path of a file");
    std::error_code error;
    if (depth > MOST_DEPTH) {
        line.fail("no more files that include files");
    }
    if (!std::filesystem::is_regular_file(path, error) || std::filesystem::file_size(path, error) > MOST_BYTES) {
        line.fail("a file of at most 256 MiB");
    }
    std::ifstream file(path);
    std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (!file) {
        line.fail("a file that can be read");
    }
    line.end();
    return settings(std::move(text), path, depth);
}

} // namespace halfpoll
