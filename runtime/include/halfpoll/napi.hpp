// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/hrtimer.hpp>
#include <halfpoll/hybrid_policy.hpp>
#include <halfpoll/wait_engine.hpp>

#include <atomic>
#include <cstdint>

namespace halfpoll
{

class smpboot_thread;
struct softnet_data;
struct napi_struct;

inline constexpr int NAPI_POLL_WEIGHT = 64;
inline constexpr int BUSY_POLL_BUDGET = 8;

/// State bits, with the kernel's names and meaning. SCHED is ownership: whoever set it alone queues, polls or holds it.
enum napi_state : std::uint32_t {
    NAPIF_STATE_SCHED = 1U << 0,              ///< owned: queued, polled, or disabled
    NAPIF_STATE_MISSED = 1U << 1,             ///< an event came while owned; complete_done queues again
    NAPIF_STATE_DISABLE = 1U << 2,            ///< napi_disable() is waiting for ownership
    NAPIF_STATE_LISTED = 1U << 3,             ///< between netif_napi_add() and netif_napi_del()
    NAPIF_STATE_IN_BUSY_POLL = 1U << 4,       ///< completion must neither release nor unmask
    NAPIF_STATE_PREFER_BUSY_POLL = 1U << 5,   ///< an application pledged to poll
    NAPIF_STATE_THREADED = 1U << 6,           ///< polled by its own thread. Changes only while it is disabled
    NAPIF_STATE_SCHED_THREADED = 1U << 7,     ///< that thread owns it
    NAPIF_STATE_THREADED_BUSY_POLL = 1U << 8, ///< and is to poll it without end. Changes as THREADED does
};

/// Who polls an instance.
enum class napi_threaded : std::uint8_t {
    disabled,  ///< NET_RX_SOFTIRQ
    enabled,   ///< a thread `napi/<name>` of its own on the home CPU; mode `big` only
    busy_poll, ///< that thread, without end: the device's interrupt stays masked
};
/// "disabled", "enabled", "busy-poll".
const char *to_string(napi_threaded mode) noexcept;

/// Polls one device queue: receives at most `budget` packets, reaps transmissions without limit.
///  - returns < budget: it must have called napi_complete_done(), and, if that answered true and budget is not 0,
///    napi_unmask_irq(), and has touched nothing of the instance since.
///  - returns == budget: it must not have completed. Work exactly equal to the budget and finished: either is allowed
///  if
///    a completion returns budget - 1.
///  - budget 0: transmissions only, no completion.
/// Runs on the home CPU in NET_RX_SOFTIRQ, or on the instance's thread with bottom halves disabled; must not block,
/// allocate from the heap, throw or make system calls other than the device's doorbells.
using napi_poll_fn = int (*)(napi_struct &, int budget) noexcept;

/// What a device offers for waiting. All run on the home CPU.
struct napi_irq_ops {
    /// Unmask: a packet that arrives from now on fires the source. 0 or -errno (the queue then moves down the ladder).
    int (*enable)(napi_struct &) noexcept;
    /// Mask. 0 or -errno, counted only: an event that comes all the same is a spurious wake.
    int (*disable)(napi_struct &) noexcept;
    /// Packets are waiting in the device; no side effect. Closes the race between the last poll and enable().
    bool (*pending)(const napi_struct &) noexcept;
    /// The device may lack buffers to receive into, and no event comes before a poll has given it some. Null: it never
    /// does.
    bool (*starved)(const napi_struct &) noexcept = nullptr;
};

/// Per-instance settings under the kernel's names (netdev netlink family). Written through napi_configure().
struct napi_config {
    unsigned napi_defer_hard_irqs = 0; ///< empty polls before the interrupt is unmasked
    ktime_t gro_flush_timeout = 0;     ///< ns between those polls
    ktime_t irq_suspend_timeout = 0;   ///< ns; safety net while an application holds the interrupt masked
    int busy_poll = -1;                ///< us to keep polling after the last packet; -1: the adaptive policy decides
    napi_threaded threaded = napi_threaded::disabled; ///< who polls
    bool operator==(const napi_config &) const = default;
};

/// Counters of one instance. Written by the home CPU only; read by anyone (relaxed atomics, torn sets are fine).
struct napi_stats {
    std::atomic<std::uint64_t> polls{0};         ///< poll calls
    std::atomic<std::uint64_t> empty_polls{0};   ///< that found nothing
    std::atomic<std::uint64_t> packets{0};       ///< work returned
    std::atomic<std::uint64_t> interrupts{0};    ///< events of the source
    std::atomic<std::uint64_t> spurious{0};      ///< events that found nothing
    std::atomic<std::uint64_t> unmasks{0};       ///< times the interrupt was armed
    std::atomic<std::uint64_t> completes{0};     ///< completions that released ownership
    std::atomic<std::uint64_t> missed{0};        ///< completions that found MISSED
    std::atomic<std::uint64_t> deferred{0};      ///< completions put off by napi_defer_hard_irqs
    std::atomic<std::uint64_t> park_rescues{0};  ///< packets found by the bounded park, without an interrupt
    std::atomic<std::uint64_t> driver_errors{0}; ///< polls over budget, failed enable or disable
};

/// One device queue as the runtime sees it. Embedded in the device's queue structure.
/// Home CPU (`sd`) only, unless said otherwise.
struct napi_struct {
    // Hot: touched at each schedule, poll and completion.
    std::atomic<std::uint32_t> state{0}; ///< any thread; RMWs, each pairs with the others (one total order)
    int weight = NAPI_POLL_WEIGHT;
    napi_poll_fn poll = nullptr;
    softnet_data *sd = nullptr;  ///< home CPU; changes only while disabled
    napi_struct *next = nullptr; ///< poll_list / repoll linkage, or remote_napi linkage
    napi_struct *prev = nullptr;
    bool listed = false;           ///< on a poll list
    bool polling_unmasked = false; ///< interrupt currently unmasked
    bool spinning = false;         ///< the last completion was refused: it stays and is polled again at once
    bool completed = false;        ///< the current poll has completed it
    bool drained = true;           ///< the last poll found less than its budget
    bool disabled = true;          ///< between napi_disable() and napi_enable(). Control thread
    unsigned defer_hard_irqs_count = 0;
    hybrid_history history;
    napi_config config;

