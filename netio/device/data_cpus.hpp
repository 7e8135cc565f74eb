// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_core.hpp>

#include <memory>
#include <vector>

namespace halfpoll
{

/// The runtime CPUs of a net_core, for its parts. Control thread.
class data_cpus
{
public:
    /// `rt` and `cpus` (by number of the runtime CPU) outlive the object.
    data_cpus(runtime &rt, const std::vector<std::unique_ptr<net_cpu>> &cpus) noexcept : rt_(rt), cpus_(cpus) {}
    runtime &rt() const noexcept { return rt_; }
    unsigned size() const noexcept { return static_cast<unsigned>(cpus_.size()); }
    net_cpu &operator[](unsigned n) const noexcept { return *cpus_[n]; }
    auto begin() const noexcept { return cpus_.begin(); }
    auto end() const noexcept { return cpus_.end(); }
    /// Calls `fn` with each CPU in turn, on that CPU (its stand-in if it is offline), between polls.
    template <typename F>
    void call_on_each(F &&fn) const
    {
        for (const auto &cpu : cpus_) {
            rt_.call_on(cpu->id, [&](softnet_data &) { fn(*cpu); });
        }
    }

private:
    runtime &rt_;
    const std::vector<std::unique_ptr<net_cpu>> &cpus_;
};

} // namespace halfpoll
