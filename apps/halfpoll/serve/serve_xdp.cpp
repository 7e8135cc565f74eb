// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"
#include "show_filter.hpp"

#include <algorithm>
#include <sstream>

namespace halfpoll
{

namespace
{

using nlohmann::json;

/// Parses the lines "name value" of a program; a value that is a number becomes a JSON number.
json figures_of(const xdp_program &program)
{
    json figures = json::object();
    std::istringstream lines(program.show());
    for (std::string line; std::getline(lines, line);) {
        const std::size_t blank = std::min(line.find(' '), line.size());
        const std::string value = line.substr(std::min(blank + 1, line.size()));
        const json number = json::parse(value, nullptr, false);
        figures[line.substr(0, blank)] = number.is_number() ? number : json(value);
    }
    return figures;
}

json queue_row(const net_device &dev, unsigned queue, const xdp_placement &placement)
{
    const xdp_counters counters = xdp_counters_of(dev, queue);
    return {{"name", dev.name + "-" + std::to_string(queue)},
            {"interface", dev.name},
            {"queue", queue},
            {"program", placement.from.name},
            {"pass", counters.pass},
            {"drop", counters.drop},
            {"tx", counters.tx},
            {"redirect", counters.redirect},
            {"aborted", counters.aborted}};
}

/// Adds the queue to the row of its program; there is one row for each instance of a program.
void add_program(json &rows, std::vector<const xdp_program *> &seen, const std::string &queue,
                 const xdp_placement &placement)
{
    const auto known = std::ranges::find(seen, placement.program.get());
    if (known != seen.end()) {
        rows[static_cast<std::size_t>(known - seen.begin())]["queues"].push_back(queue);
        return;
    }
    seen.push_back(placement.program.get());
    rows.push_back({{"program", placement.from.name},
                    {"name", placement.program->name()},
                    {"file", placement.from.file},
                    {"config", placement.from.config},
                    {"queues", json::array({queue})},
                    {"figures", figures_of(*placement.program)}});
}

/// Returns the port that the request names. Throws `error` if there is none.
net_device &device_of(router &r, const json &request)
{
    const std::string name = value_or(request, "port", std::string());
    net_device *dev = r.core().dev_get_by_name(name);
    if (!dev) {
        throw error("no port \"" + name + "\" (halfpoll show interfaces)");
    }
    return *dev;
}

int queue_of(const json &request)
{
    const json queue = request.value("queue", json());
    if (queue.is_null()) {
        return XDP_ALL_QUEUES;
    }
    if (!queue.is_number_unsigned() || queue.get<std::uint64_t>() > UINT16_MAX) {
        throw error("queue: found " + queue.dump(-1, ' ', false, json::error_handler_t::replace) +
                    ", expected a number from 0 on");
    }
    return queue.get<int>();
}

/// Returns the program that the request names: one of the configuration, or a file.
xdp_config program_of(const router &r, const json &request)
{
    const std::string name = value_or(request, "program", std::string());
    const auto found = std::ranges::find(r.cfg().xdp, name, &xdp_config::name);
    if (found == r.cfg().xdp.end() && !name.starts_with('/')) {
        throw error("no [xdp." + name + "] in the configuration, and not the path of a file");
    }
    xdp_config xdp = found == r.cfg().xdp.end() ? xdp_config{name, name, {}} : *found;
    if (request.contains("config")) {
        xdp.config = value_or(request, "config", std::string());
    }
    return xdp;
}

} // namespace

json show_xdp(router &r)
{
    json queues = json::array(), programs = json::array();
    std::vector<const xdp_program *> seen;
    for (const net_device *dev : r.core().devices()) {
        const std::vector<xdp_placement> &placements = r.xdp_of(*dev);
        for (unsigned queue = 0; queue < placements.size(); ++queue) {
            const xdp_placement &placement = placements[queue];
            queues.push_back(queue_row(*dev, queue, placement));
            if (placement.program) {
                add_program(programs, seen, dev->name + "-" + std::to_string(queue), placement);
            }
        }
    }
    json configured = json::array();
    for (const xdp_config &xdp : r.cfg().xdp) {
        configured.push_back({{"name", xdp.name}, {"file", xdp.file}});
    }
    return {{"xdp", queues}, {"xdp_programs", programs}, {"xdp_configured", configured}};
}

json serve_xdp(router &r, const std::string &what, const json &request)
{
    if (what != "attach" && what != "detach") {
        throw error("bad request: an XDP program is \"attach\"ed or \"detach\"ed, not \"" + what + "\"");
    }
    net_device &dev = device_of(r, request);
    if (what == "attach") {
        r.attach_xdp(dev, program_of(r, request), queue_of(request));
    } else {
        r.detach_xdp(dev, queue_of(request));
    }
    return {{"changed", dev.name}};
}

} // namespace halfpoll
