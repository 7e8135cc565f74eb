// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/local_lock.hpp>
#include <halfpoll/softnet_data.hpp>

#include <optional>
#include <string>

namespace halfpoll
{

/// Makes the calling thread a bottom-half thread of a CPU for as long as it lives: pinned, a DPDK lcore and an RCU
/// reader. Throws `error`; the destructor gives back affinity and lcore id.
class bh_registration
{
public:
    enum class role {
        own,     ///< the CPU's own thread: RCU reader except while it blocks
        further, ///< any other (mode `big`): RCU reader in its sections
    };
    bh_registration(softnet_data &sd, role r);
    ~bh_registration();
    bh_registration(const bh_registration &) = delete;
    bh_registration &operator=(const bh_registration &) = delete;

private:
    void release_thread() noexcept;

    softnet_data &sd_;
    const bool lcore_registered_; ///< here, not by its owner
    const unsigned reader_;       ///< RCU reader id
    std::optional<cpu_pin> pin_;
};

/// The exclusion mode protects the CPU by `sd.lock`: `big` and `nested`.
inline bool mode_is_big(const softnet_data &sd) noexcept { return sd.lock != nullptr; }

/// Tells the calling thread which CPU's bottom-half thread it is; null: none. `own`: that CPU's own thread.
void bh_self_set(softnet_data *home, bool own, unsigned reader) noexcept;
/// As last told; whether in a section or not.
softnet_data *this_bh_home() noexcept;

/// Mode `big`: the section of one turn of the CPU's own thread. Not BH-disabled: it plays interrupts, softirqs and
/// tasks.
void turn_begin(softnet_data &sd) noexcept;
void turn_end(softnet_data &sd) noexcept;

/// SCHED_FIFO for the calling thread; 0 leaves it as it is. Empty, or why it was refused.
std::string set_fifo(int priority, const std::string &who);

} // namespace halfpoll
