// SPDX-License-Identifier: BSD-3-Clause
#include "reload.hpp"
#include "log.hpp"

#include <algorithm>
#include <functional>
#include <set>

namespace halfpoll
{

namespace
{

/// What has been done so far, and how to undo it.
class transaction
{
public:
    void on_failure(std::function<void()> undo) { undo_.push_back(std::move(undo)); }
    /// Backwards; what could not be undone, as text.
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

bool collide(const port_config &a, const port_config &b)
{
    return a.options.name == b.options.name || a.shadow == b.shadow || device_identity(a) == device_identity(b);
}

class reload
{
public:
    reload(router &r, const config &wanted, const config_diff &diff)
        : r_(r), before_(r.running()), wanted_(wanted), diff_(diff)
    {
    }
    void run();

private:
    void prepare();
    void finish();
    bool in_the_way(const std::string &removed) const;
    bool has_room(const std::string &added) const;
    void open(const port_config &port);
    void close(const port_config &port);
    void change(const port_config &from, const port_config &to);
    void change_mtu(net_device &dev, std::uint32_t mtu);
    void change_napi(net_device &dev, const napi_config &napi);
    void change_rps(net_device &dev, const rps_config &rps);
    void change_xdp();
    void set_limits();
    shadow *shadow_of(const std::string &port);

    router &r_;
    const config before_;
    const config &wanted_;
    const config_diff &diff_;
    transaction done_;
    std::set<std::string> created_; ///< shadows of closed ports that this process made
};

shadow *reload::shadow_of(const std::string &port)
{
    net_device *dev = r_.core().dev_get_by_name(port);
    return dev ? r_.slow().of_device(*dev) : nullptr;
}

/// A port to be removed has what an added one wants.
bool reload::in_the_way(const std::string &removed) const
{
    return std::ranges::any_of(diff_.added, [&](const std::string &name) {
        return collide(*find_port(before_, removed), *find_port(wanted_, name));
    });
}

bool reload::has_room(const std::string &added) const
{
    return std::ranges::none_of(diff_.removed, [&](const std::string &name) {
        return collide(*find_port(before_, name), *find_port(wanted_, added));
    });
}

void reload::open(const port_config &port)
{
    net_device &dev = r_.open_port(port);
    shadow &s = *r_.slow().of_device(dev);
    s.created |= created_.contains(s.name);
    done_.on_failure([this, name = port.options.name] {
        const shadow *opened = shadow_of(name);
        const bool destroy = opened && opened->created && !created_.contains(opened->name);
        r_.close_port(*r_.core().dev_get_by_name(name), destroy);
    });
}

/// The shadow stays, with its addresses, for who comes after it, or to be put back.
void reload::close(const port_config &port)
{
    const shadow *s = shadow_of(port.options.name);
    if (s && s->created) {
        created_.insert(s->name);
    }
    r_.close_port(*r_.core().dev_get_by_name(port.options.name), false);
    done_.on_failure([this, port] {
        net_device &dev = r_.open_port(port);
        shadow &back = *r_.slow().of_device(dev);
        back.created |= created_.contains(back.name);
        r_.load_port_xdp(port);
    });
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

/// A port that is out of service takes the settings for its return.
void reload::change(const port_config &from, const port_config &to)
{
    net_device &dev = *r_.core().dev_get_by_name(to.options.name);
    if (from.options.mtu != to.options.mtu) {
        change_mtu(dev, to.options.mtu);
    }
    if (from.options.promiscuous != to.options.promiscuous) {
        r_.core().set_promiscuous(dev, to.options.promiscuous);
        done_.on_failure([this, &dev, old = from.options.promiscuous] { r_.core().set_promiscuous(dev, old); });
    }
    if (from.options.napi != to.options.napi) {
        change_napi(dev, to.options.napi);
    }
    if (from.options.rps != to.options.rps) {
        change_rps(dev, to.options.rps);
    }
}

/// Programs of all ports, when these are open, for programs may name them.
void reload::change_xdp()
{
    for (const std::string &name : diff_.added) {
        r_.load_port_xdp(*find_port(wanted_, name));
    }
    for (const std::string &name : diff_.changed) {
        const port_config &to = *find_port(wanted_, name);
        if (find_port(before_, name)->xdp == to.xdp) {
            continue;
        }
        net_device &dev = *r_.core().dev_get_by_name(name);
        done_.on_failure([this, &dev, old = r_.xdp_of(dev)] { r_.set_xdp(dev, old); });
        if (to.xdp.name.empty()) {
            r_.detach_xdp(dev);
        } else {
            r_.load_port_xdp(to);
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
        for (unsigned c = 0; c < PUNT_CLASSES; ++c) {
            r_.set_punt_limit(static_cast<punt_class>(c), before_.punt[c]);
        }
    });
    r_.set_netdev_budget(wanted_.netdev_budget, wanted_.netdev_budget_usecs);
    r_.set_netdev_max_backlog(wanted_.netdev_max_backlog);
    r_.set_skb_defer_max(wanted_.skb_defer_max);
    r_.set_rps_sock_flow_entries(wanted_.rps_sock_flow_entries);
    r_.set_flow_limit(wanted_.flow_limit);
    if (wanted_.autoscale != before_.autoscale) {
        r_.scaler().set(wanted_.autoscale);
    }
    for (unsigned c = 0; c < PUNT_CLASSES; ++c) {
        if (before_.punt[c] != wanted_.punt[c]) {
            r_.set_punt_limit(static_cast<punt_class>(c), wanted_.punt[c]);
        }
    }
}

/// All that can fail, and the least disturbing first.
void reload::prepare()
{
    done_.on_failure([this] { r_.set_log(before_.log); });
    r_.set_log(wanted_.log);
    for (const std::string &name : diff_.added) {
        if (has_room(name)) {
            open(*find_port(wanted_, name));
        }
    }
    for (const std::string &name : diff_.changed) {
        change(*find_port(before_, name), *find_port(wanted_, name));
    }
    set_limits();
    for (const std::string &name : diff_.removed) {
        if (in_the_way(name)) {
            close(*find_port(before_, name));
        }
    }
    for (const std::string &name : diff_.added) {
        if (!has_room(name)) {
            open(*find_port(wanted_, name));
        }
    }
    change_xdp();
}

/// What cannot fail and could not be undone.
void reload::finish()
{
    for (const std::string &name : diff_.removed) {
        if (!in_the_way(name)) {
            const shadow *s = shadow_of(name);
            r_.close_port(*r_.core().dev_get_by_name(name), wanted_.remove_shadows && s && s->created);
        }
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
                                                             : "; and going back did not work" + trouble));
    }
    finish();
}

} // namespace

void apply_config(router &r, const config &wanted, const config_diff &diff) { reload(r, wanted, diff).run(); }

} // namespace halfpoll
