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

/// True in the exclusion modes in which `sd.lock` protects the CPU: `big` and `nested`.
inline bool mode_is_big(const softnet_data &sd) noexcept { return sd.lock != nullptr; }

/// Makes the calling thread a bottom-half thread of the CPU `home` (null: of none), with the RCU reader id `reader`.
/// `own`: it is that CPU's own thread.
void bh_self_set(softnet_data *home, bool own, unsigned reader) noexcept;
/// The CPU whose bottom-half thread the calling thread is, in a section or not; null: it is none.
softnet_data *this_bh_home() noexcept;

/// Begin and end the section of one turn of the CPU's own thread, in modes `big` and `nested`. Bottom halves do not
/// count as disabled in it, since the turn stands for interrupts, softirqs and tasks.
void turn_begin(softnet_data &sd) noexcept;
void turn_end(softnet_data &sd) noexcept;

/// Gives the calling thread SCHED_FIFO with `priority`; 0 changes nothing. Returns why it was refused, or an empty
/// string. `who` names the thread in that message.
std::string set_fifo(int priority, const std::string &who);

} // namespace halfpoll
