// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/router/router.hpp"

#include <nlohmann/json.hpp>

#include <string>

namespace halfpoll
{

/// Answers one control request: {"show": WHAT, …}, {"set": WHAT, "name": …, "values": {…}}, {"reload": FILE or "",
/// "dry_run": …}, {"cpu": "online" or "offline", "number": …}, {"xdp": "attach" or "detach", "port": …, "program": …,
/// "queue": …, "config": …}, {"xdp_map": "update" or "delete", "map": …, "key": …, …}, {"trace": "begin", "events": …,
/// "ms": …}, {"trace": "end"}, {"trace": "forget"} or {"stop": true}, which sets `stopping`. Throws `error` for any
/// other request.
nlohmann::json serve_request(router &r, const nlohmann::json &request, bool &stopping);

// One function for each WHAT. Keys are the names that the tables show; counters are sums over CPUs unless the key says
// "cpu".
nlohmann::json show_status(router &r);
nlohmann::json show_interfaces(router &r);
nlohmann::json show_napi(router &r);
nlohmann::json show_softnet(router &r);
nlohmann::json show_cpu(router &r);
nlohmann::json show_softirqs(router &r);
nlohmann::json show_rps(router &r);
nlohmann::json show_xdp(router &r);
nlohmann::json show_xdp_map(router &r);
nlohmann::json show_drops(router &r, bool all);
nlohmann::json show_punt(router &r);
nlohmann::json show_policy(router &r);

/// Changes settings of "napi" or "rps" (an instance, or all instances of an interface), "runtime", "punt" (a class),
/// "autoscale" or "log": all of the values or none.
nlohmann::json serve_set(router &r, const std::string &what, const std::string &name, const nlohmann::json &values);
/// Takes a runtime CPU offline or back online.
nlohmann::json serve_cpu(router &r, const std::string &what, const nlohmann::json &number);
/// Updates or deletes an entry of a redirect map.
nlohmann::json serve_xdp_map(router &r, const std::string &what, const nlohmann::json &request);
/// Attaches or detaches an XDP program.
nlohmann::json serve_xdp(router &r, const std::string &what, const nlohmann::json &request);
/// Begins, ends or forgets a trace, for one client at a time.
nlohmann::json serve_trace(router &r, const std::string &what, const nlohmann::json &request);
/// Reads a configuration and changes to it; with `dry_run`, only reports what would change.
nlohmann::json serve_reload(router &r, const std::string &file, bool dry_run);

} // namespace halfpoll
