// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"

#include <algorithm>
#include <string>
#include <sys/socket.h>
#include <vector>

namespace halfpoll
{

namespace
{

using nlohmann::json;

constexpr std::size_t texts_shown = 4;

/// Whether packets that come in by the interface itself do not leave the kernel.
bool passes(const interface_policy &policy)
{
    const net_device &dev = *policy.port->dev;
    return dev.passing && dev.pass.shadow == policy.ifindex && (policy.family == AF_INET ? dev.pass.ip4 : dev.pass.ip6);
}

const char *way(bool kernel) { return kernel ? "kernel" : "fast"; }

/// What an administrator would look for, each text once: of 10,000 chains of a firewall only the first ones.
std::string why_of(const interface_policy &policy)
{
    std::vector<std::string> texts;
    for (const auto &reason : policy.reasons) {
        const std::string text = reason.text + (reason.obeyed ? "" : " (not obeyed)");
        if (std::ranges::find(texts, text) == texts.end()) {
            texts.push_back(text);
        }
        if (texts.size() > texts_shown) {
            texts.back() = "and more (--json)";
            break;
        }
    }
    std::string why;
    for (const std::string &text : texts) {
        why += (why.empty() ? "" : ", ") + text;
    }
    return why;
}

json row_of(const interface_policy &policy)
{
    json reasons = json::array();
    for (const auto &reason : policy.reasons) {
        reasons.push_back({{"kind", reason.kind},
                           {"side", reason.side == policy_side::in ? "in" : "out"},
                           {"text", reason.text},
                           {"obeyed", reason.obeyed}});
    }
    return {{"interface", policy.name},         {"port", policy.port->dev->name},
            {"kernel_ifindex", policy.ifindex}, {"family", policy.family == AF_INET ? "IPv4" : "IPv6"},
            {"in", way(policy.kernel_in)},      {"out", way(policy.kernel_out)},
            {"passes", passes(policy)},         {"why", why_of(policy)},
            {"reasons", std::move(reasons)}};
}

} // namespace

json show_policy(router &r)
{
    json rows = json::array();
    r.kernel().visit_policies([&](const interface_policy &policy) { rows.push_back(row_of(policy)); });
    return {{"policy", rows}};
}

} // namespace halfpoll
