// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "policy_reason.hpp"

#include <array>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace halfpoll
{

/// The kinds that are obeyed.
using policy_set = std::array<bool, static_cast<std::size_t>(policy_kind::count)>;
inline constexpr policy_set policy_obey_all = [] {
    policy_set all{};
    all.fill(true);
    return all;
}();

/// An interface as policy sees it.
struct policy_interface {
    int ifindex = 0;
    std::string_view name;
    std::span<const std::string> altnames; ///< the kernel takes a rule with one of these for a rule of the interface
};

/// All reasons for which packets are left to the kernel: one list for each kind, which the kind's source replaces as a
/// whole. A kind that has not been inspected yet is a reason by itself, so that nothing is forwarded before. Control
/// thread only.
class policy
{
public:
    policy();
    /// Replaces the reasons of a kind. Calls `on_change` if they differ.
    void replace(policy_kind kind, std::vector<policy_reason> reasons);
    /// The reasons of a kind cannot be known now: every packet is left to the kernel. `why` is for display.
    void doubt(policy_kind kind, const std::string &why);
    /// Chooses the kinds that are obeyed. All are by default. Calls `on_change`.
    void obey(const policy_set &kinds);
    bool obeys(policy_kind kind) const noexcept { return obeyed_[static_cast<std::size_t>(kind)]; }
    /// Called after the answers of kernel_forwards() may have changed.
    std::function<void()> on_change;

    /// True if packets of the family that come in by (`side` in) or leave by (out) the interface are left to the
    /// kernel.
    bool kernel_forwards(std::uint8_t family, policy_side side, const policy_interface &interface) const;
    /// Visits the reasons, obeyed or not, kind by kind.
    using visitor = std::function<void(policy_kind, const policy_reason &)>;
    void visit(const visitor &fn) const;
    /// Visits those of them that kernel_forwards() looks at for these arguments.
    void visit_for(std::uint8_t family, policy_side side, const policy_interface &interface, const visitor &fn) const;

private:
    std::array<std::vector<policy_reason>, static_cast<std::size_t>(policy_kind::count)> reasons_;
    policy_set obeyed_ = policy_obey_all;
};

} // namespace halfpoll
