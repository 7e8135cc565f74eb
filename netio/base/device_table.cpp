// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/device_table.hpp>
#include <halfpoll/error.hpp>

#include <algorithm>
#include <utility>

namespace halfpoll
{

net_device *device_table::by_name(const std::string &name) const noexcept
{
    const auto it = std::ranges::find_if(devs_, [&](const auto &dev) { return dev && dev->name == name; });
    return it == devs_.end() ? nullptr : it->get();
}

std::vector<net_device *> device_table::all() const
{
    std::vector<net_device *> all;
    for (const auto &dev : devs_) {
        if (dev) {
            all.push_back(dev.get());
        }
    }
    return all;
}

ifindex_t device_table::free_ifindex(const std::string &name)
{
    const auto had = static_cast<std::size_t>(std::ranges::find(last_names_, name) - last_names_.begin());
    if (had < MAX_IFINDEX && !devs_[had]) {
        return static_cast<ifindex_t>(had);
    }
    for (unsigned i = 1; i < MAX_IFINDEX; ++i) {
        const unsigned candidate = 1 + (last_ifindex_ - 1 + i) % (MAX_IFINDEX - 1);
        if (!devs_[candidate]) {
            return last_ifindex_ = static_cast<ifindex_t>(candidate);
        }
    }
    throw error(name + ": all " + std::to_string(MAX_IFINDEX - 1) + " interface numbers are in use");
}

void device_table::put(std::unique_ptr<net_device> dev)
{
    last_names_[dev->ifindex] = dev->name;
    std::unique_ptr<net_device> &place = devs_[dev->ifindex];
    place = std::move(dev);
}

void device_table::remove(const net_device &dev) noexcept { devs_[dev.ifindex].reset(); }

} // namespace halfpoll
