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

inline constexpr int NAPI_POLL_WEIGHT = 64; ///< packets, the default `weight`
inline constexpr int BUSY_POLL_BUDGET = 8;  ///< packets, the default budget of a poll in napi_busy_loop()

/// State bits, with the kernel's names and meaning. SCHED is ownership: the context that set it, the owner, alone
/// queues, polls or holds the instance until it clears SCHED.
enum napi_state : std::uint32_t {
    NAPIF_STATE_SCHED = 1U << 0,              ///< owned: queued, being polled, or disabled
    NAPIF_STATE_MISSED = 1U << 1,             ///< an event came while owned; napi_complete_done() queues again
    NAPIF_STATE_DISABLE = 1U << 2,            ///< napi_disable() waits for ownership
    NAPIF_STATE_LISTED = 1U << 3,             ///< between netif_napi_add() and netif_napi_del()
    NAPIF_STATE_IN_BUSY_POLL = 1U << 4,       ///< napi_complete_done() returns false and keeps ownership
    NAPIF_STATE_PREFER_BUSY_POLL = 1U << 5,   ///< a busy poller asks the owner to release
    NAPIF_STATE_THREADED = 1U << 6,           ///< polled by its own thread. Changes only while it is disabled
    NAPIF_STATE_SCHED_THREADED = 1U << 7,     ///< that thread is the owner
    NAPIF_STATE_THREADED_BUSY_POLL = 1U << 8, ///< that thread polls without pause. Changes only while it is disabled
};

/// The context that polls an instance.
enum class napi_threaded : std::uint8_t {
    disabled,  ///< NET_RX_SOFTIRQ
    enabled,   ///< a thread `napi/<name>` of its own on the home CPU; not in mode `exclusive`
    busy_poll, ///< such a thread, which polls without pause: the device's interrupt stays masked
};
/// "disabled", "enabled", "busy-poll".
const char *to_string(napi_threaded mode) noexcept;

/// Polls one device queue: receives at most `budget` packets, reaps transmissions without limit. Returns the number of
/// packets received.
///  - A return value below `budget` means that the queue is drained. The function has called napi_complete_done() and,
///    if that returned true, napi_unmask_irq(), and has not touched the instance since.
///  - A return value of `budget` means that there may be more. The function has not completed. If `budget` packets
///    drained the queue, the function may also complete and return `budget` - 1.
///  - With `budget` 0 it reaps transmissions only, and does not complete.
/// Runs in a section of the home CPU: in NET_RX_SOFTIRQ, on the instance's own thread, or in napi_busy_loop(). It never
/// blocks, allocates from the heap or throws; the device's doorbells are its only system calls.
using napi_poll_fn = int (*)(napi_struct &, int budget) noexcept;

/// A device's functions for waiting. All run in a section of the home CPU.
struct napi_irq_ops {
    /// Unmasks the interrupt: a packet that arrives from now on fires `source`. Returns 0, also if the device cannot be
    /// masked. Or returns -errno, whichever it is (net_core: that of port::rx_irq_enable()); the instance then moves
    /// down to rung `timed`.
    int (*enable)(napi_struct &) noexcept;
    /// Masks the interrupt. Returns 0, or -errno (net_core: that of port::rx_irq_disable()), which is only counted: an
    /// event that comes nevertheless is a spurious wake-up.
    int (*disable)(napi_struct &) noexcept;
    /// True if packets wait in the device. Consumes none. Closes the race between the last poll and `enable`.
    bool (*pending)(const napi_struct &) noexcept;
    /// True if the device may lack buffers to receive into, so that no event comes before a poll has supplied some.
    /// Null: it never lacks them.
    bool (*starved)(const napi_struct &) noexcept = nullptr;
};

/// Per-instance settings under the kernel's names (netdev netlink family). Written through napi_configure().
struct napi_config {
    unsigned napi_defer_hard_irqs = 0; ///< empty polls before the interrupt is unmasked
    ktime_t gro_flush_timeout = 0;     ///< ns between those polls
    ktime_t irq_suspend_timeout = 0;   ///< ns; safety net while an application keeps the interrupt masked
    int busy_poll = -1;                ///< us of polling after the last packet; -1: the adaptive policy decides
    napi_threaded threaded = napi_threaded::disabled; ///< the context that polls
    bool operator==(const napi_config &) const = default;
};

