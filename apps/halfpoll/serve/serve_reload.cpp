// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/config/config_diff.hpp"
#include "apps/halfpoll/log/log.hpp"
#include "apps/halfpoll/router/reload.hpp"
#include "apps/halfpoll/router/reload_check.hpp"
#include "apps/halfpoll/router/sd_notify.hpp"
#include "serve.hpp"

#include <algorithm>
#include <iterator>

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

void refuse(const std::vector<std::string> &obstacles)
{
    std::string text;
    for (const std::string &obstacle : obstacles) {
        text += obstacle + "; ";
    }
    throw error(text + "everything is as it was before the reload");
}

/// Returns the configuration in use. A shadow that was renamed in the kernel has its new name if `wanted` has that name
/// too: a user may rename a shadow and write the new name into the file.
config running_as(router &r, const config &wanted)
{
    config now = r.running();
    for (port_config &port : now.ports) {
        const shadow *s = r.slow().of_device(*r.core().dev_get_by_name(port.options.name));
        const port_config *same = find_port(wanted, port.options.name);
        if (s && same && s->name == same->shadow) {
            port.shadow = s->name;
        }
    }
    return now;
}

/// Reports a reload in progress to the service manager, for the lifetime of the object.
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
    config_diff diff = diff_config(running_as(r, wanted), wanted, r.shareable(), r.core().backlog_room());
    std::ranges::copy(lost_entries(r, diff), std::back_inserter(diff.changes));
    const std::vector<std::string> impossible = obstacles(r, wanted, diff);
    json reply = {{"reload", rows(diff.changes)},
                  {"refused", rows(diff.refused)},
                  {"impossible", impossible},
                  {"applied", false}};
    if (dry_run) {
        return reply;
    }
    if (!diff.refused.empty()) {
        refuse(diff.refused);
    }
    const reloading busy;
    try {
        if (!impossible.empty()) {
            refuse(impossible);
        }
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
