// SPDX-License-Identifier: BSD-3-Clause
//
// Not part of the API: net_core.hpp needs it. Embedders call net_core::dev_get(), dev_get_by_name() and devices().
#pragma once

#include <halfpoll/net_device.hpp>

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace halfpoll
{

/// The interfaces of a net_core, by number and name. Control thread.
class device_table
{
public:
    /// Null if no interface has that number.
    net_device *get(ifindex_t ifindex) const noexcept { return ifindex < MAX_IFINDEX ? devs_[ifindex].get() : nullptr; }
    /// Null if no interface has that name.
    net_device *by_name(const std::string &name) const noexcept;
    std::vector<net_device *> all() const;
    /// Calls `fn` for each interface, which may not come or go meanwhile. Does not allocate.
    template <typename F>
    void for_each(F &&fn) const
    {
        for (const auto &dev : devs_) {
            if (dev) {
                fn(*dev);
            }
        }
    }
    /// The number that the name had before; else the next free one after the last number given, so that a freed number
    /// goes to another name as late as possible. Throws `error` if no number is free.
    ifindex_t free_ifindex(const std::string &name);
    void put(std::unique_ptr<net_device> dev);   ///< under the number that `dev` has
    void remove(const net_device &dev) noexcept; ///< destroys it

private:
    std::array<std::unique_ptr<net_device>, MAX_IFINDEX> devs_;
    ifindex_t last_ifindex_ = 0;
    std::array<std::string, MAX_IFINDEX> last_names_; ///< by number: the name that has it, or had it last
};

} // namespace halfpoll
