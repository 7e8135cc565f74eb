// SPDX-License-Identifier: BSD-3-Clause
#include "doctor.hpp"

#include "apps/halfpoll/client/control_client.hpp"
#include "probe.hpp"

#include <algorithm>
#include <sstream>

namespace halfpoll
{

namespace
{

using nlohmann::json;

bool answers(const std::string &control)
{
    try {
        control_request(control, {{"show", "status"}});
        return true;
    } catch (const error &) {
        return false;
    }
}

std::vector<finding> worst_first(std::vector<finding> findings)
{
    std::ranges::stable_sort(findings, {}, &finding::level);
    return findings;
}

std::string how_many(const std::vector<finding> &findings)
{
    const auto count = [&](severity level) { return std::ranges::count(findings, level, &finding::level); };
    if (findings.empty()) {
        return "nothing is missing";
    }
    return std::string(stops(findings) ? "halfpoll cannot run" : "halfpoll can run") + ": " +
           std::to_string(count(severity::stops)) + " stops, " + std::to_string(count(severity::less)) + " less, " +
           std::to_string(count(severity::advice)) + " advice";
}

} // namespace

std::vector<finding> examine(const std::string &file, const host &on)
{
    if (file.empty()) {
        return probe_machine(on);
    }
    std::vector<finding> mistakes;
    try {
        const config cfg = load_config(file);
        return probe_machine(cfg, on, {severity::advice, answers(cfg.control)});
    } catch (const error &e) {
        std::istringstream lines(e.what());
        for (std::string line; std::getline(lines, line);) {
            mistakes.push_back({"config", severity::stops, "", line, "correct the configuration"});
        }
    }
    std::ranges::move(probe_machine(on), std::back_inserter(mistakes));
    return mistakes;
}

bool stops(const std::vector<finding> &findings)
{
    return std::ranges::count(findings, severity::stops, &finding::level) > 0;
}

std::string doctor_text(const std::vector<finding> &findings)
{
    std::string out;
    for (const finding &each : worst_first(findings)) {
        const std::string level = to_string(each.level);
        out += level + std::string(8 - level.size(), ' ') + (each.port.empty() ? "" : each.port + ": ") + each.problem +
               "\n        -> " + each.remedy + "\n";
    }
    return out + how_many(findings) + "\n";
}

json doctor_json(const std::vector<finding> &findings)
{
    json list = json::array();
    for (const finding &each : worst_first(findings)) {
        list.push_back({{"id", each.id},
                        {"severity", to_string(each.level)},
                        {"port", each.port},
                        {"problem", each.problem},
                        {"remedy", each.remedy}});
    }
    return {{"stops", stops(findings)}, {"findings", list}};
}

} // namespace halfpoll
