// SPDX-License-Identifier: BSD-3-Clause
#include "reload.hpp"
#include "apps/halfpoll/log/log.hpp"

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <set>

namespace halfpoll
{

namespace
{

/// The steps that undo what the reload has done so far.
class transaction
{
public:
    void on_failure(std::function<void()> undo) { undo_.push_back(std::move(undo)); }
    /// Runs the steps, last one first; returns the failures as a text.
    std::string roll_back()
    {
        std::string trouble;
        for (; !undo_.empty(); undo_.pop_back()) {
            try {
                undo_.back()();
            } catch (const std::exception &e) {
                trouble += std::string("; ") + e.what();
            }
        }
        return trouble;
    }

private:
    std::vector<std::function<void()>> undo_;
};

constexpr const char *GIVEN_UP = "given up for another port by a reload";

bool collide(const port_config &a, const port_config &b)
{
    return a.shadow == b.shadow || device_identity(a) == device_identity(b);
}

/// The state of a port before it was replaced or released.
struct former_port {
    rte_ether_addr mac{};
    bool open = false;    ///< false: its device was away
    bool created = false; ///< this process created its shadow
    std::vector<xdp_placement> xdp;
};

class reload
{
public:
    reload(router &r, const config &wanted, const config_diff &diff)
        : r_(r), before_(r.running()), wanted_(wanted), diff_(diff)
    {
        for (const port_config &port : before_.ports) {
            held_[port.options.name] = port;
        }
    }
    void run();

private:
    void prepare();
    void finish();
    net_device &dev(const std::string &port) { return *r_.core().dev_get_by_name(port); }
    shadow &shadow_of(const std::string &port) { return *r_.slow().of_device(dev(port)); }
    void rename_shadows();
    bool has_room(const port_config &port) const;
    void open_ports();
    bool make_room(const std::vector<std::string> &waiting);
    void open(const port_config &port);
    void replace(const port_config &port);
    void remember(const std::string &port);
    void release(const std::string &port);
    void restore(const std::string &port);
    void change(const port_config &from, const port_config &to);
    void change_mtu(net_device &dev, std::uint32_t mtu);
    void change_napi(net_device &dev, const napi_config &napi);
    void change_rps(net_device &dev, const rps_config &rps);
    void change_xdp(const std::string &port);
    void change_entry_programs();
    void set_limits();

