// SPDX-License-Identifier: BSD-3-Clause
//
// Device events are experimental in DPDK 22.11 and became stable without a change. No other interface reports that the
// kernel wants a vfio device back.
#define ALLOW_EXPERIMENTAL_API
#include "ethdev_events.hpp"

#include <rte_dev.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <map>
#include <mutex>
#include <thread>

namespace halfpoll
{
namespace
{

struct translation {
    rte_eth_event_type from;
    port_event to;
};

constexpr translation translations[] = {
    {RTE_ETH_EVENT_INTR_LSC, port_event::link},
    {RTE_ETH_EVENT_INTR_RMV, port_event::removed},
    {RTE_ETH_EVENT_INTR_RESET, port_event::reset},
    {RTE_ETH_EVENT_ERR_RECOVERING, port_event::recovering},
    {RTE_ETH_EVENT_RECOVERY_SUCCESS, port_event::recovered},
    {RTE_ETH_EVENT_RECOVERY_FAILED, port_event::failed},
};

/// The listeners of each device. EAL has a single callback for all devices, which is never unregistered: in some
/// versions, removing one of several callbacks also removes others.
struct {
    std::mutex mutex; ///< held while a listener runs; listeners only post
    std::multimap<std::string, const std::function<void(port_event)> *> by_device;
    bool registered = false;
} listeners;

void on_device_event(const char *device, rte_dev_event_type type, void *) noexcept
{
    if (type != RTE_DEV_EVENT_REMOVE) {
        return;
    }
    const std::lock_guard lock(listeners.mutex);
    const auto [first, last] = listeners.by_device.equal_range(device);
    std::for_each(first, last, [](const auto &entry) { (*entry.second)(port_event::removed); });
}

void add_listener(const std::string &device, const std::function<void(port_event)> &notify)
{
    const std::lock_guard lock(listeners.mutex);
    if (!listeners.registered) {
        if (const int ret = rte_dev_event_callback_register(nullptr, on_device_event, nullptr); ret < 0) {
            throw_errno(-ret, device + ": no device event callback");
        }
        listeners.registered = true;
    }
    listeners.by_device.emplace(device, &notify);
}

void remove_listener(const std::function<void(port_event)> &notify) noexcept
{
    const std::lock_guard lock(listeners.mutex);
    std::erase_if(listeners.by_device, [&](const auto &entry) { return entry.second == &notify; });
}

} // namespace

ethdev_events::ethdev_events(std::uint16_t port_id, const rte_device *device, std::function<void(port_event)> notify)
    : port_id_(port_id), device_(device ? rte_dev_name(device) : ""), notify_(std::move(notify))
{
    try {
        listen();
    } catch (...) {
        listen_no_more();
        throw;
    }
}

ethdev_events::~ethdev_events() { listen_no_more(); }

void ethdev_events::listen()
{
    for (const translation &t : translations) {
        if (const int ret = rte_eth_dev_callback_register(port_id_, t.from, on_port_event, this); ret < 0) {
            throw_errno(-ret, "port " + std::to_string(port_id_) + ": no event callback");
        }
    }
    if (!device_.empty()) {
        add_listener(device_, notify_);
    }
}

/// Unregisters the callbacks and waits for callbacks that are running; they only post. It sleeps while it waits,
/// because the thread that runs them may have a lower priority on this CPU.
void ethdev_events::listen_no_more() noexcept
{
    for (const translation &t : translations) {
        while (rte_eth_dev_callback_unregister(port_id_, t.from, on_port_event, this) == -EAGAIN) {
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
    }
    remove_listener(notify_);
}

int ethdev_events::on_port_event(std::uint16_t, rte_eth_event_type type, void *self, void *) noexcept
{
    for (const translation &t : translations) {
        if (t.from == type) {
            static_cast<ethdev_events *>(self)->notify_(t.to);
        }
    }
    return 0;
}

} // namespace halfpoll
