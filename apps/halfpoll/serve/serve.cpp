// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"
#include "show_tables.hpp"

namespace halfpoll
{

namespace
{

using nlohmann::json;

json show(router &r, const std::string &what, const json &request)
{
    if (what == "status") {
        return show_status(r);
    }
    if (what == "interfaces") {
        return show_interfaces(r);
    }
    if (what == "napi") {
        return show_napi(r);
    }
    if (what == "softnet") {
        return show_softnet(r);
    }
    if (what == "cpu") {
        return show_cpu(r);
    }
    if (what == "softirqs") {
        return show_softirqs(r);
    }
    if (what == "rps") {
        return show_rps(r);
    }
    if (what == "xdp") {
        return show_xdp(r);
    }
    if (what == "xdp_map") {
        return show_xdp_map(r);
    }
    if (what == "drops") {
        return show_drops(r, value_or(request, "all", false));
    }
    if (what == "punt") {
        return show_punt(r);
    }
    if (what == "policy") {
        return show_policy(r);
    }
    if (what == "fib") {
        return show_fib(r, parse_filter(request));
    }
    if (what == "route") {
        return show_route(r, parse_filter(request));
    }
    if (what == "neigh") {
        return show_neigh(r, parse_filter(request));
    }
    if (what == "nexthop") {
        return show_nexthop(r, parse_filter(request));
    }
    throw error("bad request: nothing called \"" + what + "\" to show");
}

} // namespace

json serve_request(router &r, const json &request, bool &stopping)
{
    if (request.contains("show")) {
        return show(r, value_or(request, "show", std::string()), request);
    }
    if (request.contains("set")) {
        return serve_set(r, value_or(request, "set", std::string()), value_or(request, "name", std::string()),
                         value_or(request, "values", json::object()));
    }
    if (request.contains("cpu")) {
        return serve_cpu(r, value_or(request, "cpu", std::string()), request.value("number", json()));
    }
    if (request.contains("xdp_map")) {
        return serve_xdp_map(r, value_or(request, "xdp_map", std::string()), request);
    }
    if (request.contains("xdp")) {
        return serve_xdp(r, value_or(request, "xdp", std::string()), request);
    }
    if (request.contains("trace")) {
        return serve_trace(r, value_or(request, "trace", std::string()), request);
    }
    if (request.contains("reload")) {
        return serve_reload(r, value_or(request, "reload", std::string()), value_or(request, "dry_run", false));
    }
    if (value_or(request, "stop", false)) {
        stopping = true;
        return {{"stopping", true}};
    }
    throw error(
        "bad request: expected \"show\", \"set\", \"cpu\", \"xdp\", \"xdp_map\", \"trace\", \"reload\" or \"stop\"");
}

} // namespace halfpoll