    router &r_;
    const config before_;
    const config &wanted_;
    const config_diff &diff_;
    transaction done_;
    std::set<std::string> created_;             ///< released shadows that this process created
    std::set<std::string> touched_;             ///< ports that were replaced or released
    std::map<std::string, port_config> held_;   ///< by port: the device and shadow that the port holds now
    std::map<std::string, former_port> former_; ///< by port
};

/// If a user has renamed a shadow in the kernel and the file has the new name, the shadow is identified by that name.
void reload::rename_shadows()
{
    for (const port_config &port : wanted_.ports) {
        net_device *const known = r_.core().dev_get_by_name(port.options.name);
        shadow *const s = known ? r_.slow().of_device(*known) : nullptr;
        if (s && s->identity != port.shadow && s->name == port.shadow) {
            done_.on_failure([this, s, old = s->identity] { r_.slow().identify(*s, old); });
            r_.slow().identify(*s, port.shadow);
        }
    }
}

/// True if no other port holds the device or shadow that `port` wants.
bool reload::has_room(const port_config &port) const
{
    return std::ranges::none_of(
        held_, [&](const auto &held) { return held.first != port.options.name && collide(held.second, port); });
}

void reload::open(const port_config &port)
{
    const std::string &name = port.options.name;
    shadow &s = *r_.slow().of_device(r_.open_port(port));
    s.created |= created_.contains(s.identity);
    held_[name] = port;
    done_.on_failure([this, name] {
        const shadow &opened = shadow_of(name);
        r_.close_port(dev(name), opened.created && !created_.contains(opened.identity));
    });
}

void reload::remember(const std::string &port)
{
    const shadow &s = shadow_of(port);
    if (s.created) {
        created_.insert(s.identity);
    }
    former_.try_emplace(port, former_port{dev(port).mac, dev(port).open, s.created, r_.xdp_of(dev(port))});
}

void reload::replace(const port_config &port)
{
    const std::string &name = port.options.name;
    remember(name);
    change_xdp(name); // attached before the first packet of the new device
    const bool released = !held_.contains(name);
    if (!released) {
        done_.on_failure([this, name] { restore(name); });
    }
    r_.replace_port(dev(name), released ? port : held_.at(name), port);
    held_[name] = port;
    touched_.insert(name);
    shadow_of(name).created |= created_.contains(port.shadow);
    if (released) { // for the roll-back of the port that held these before: restore() needs them
        done_.on_failure([this, name] {
            r_.release_port(dev(name), GIVEN_UP);
            held_.erase(name);
        });
    }
}

/// Releases the device and shadow of a port, for another port.
void reload::release(const std::string &port)
{
    remember(port);
    held_.erase(port);
    touched_.insert(port);
    done_.on_failure([this, port] { restore(port); });
    r_.release_port(dev(port), GIVEN_UP);
}

/// Returns a port to its configuration before the reload. If that fails, the port stays out of service, with the
/// reason, until its device can be opened.
void reload::restore(const std::string &port)
{
    const port_config &before = *find_port(before_, port);
    const former_port &former = former_.at(port);
    if (!touched_.contains(port) && dev(port).open == former.open) {
        return; // replace_port() failed without a change
    }
    const port_config from = held_.contains(port) ? held_.at(port) : before;
    const std::string other = shadow_of(port).identity;
    const bool made = shadow_of(port).created && !created_.contains(other);
    try {
        r_.replace_port(dev(port), from, before, former.mac);
    } catch (const std::exception &e) {
        r_.take_out(dev(port), before, former.mac, e.what());
    }
    if (net_device &down = dev(port); former.open && !down.open) {
        if (down.cause == GIVEN_UP) {
            r_.take_out(down, before, former.mac, down.device + " is gone since a reload that failed");
        }
        throw error("port " + port + " is out of service: " + down.failure);
    }
    held_[port] = before;
    shadow_of(port).created = former.created;
    if (made && other != before.shadow) {
        r_.slow().destroy_released(other);
    }
    if (r_.xdp_of(dev(port)) != former.xdp) {
        r_.set_xdp(dev(port), former.xdp);
    }
}

/// A port whose new device and shadow are free opens them before it closes the present ones. If ports want each other's
/// devices or shadows, one of them is released first.
void reload::open_ports()
{
    std::vector<std::string> waiting = diff_.replaced;
    std::ranges::copy_if(diff_.added, std::back_inserter(waiting),
                         [this](const std::string &name) { return !held_.contains(name); });
    while (!waiting.empty()) {
        auto next =
            std::ranges::find_if(waiting, [this](const auto &name) { return has_room(*find_port(wanted_, name)); });
        if (next == waiting.end()) {
            if (make_room(waiting)) {
                continue;
            }
            next = waiting.begin(); // this attempt fails, and its error names the conflict
        }
        const port_config &port = *find_port(wanted_, *next);
        r_.core().dev_get_by_name(*next) ? replace(port) : open(port);
        waiting.erase(next);
    }
}

/// Releases a port that holds what a waiting port wants. Returns false if there is no such port among those that are
/// removed or waiting.
bool reload::make_room(const std::vector<std::string> &waiting)
{
    const auto goes = [&](const std::string &name) {
        return std::ranges::count(diff_.removed, name) != 0 || std::ranges::count(waiting, name) != 0;
    };
    for (const std::string &name : waiting) {
        const auto holder = std::ranges::find_if(held_, [&](const auto &held) {
            return held.first != name && goes(held.first) && collide(held.second, *find_port(wanted_, name));
        });
        if (holder != held_.end()) {
            release(std::string(holder->first));
            return true;
        }
    }
    return false;
}

void reload::change_mtu(net_device &dev, std::uint32_t mtu)
{
    const std::uint32_t old = dev.mtu.load(std::memory_order_relaxed);
    const auto set = [this, &dev](std::uint32_t value) {
        r_.core().set_mtu(dev, value);
        if (shadow *s = r_.slow().of_device(dev); s && s->failure.empty()) {
            r_.slow().set_mtu(*s, value);
        }
    };
    done_.on_failure([set, old] { set(old); });
    set(mtu);
}

void reload::change_napi(net_device &dev, const napi_config &napi)
{
    done_.on_failure([&dev, old = dev.options.napi] { dev.options.napi = old; });
    dev.options.napi = napi;
    for (const auto &queue : dev.queues) {
        done_.on_failure([&q = *queue, old = queue->napi.config] { napi_configure(q.napi, old); });
        napi_configure(queue->napi, napi);
    }
}

void reload::change_rps(net_device &dev, const rps_config &rps)
{
    done_.on_failure([&dev, old = dev.options.rps] { dev.options.rps = old; });
    dev.options.rps = rps;
    for (const auto &queue : dev.queues) {
        done_.on_failure([&q = *queue, old = queue->rps_settings] { rps_configure(q, old); });
        rps_configure(*queue, rps);
    }
}

/// Changes the settings of a port. A port that is out of service applies them when it returns.
void reload::change(const port_config &from, const port_config &to)
{
    net_device &port = dev(to.options.name);
    if (from.options.mtu != to.options.mtu) {
        change_mtu(port, to.options.mtu);
    }
    if (from.options.promiscuous != to.options.promiscuous) {
        r_.core().set_promiscuous(port, to.options.promiscuous);
        done_.on_failure([this, &port, old = from.options.promiscuous] { r_.core().set_promiscuous(port, old); });
    }
    if (from.options.napi != to.options.napi) {
        change_napi(port, to.options.napi);
    }
    if (from.options.rps != to.options.rps) {
        change_rps(port, to.options.rps);
    }
}

/// Changes the program of a port if the wanted one differs.
void reload::change_xdp(const std::string &port)
{
    const port_config &to = *find_port(wanted_, port);
    if (find_port(before_, port)->xdp == to.xdp) {
        return;
    }
    done_.on_failure([this, port, old = r_.xdp_of(dev(port))] { r_.set_xdp(dev(port), old); });
    if (to.xdp.name.empty()) {
        r_.detach_xdp(dev(port));
    } else {
        r_.load_port_xdp(to);
    }
}

/// Loads the programs of map entries again if their [xdp.NAME] has changed. An entry that was set at run time keeps its
/// program when the wanted configuration has none of that name.
void reload::change_entry_programs()
{
    for (const auto &[map, entry, from] : r_.entry_programs()) {
        const auto to = std::ranges::find(wanted_.xdp, from.name, &xdp_config::name);
        if (to != wanted_.xdp.end() && *to != from) {
            r_.load_entry_xdp(*map, entry, *to);
            done_.on_failure([map = map, entry = entry] { map->update(entry); });
        }
    }
}

void reload::set_limits()
{
    done_.on_failure([this] {
        r_.set_netdev_budget(before_.netdev_budget, before_.netdev_budget_usecs);
        r_.set_netdev_max_backlog(before_.netdev_max_backlog);
        r_.set_skb_defer_max(before_.skb_defer_max);
        r_.set_rps_sock_flow_entries(before_.rps_sock_flow_entries);
        r_.set_flow_limit(before_.flow_limit);
        r_.scaler().set(before_.autoscale);
        r_.set_obey(before_.obey);
        r_.set_kernel_pass(before_.kernel_pass);
        for (unsigned c = 0; c < PUNT_CLASSES; ++c) {
            r_.set_punt_limit(static_cast<punt_class>(c), before_.punt[c]);
        }
    });
    r_.set_netdev_budget(wanted_.netdev_budget, wanted_.netdev_budget_usecs);
    r_.set_netdev_max_backlog(wanted_.netdev_max_backlog);
    r_.set_skb_defer_max(wanted_.skb_defer_max);
    r_.set_rps_sock_flow_entries(wanted_.rps_sock_flow_entries);
    r_.set_flow_limit(wanted_.flow_limit);
    r_.set_obey(wanted_.obey);
    r_.set_kernel_pass(wanted_.kernel_pass);
    if (wanted_.autoscale != before_.autoscale) {
        r_.scaler().set(wanted_.autoscale);
    }
    for (unsigned c = 0; c < PUNT_CLASSES; ++c) {
        if (before_.punt[c] != wanted_.punt[c]) {
            r_.set_punt_limit(static_cast<punt_class>(c), wanted_.punt[c]);
        }
    }
}

/// Everything that can fail, least disturbing steps first.
void reload::prepare()
{
    done_.on_failure([this] { r_.set_log(before_.log); });
    r_.set_log(wanted_.log);
    rename_shadows();
    for (const std::string &name : diff_.added) {
        if (const port_config &port = *find_port(wanted_, name); has_room(port)) {
            open(port);
        }
    }
    for (const std::string &name : diff_.changed) {
        change(*find_port(before_, name), *find_port(wanted_, name));
    }
    set_limits();
    open_ports();
    for (const std::string &name : diff_.added) { // after all ports are open, for programs may name them
        r_.load_port_xdp(*find_port(wanted_, name));
    }
    std::ranges::for_each(diff_.changed, [this](const std::string &name) { change_xdp(name); });
    change_entry_programs();
}

/// Everything that cannot fail and could not be undone.
void reload::finish()
{
    for (const std::string &name : diff_.removed) {
        const bool released = !held_.contains(name);
        r_.close_port(dev(name), !released && wanted_.remove_shadows && shadow_of(name).created);
    }
    for (const std::string &name : created_) {
        const bool in_use = std::ranges::any_of(wanted_.ports, [&](const auto &port) { return port.shadow == name; });
        if (!in_use && wanted_.remove_shadows) {
            r_.slow().destroy_released(name);
        }
    }
    r_.adopt(wanted_);
}

void reload::run()
{
    try {
        prepare();
    } catch (const std::exception &e) {
        const std::string trouble = done_.roll_back();
        throw error(std::string(e.what()) + (trouble.empty() ? "; everything is as it was before the reload"
                                                             : "; and not all of it could be undone" + trouble));
    }
    finish();
}

} // namespace

void apply_config(router &r, const config &wanted, const config_diff &diff) { reload(r, wanted, diff).run(); }

} // namespace halfpoll
