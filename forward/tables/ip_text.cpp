// SPDX-License-Identifier: BSD-3-Clause
#include "ip_text.hpp"

#include <arpa/inet.h>
#include <charconv>

namespace halfpoll
{

std::string to_string(const ip_addr &addr)
{
    char text[INET6_ADDRSTRLEN] = "";
    if (addr.family != AF_UNSPEC) {
        inet_ntop(addr.family, addr.bytes.data(), text, sizeof text);
    }
    return text;
}

std::string to_string(const ip_prefix &prefix) { return to_string(prefix.addr) + "/" + std::to_string(prefix.len); }

std::optional<ip_addr> parse_address(const std::string &text)
{
    for (const std::uint8_t family : {AF_INET, AF_INET6}) {
        ip_addr addr{family, {}};
        if (inet_pton(family, text.c_str(), addr.bytes.data()) == 1) {
            return addr;
        }
    }
    return std::nullopt;
}

std::optional<ip_prefix> parse_prefix(const std::string &text)
{
    const std::size_t slash = text.find('/');
    const auto addr = parse_address(text.substr(0, slash));
    if (!addr || slash == std::string::npos) {
        return std::nullopt;
    }
    unsigned len = 0;
    const char *end = text.data() + text.size();
    const auto [stop, problem] = std::from_chars(text.data() + slash + 1, end, len);
    if (problem != std::errc{} || stop != end || len > address_bits(addr->family)) {
        return std::nullopt;
    }
    return make_prefix(*addr, len);
}

} // namespace halfpoll
