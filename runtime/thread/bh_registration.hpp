// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/local_lock.hpp>
#include <halfpoll/softnet_data.hpp>

#include <optional>
#include <string>

namespace halfpoll
{

/// Makes the calling thread a bottom-half thread of a CPU for the lifetime of the object: pinned to the CPU's affinity,
/// a DPDK lcore and an RCU reader. The constructor throws `error` if one of these is refused; the destructor restores
/// the affinity and returns the lcore id.
class bh_registration
{
public:
    enum class role {
        own,     ///< the CPU's own thread: an RCU reader except while it blocks
        further, ///< another thread (not in mode `exclusive`): an RCU reader in its sections
    };
    bh_registration(softnet_data &sd, role r);
    ~bh_registration();
    bh_registration(const bh_registration &) = delete;
    bh_registration &operator=(const bh_registration &) = delete;

private:
    void release_thread() noexcept;

    softnet_data &sd_;
    const bool lcore_registered_; ///< this object has registered the lcore; false: the thread was one before
    const unsigned reader_;       ///< RCU reader id
    std::optional<cpu_pin> pin_;
};

/// Gives the calling thread SCHED_FIFO with `priority`; 0 changes nothing. Returns why it was refused, or an empty
/// string. `who` names the thread in that message.
std::string set_fifo(int priority, const std::string &who);

} // namespace halfpoll
