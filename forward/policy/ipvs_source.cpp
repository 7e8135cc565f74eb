// SPDX-License-Identifier: BSD-3-Clause
#include "ipvs_source.hpp"

#include "policy.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>
#include <string_view>
#include <sys/socket.h>
#include <utility>

namespace halfpoll
{

namespace
{

constexpr std::size_t most_texts = 8; // of a family
constexpr std::size_t services_size = 64 << 20;
constexpr std::size_t connections_size = 1 << 20;
constexpr int service_head = 3; // lines of /proc/net/ip_vs
constexpr std::uint8_t families[] = {AF_INET, AF_INET6};

std::uint32_t from_hex(std::string_view digits)
{
    std::uint32_t value = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    return value;
}

/// "0A000001" -> "10.0.0.1"; "[2001:0db8:0000:...]" -> "[2001:db8::1]".
std::string address_text(const std::string &address)
{
    char text[INET6_ADDRSTRLEN] = "?";
    if (!address.starts_with('[')) {
        const in_addr ip4{.s_addr = htonl(from_hex(address))};
        return inet_ntop(AF_INET, &ip4, text, sizeof text);
    }
    in6_addr ip6{};
    if (inet_pton(AF_INET6, address.substr(1, address.size() - 2).c_str(), &ip6) == 1) {
        inet_ntop(AF_INET6, &ip6, text, sizeof text);
    }
    return "[" + std::string(text) + "]";
}

/// `service`: as the kernel writes it, "0A000001:0050". A service of a firewall mark has no address and may be of
/// either family.
policy_reason reason_of(const std::string &protocol, const std::string &service)
{
    const std::size_t colon = service.rfind(':');
    if (colon == std::string::npos) {
        return {.text = "ipvs " + protocol + " " + std::to_string(from_hex(service))};
    }
    return {.family = static_cast<std::uint8_t>(service.starts_with('[') ? AF_INET6 : AF_INET),
            .text = "ipvs " + protocol + " " + address_text(service.substr(0, colon)) + ":" +
                    std::to_string(from_hex(std::string_view(service).substr(colon + 1)))};
}

bool concerns(const std::vector<policy_reason> &reasons, std::uint8_t family)
{
    return std::ranges::any_of(
        reasons, [family](const policy_reason &r) { return r.family == family || r.family == AF_UNSPEC; });
}

} // namespace

std::vector<policy_reason> ipvs_services(const std::string &text)
{
    std::vector<policy_reason> reasons;
    std::map<std::uint8_t, std::size_t> found; // family -> services
    std::istringstream lines(text);
    std::string line;
    for (int number = 0; std::getline(lines, line); ++number) {
        std::istringstream words(line);
        std::string protocol, service;
        if (number < service_head || !(words >> protocol >> service) || protocol == "->") {
            continue;
        }
        policy_reason reason = reason_of(protocol, service);
        if (++found[reason.family] <= most_texts) {
            reasons.push_back(std::move(reason));
        }
    }
    for (const auto &[family, count] : found) {
        if (count > most_texts) {
            reasons.push_back({.family = family, .text = "ipvs: " + std::to_string(count - most_texts) + " more"});
        }
    }
    return reasons;
}

std::set<std::uint8_t> ipvs_connections(const std::string &text)
{
    std::set<std::uint8_t> found;
    std::istringstream lines(text);
    std::string line;
    std::getline(lines, line); // the head
    while (found.size() < std::size(families) && std::getline(lines, line)) {
        std::istringstream words(line);
        std::string protocol, client;
        words >> protocol >> client;
        found.insert(client.find(':') == std::string::npos ? AF_INET : AF_INET6);
    }
    return found;
}

ipvs_source::ipvs_source(policy &policies, const epoll_set &events, const std::string &netns)
    : policies_(policies), netns_(netns), timer_(events)
{
    process();
}

void ipvs_source::process()
{
    if (timer_.due()) {
        try {
            look();
        } catch (const error &e) {
            policies_.doubt(policy_kind::ipvs, e.what());
        }
    }
}

void ipvs_source::look()
{
    const netns_scope inside = netns_.enter();
    std::vector<policy_reason> reasons;
    if (const auto text = read_proc_net("ip_vs", services_size)) {
        if (text->size() >= services_size) {
            throw error("too many services");
        }
        reasons = ipvs_services(*text);
        add_connections(reasons);
    }
    policies_.replace(policy_kind::ipvs, std::move(reasons));
}

/// The kernel may go on to translate connections after their service was removed.
void ipvs_source::add_connections(std::vector<policy_reason> &reasons)
{
    std::optional<std::string> text;
    for (const std::uint8_t family : families) {
        if (concerns(reasons, family)) {
            clean_.erase(family);
        } else if (!clean_.contains(family)) {
            text = text ? text : read_proc_net("ip_vs_conn", connections_size).value_or("");
            if (text->size() < connections_size && !ipvs_connections(*text).contains(family)) {
                clean_.insert(family);
            } else {
                reasons.push_back({.family = family, .text = "ipvs connections of former services"});
            }
        }
    }
}

} // namespace halfpoll