    // Waiting.
    const napi_irq_ops *irq = nullptr; ///< null: nothing can interrupt; rung timed or spin
    wait_source source;                ///< fd and kind filled in by the device before netif_napi_add()
    hrtimer timer;                     ///< deferral, timed rung and suspension
    hrtimer park;                      ///< bounded park of the interrupt rung
    ktime_t park_time = 0;
    ktime_t refill_time = 0;                  ///< the present park, if the device was starved when it began; else 0
    bool park_polls = false;                  ///< the present park ends with a poll, whatever is pending
    ktime_t timed_sleep = 50 * NSEC_PER_USEC; ///< rung timed: longest sleep (hybrid_timed_sleep())
    bool scheduled_by_irq = false;            ///< this ownership began with an event
    bool irq_proven = false;                  ///< an event has brought packets
    bool park_suspect = false;                ///< a park has found packets; the event has a little time left
    unsigned park_misses = 0;                 ///< parks in a row that found packets and no event
    unsigned spurious_row = 0;                ///< events in a row that found nothing ...
    ktime_t spurious_since = 0;               ///< ... since then,
    std::uint64_t spurious_packets = 0;       ///< ... when so many packets had come

    // Cold: names and figures for `show`.
    softnet_data *chosen = nullptr; ///< the home it was given; another one has it while that CPU is offline. Control
    std::atomic<wait_rung> rung{wait_rung::interrupt}; ///< written by the home CPU, read by anyone, relaxed
    std::atomic<const char *> rung_reason{""};         ///< static string; relaxed, same writer
    char name[48] = {};                                ///< "<device>-<queue>"
    bool thread_is_napi = true;                        ///< its thread is called "napi/<name>", else <name>
    napi_stats stats;
    /// Asleep while `config.threaded` is disabled; null: it never was otherwise. Made by
    /// netif_napi_add() or napi_configure(), ended by netif_napi_del().
    smpboot_thread *thread = nullptr;
};

/// Attaches a new, disabled instance to a CPU. Control thread. `start_rung` is the rung the device permits to start on:
/// interrupt needs `napi.irq` and a valid `napi.source.fd`; with `napi.irq` null it means that nothing but
/// napi_schedule() brings work (hand-over rings). `reason` (static string) says why a lower one was chosen. If the CPU
/// is offline, the one that serves it has the instance until it returns. Throws `error`, with nothing attached, if the
/// instance is to be threaded and that cannot be.
void netif_napi_add(softnet_data &sd, napi_struct &napi, napi_poll_fn poll, wait_rung start_rung = wait_rung::interrupt,
                    const char *reason = "");
/// The same for the CPU's backlog, of which there is one: scheduled on the CPU itself it is always polled in NET_RX, so
/// that local delivery ends in the same dispatch; scheduled from elsewhere, with thread_backlog_napi, by the thread
/// `backlog_napi/N`. Control thread.
void napi_backlog_add(softnet_data &sd, napi_struct &napi, napi_poll_fn poll);
/// Detaches a disabled instance; afterwards its memory and fd may go. Control thread.
void netif_napi_del(napi_struct &napi);

/// Allows polling; schedules once, so that packets that came before are seen. Control thread. Throws `error` if the
/// instance is not disabled.
void napi_enable(napi_struct &napi);
/// After it returns no poll runs until napi_enable(), the interrupt is masked, the timers are cancelled and will not
/// queue. Control thread (it sleeps); waits for ownership. Calling it twice throws `error`.
void napi_disable(napi_struct &napi);
/// napi_disable() is about to be called: who has the instance gives it up. So that several are disabled in the time of
/// one. Control thread.
void napi_disable_announce(napi_struct &napi);
/// Gives it another home, with its interrupt; disables and enables it if it was enabled, and what comes meanwhile is
/// seen then. Control thread. Of a CPU that is offline as netif_napi_add().
void napi_set_home(napi_struct &napi, softnet_data &home);
/// Sleeps until a poll that is under way has released ownership. Control thread.
void napi_synchronize(const napi_struct &napi);
/// Changes settings on the home CPU; effective from the next completion. If `threaded` changes, the instance is
/// disabled for that moment: packets wait in the device. Control thread. Throws `error`, and changes nothing then.
void napi_configure(napi_struct &napi, const napi_config &config);

/// Tries to become the one who queues it. True only for the caller that took SCHED from 0 to 1; a loser leaves MISSED.
/// Any thread.
bool napi_schedule_prep(napi_struct &napi) noexcept;
/// Queues an instance whose SCHED the caller has just taken: on the home CPU to the poll list, from elsewhere through
/// the home CPU's remote list and doorbell. Any thread.
void __napi_schedule(napi_struct &napi) noexcept;
/// Both. True if this call queued it. Any thread.
bool napi_schedule(napi_struct &napi) noexcept;

/// The poll function found less than its budget. True: ownership is released and the caller unmasks the interrupt.
/// False: it does not (deferral released it with a timer, MISSED queued it again, a busy poller keeps it). Home CPU.
bool napi_complete_done(napi_struct &napi, int work_done) noexcept;
inline bool napi_complete(napi_struct &napi) noexcept { return napi_complete_done(napi, 0); }

/// Waits for the next packet on the instance's rung: unmasks, looks once more, and takes the instance back if packets
/// came in between. Called after napi_complete_done() answered true, and nowhere else. Home CPU.
void napi_unmask_irq(napi_struct &napi) noexcept;

/// Polls the instance from the home CPU's own thread until `end(ctx)` says so (looked at after every poll), `budget`
/// packets a time. `prefer` asks a current owner to leave it to the busy poller. True if it ever got ownership.
bool napi_busy_loop(napi_struct &napi, bool (*end)(void *ctx), void *ctx, bool prefer = false,
                    int budget = BUSY_POLL_BUDGET) noexcept;

/// irq_suspend_timeout: the application has found events and will poll again: (re)arms the safety timer. Masking itself
/// comes from napi_defer_hard_irqs and gro_flush_timeout. Home CPU.
void napi_suspend_irqs(napi_struct &napi) noexcept;
/// The application found nothing and goes to sleep: back to interrupts, by one more poll. Home CPU.
void napi_resume_irqs(napi_struct &napi) noexcept;

} // namespace halfpoll