/// Counters of one instance. Written in sections of the home CPU, read by any thread (relaxed: two counters need not be
/// of the same moment).
struct napi_stats {
    std::atomic<std::uint64_t> polls{0};         ///< poll calls
    std::atomic<std::uint64_t> empty_polls{0};   ///< polls that found no packet
    std::atomic<std::uint64_t> packets{0};       ///< packets that polls returned
    std::atomic<std::uint64_t> interrupts{0};    ///< events of the source
    std::atomic<std::uint64_t> spurious{0};      ///< events that found no packet
    std::atomic<std::uint64_t> unmasks{0};       ///< times the interrupt was unmasked
    std::atomic<std::uint64_t> completes{0};     ///< completions that released ownership
    std::atomic<std::uint64_t> missed{0};        ///< completions that found MISSED
    std::atomic<std::uint64_t> deferred{0};      ///< completions that left the interrupt masked and started the timer
    std::atomic<std::uint64_t> park_rescues{0};  ///< parks that found packets for which no interrupt had come
    std::atomic<std::uint64_t> driver_errors{0}; ///< breaches of napi_poll_fn; failed `enable`, `disable` and waits
};

/// One device queue from the runtime's point of view. Embedded in the device's queue structure, which owns it. Members
/// are used in sections of the home CPU (`sd`) only, unless their comment names another context.
struct napi_struct {
    // Hot: used at each schedule, poll and completion.
    /// napi_state bits. Any thread; read-modify-writes, each pairs with the others (one total order).
    std::atomic<std::uint32_t> state{0};
    int weight = NAPI_POLL_WEIGHT; ///< budget of a poll, in packets
    napi_poll_fn poll = nullptr;
    softnet_data *sd = nullptr;         ///< the home CPU; changes only while disabled
    napi_struct *next = nullptr;        ///< linkage of a napi_list, or of softnet_data::remote_napi
    bool listed = false;                ///< on a napi_list
    bool polling_unmasked = false;      ///< the interrupt is unmasked
    bool spinning = false;              ///< the last completion was refused: the instance is polled again at once
    bool completed = false;             ///< the current poll has completed
    bool drained = true;                ///< the last poll found less than its budget
    bool disabled = true;               ///< between napi_disable() and napi_enable(). Control thread
    unsigned defer_hard_irqs_count = 0; ///< completions that are still to be deferred
    hybrid_history history;
    napi_config config;

    // Waiting.
    const napi_irq_ops *irq = nullptr;        ///< null: the device has no interrupt; rung timed or spin
    wait_source source;                       ///< the device fills in `fd` and `kind` before netif_napi_add()
    hrtimer timer;                            ///< for deferral, the timed rung and suspension
    hrtimer park;                             ///< the bounded park of the interrupt rung
    ktime_t park_time = 0;                    ///< length of the park in ns; 0: not chosen yet
    ktime_t refill_time = 0;                  ///< length of the current park if it began starved; else 0
    bool park_polls = false;                  ///< the current park ends with a poll, even if nothing is pending
    ktime_t timed_sleep = 50 * NSEC_PER_USEC; ///< rung timed: longest sleep (hybrid_timed_sleep())
    bool scheduled_by_irq = false;            ///< the current ownership began with an event
    bool irq_proven = false;                  ///< an event has brought packets
    bool park_suspect = false;                ///< a park has found packets, and waits a little longer for the event
    unsigned park_misses = 0;                 ///< parks in a row that found packets without an event
    unsigned spurious_row = 0;                ///< events in a row that found no packet
    ktime_t spurious_since = 0;               ///< when that row began
    std::uint64_t spurious_packets = 0;       ///< stats.packets when that row began

    // Cold: names and figures for `show`.
    softnet_data *chosen = nullptr; ///< the home that was asked for; not `sd` while it is offline. Control thread
    std::atomic<wait_rung> rung{wait_rung::interrupt}; ///< written by the home CPU, read by any thread, relaxed
    std::atomic<const char *> rung_reason{""};         ///< static string: why no better rung; accessed as `rung`
    char name[48] = {};                                ///< "<device>-<queue>"
    bool thread_is_napi = true;                        ///< its thread is named "napi/<name>"; false: "<name>"
    napi_stats stats;
    /// Its own thread, which netif_napi_add() or napi_configure() makes and netif_napi_del() ends; stopped while
    /// `config.threaded` is disabled. Null: the instance has never been threaded.
    smpboot_thread *thread = nullptr;
};

/// Attaches a new instance, disabled, to the CPU of `sd`. `start_rung` is the best rung that the device permits.
/// `interrupt` needs `napi.irq` and a valid `napi.source.fd`; with `napi.irq` null it means that only napi_schedule()
/// brings work (hand-over rings). `reason` (static string) says why `start_rung` is not a better one. If the CPU is
/// offline, its stand-in has the instance until the CPU is online again. Control thread. Throws `error`, with nothing
/// attached, if `napi.config` asks for a thread and it cannot be started or the mode is `exclusive`.
void netif_napi_add(softnet_data &sd, napi_struct &napi, napi_poll_fn poll, wait_rung start_rung = wait_rung::interrupt,
                    const char *reason = "");
