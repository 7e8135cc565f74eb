// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "router.hpp"

#include <nlohmann/json.hpp>

#include <string>

namespace halfpoll
{

/// Answers one control request: {"show": WHAT, …}, {"set": "napi", "name": …, "values": {…}} or {"stop": true}, which
/// sets `stopping`. Throws `error` for what it does not understand.
nlohmann::json serve_request(router &r, const nlohmann::json &request, bool &stopping);

// One for each WHAT. Keys are the names that the tables show; counters are sums over CPUs unless they say "cpu".
nlohmann::json show_status(router &r);
nlohmann::json show_interfaces(router &r);
nlohmann::json show_napi(router &r);
nlohmann::json show_softnet(router &r);
nlohmann::json show_softirqs(router &r);
nlohmann::json show_drops(router &r, bool all);
nlohmann::json show_punt(router &r);
/// At most `limit` prefixes of each family.
nlohmann::json show_fib(router &r, std::size_t limit);
/// Where a packet to `address` goes.
nlohmann::json show_route(router &r, const std::string &address);

/// Changes settings of a NAPI instance, or of all of an interface, under the kernel's names.
nlohmann::json set_napi(router &r, const std::string &name, const nlohmann::json &values);

/// As `ip` writes it.
std::string lladdr_text(const rte_ether_addr &lladdr);

} // namespace halfpoll
