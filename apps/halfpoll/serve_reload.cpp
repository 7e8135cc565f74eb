// SPDX-License-Identifier: BSD-3-Clause
#include "config_diff.hpp"
#include "log.hpp"
#include "reload.hpp"
#include "sd_notify.hpp"
#include "serve.hpp"

namespace halfpoll
{

namespace
{

using nlohmann::json;

json row(const config_change &change)
{
    return {{"change", to_string(change.what)},
            {"where", change.where},
            {"key", change.key},
            {"from", change.from},
            {"to", change.to}};
}

json rows(const std::vector<config_change> &changes)
{
    json all = json::array();
    for (const config_change &change : changes) {
        all.push_back(row(change));
    }
    return all;
}

void refuse(const std::vector<config_change> &changes)
{
    std::string text;
    for (const config_change &change : changes) {
        text += "\n  " + to_string(change);
    }
    throw error("nothing was changed, for these need a restart:" + text);
}

/// Tells the service manager for as long as it lives.
class reloading
{
public:
    reloading() { sd_notify("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(ktime_get() / NSEC_PER_USEC)); }
    ~reloading() { sd_notify("READY=1"); }
    reloading(const reloading &) = delete;
    reloading &operator=(const reloading &) = delete;
};

} // namespace

json serve_reload(router &r, const std::string &file, bool dry_run)
{
    const config wanted = load_config(file.empty() ? r.cfg().file : file, r.started_on());
    const config_diff diff = diff_config(r.running(), wanted, r.shareable(), r.core().backlog_room());
    json reply = {{"reload", rows(diff.changes)}, {"refused", rows(diff.refused)}, {"applied", false}};
    if (dry_run) {
        return reply;
    }
    if (!diff.refused.empty()) {
        refuse(diff.refused);
    }
    const reloading busy;
    try {
        apply_config(r, wanted, diff);
    } catch (const std::exception &e) {
        log_line(log_level::error, "reload", std::string("reload: ") + e.what());
        throw;
    }
    for (const config_change &change : diff.changes) {
        log_line(log_level::info, "reload", "reload: " + to_string(change));
    }
    reply["applied"] = true;
    reply["problems"] = r.mend_shadows();
    return reply;
}

} // namespace halfpoll