/// netif_napi_add() for the CPU's backlog, of which there is one. Scheduled on its own CPU, the backlog is always
/// polled in NET_RX, so that local delivery ends within the dispatch. Scheduled from another CPU, with
/// thread_backlog_napi, it is polled by the thread `backlog_napi/N`. Control thread; throws as netif_napi_add().
void napi_backlog_add(softnet_data &sd, napi_struct &napi, napi_poll_fn poll);
/// Detaches an instance; afterwards its memory may be freed and its fd closed. Control thread. Throws `error` if the
/// instance is not disabled.
void netif_napi_del(napi_struct &napi);

/// Allows polling, and schedules the instance once for packets that came before. Control thread. Throws `error` if the
/// instance is not disabled.
void napi_enable(napi_struct &napi);
/// Waits for ownership and keeps it: when the function returns, no poll runs until napi_enable(), the interrupt is
/// masked, and the timers are cancelled. Control thread; sleeps. Throws `error` if the instance is disabled.
void napi_disable(napi_struct &napi);
/// Announces napi_disable(), so that the owner releases early. Announcing several instances first disables all of them
/// in the time of one. Control thread. Throws `error` if the instance is disabled.
void napi_disable_announce(napi_struct &napi);
/// Moves the instance, with its interrupt, to another home CPU. An enabled instance is disabled meanwhile; packets that
/// come then are seen afterwards. If the CPU is offline, its stand-in has the instance until the CPU is online again.
/// Control thread; sleeps. If the instance's thread cannot be started there, the instance goes on without one
/// (runtime_options::warn).
void napi_set_home(napi_struct &napi, softnet_data &home);
/// Sleeps until the poll that is under way has released ownership. Control thread.
void napi_synchronize(const napi_struct &napi);
/// Changes the settings on the home CPU; they take effect at the next completion. If `threaded` changes, the instance
/// is disabled meanwhile, and packets wait in the device. Control thread; sleeps. Throws `error`, with nothing changed,
/// if the thread cannot be started or the mode is `exclusive`.
void napi_configure(napi_struct &napi, const napi_config &config);

/// Tries to take ownership in order to queue the instance. True for the caller that set SCHED. False: the instance has
/// an owner, for which MISSED is left, or napi_disable() waits for it. Any thread.
bool napi_schedule_prep(napi_struct &napi) noexcept;
/// Queues an instance whose SCHED the caller has just set: on its home CPU on the poll list, from elsewhere through the
/// home CPU's remote list and doorbell, and a THREADED one by waking its thread. Any thread.
void __napi_schedule(napi_struct &napi) noexcept;
/// napi_schedule_prep() and, if that returns true, __napi_schedule(). True if this call queued the instance. Any
/// thread.
bool napi_schedule(napi_struct &napi) noexcept;

/// Ends a poll that found less than its budget. True: ownership is released, and the caller calls napi_unmask_irq().
/// False: the caller does not touch the instance any more. It was released with a timer (deferral), queued again
/// (MISSED), or is polled again at once (busy poller, adaptive spin). Home CPU.
bool napi_complete_done(napi_struct &napi, int work_done) noexcept;
inline bool napi_complete(napi_struct &napi) noexcept { return napi_complete_done(napi, 0); }

/// Waits for the next packet on the instance's rung. On rung `interrupt` it unmasks, checks once more for packets, and
/// schedules the instance if some have come. Called only after napi_complete_done() has returned true. Home CPU.
void napi_unmask_irq(napi_struct &napi) noexcept;

/// Polls the instance, at most `budget` packets a poll, until `end(ctx)` returns true. `end` is called after each poll,
/// and after each turn in which another owner has the instance. Between polls the CPU does its other duties. `prefer`
/// asks the current owner to release. True if the loop has ever had ownership. On the home CPU's own thread, in a
/// section, not in a softirq.
bool napi_busy_loop(napi_struct &napi, bool (*end)(void *ctx), void *ctx, bool prefer = false,
                    int budget = BUSY_POLL_BUDGET) noexcept;

/// The application has found events and will poll again: (re)starts the safety timer of `irq_suspend_timeout`. It is
/// napi_defer_hard_irqs and gro_flush_timeout that keep the interrupt masked. Home CPU.
void napi_suspend_irqs(napi_struct &napi) noexcept;
/// The application has found nothing and goes to sleep: schedules one more poll, which unmasks. Home CPU.
void napi_resume_irqs(napi_struct &napi) noexcept;

} // namespace halfpoll
