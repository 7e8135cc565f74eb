// SPDX-License-Identifier: BSD-3-Clause
//
// The backlog of a CPU, with a thread backlog_napi/N (netio/steering/backlog.cpp, runtime/napi/napi_thread.cpp,
// runtime/thread/smpboot.cpp). Other CPUs put packets on rings without a lock. They kick only if the backlog has
// announced that it is idle: they check that at once, and again at the end of the turn, behind a fence. The CPU itself
// has the backlog polled in NET_RX. Plain stores go through store buffers, as in sleep.pml.
//
//   no lost wake-up: when nothing more can happen, every published packet has been taken
//   one owner:       SCHED has one holder, which is in one place: with the thread, or on the poll list
//
// Broken variants: NO_RECHECK, NO_FENCE_TARGET, NO_FENCE_PRODUCER, NO_CHECK, WAKES_FIRST, NOTES_LATE, PLAIN_STORE,
// TESTS_SCHED

#define PRODUCERS 2
#define PACKETS(producer) (2 - (producer))
#define ALL 4 // and one of the CPU's own

#define SCHED 1
#define MISSED 2
#define SCHED_THREADED 4

byte rings = 0;          // packets visible in all rings
byte unseen[PRODUCERS];  // published, still in the producer's store buffer
bool idle = true;        // net_cpu::backlog_idle
byte buffered = 2;       // the target's store to `idle`: 0, 1; 2: none
byte state = 0;          // napi_struct::state
byte wakes = 0;          // smpboot_thread::wakes_
byte queued = 0;         // on the poll list of the CPU
bool locked = false;     // the CPU's section

byte taken = 0;          // ghosts
byte owners = 0;

inline own()
{
    owners++;
    assert(owners == 1)
}

// napi_schedule_prep(): a release, so that earlier stores become visible first.
inline schedule_prep(val, won)
{
    do
    :: val = state;
       atomic {
           if
#ifdef PLAIN_STORE
           :: true ->
#else
           :: state == val ->
#endif
              state = val | SCHED | ((val & SCHED) -> MISSED : 0);
              won = !(val & SCHED);
              if
              :: won -> own()
              :: else
              fi;
              break
           :: else
           fi
       }
    od;
    val = 0
}

// __napi_schedule() at home
inline queue_at_home()
{
    atomic {
        assert(queued == 0);
        queued = 1
    }
}

// __napi_schedule() from elsewhere: napi_thread_schedule()
inline give_to_thread()
{
#ifdef WAKES_FIRST
    wakes++;
    atomic { assert(queued == 0); state = state | SCHED_THREADED }
#else
    atomic { assert(queued == 0); state = state | SCHED_THREADED };
    wakes++
#endif
}

// process_backlog(), in a section
inline poll(val, won)
{
    if
    :: buffered == 2 -> buffered = 0 // producers need not kick
    :: buffered != 2 -> buffered = 0
    fi;
    atomic { taken = taken + rings; rings = 0 };
    do // napi_release()
    :: buffered == 2 ->
       val = state;
       atomic {
           if
           :: state == val ->
              state = ((val & MISSED) -> SCHED : 0);
              if
              :: val & MISSED
              :: else -> owners--
              fi;
              break
           :: else
           fi
       }
    od;
    if
    :: val & MISSED -> queue_at_home()
    :: else ->
       atomic { buffered == 2 -> buffered = 1 }; // announce()
#ifndef NO_FENCE_TARGET
       buffered == 2;
#endif
#ifndef NO_RECHECK
       if
       :: rings > 0 ->
          schedule_prep(val, won);
          if
          :: won -> queue_at_home()
          :: else
          fi;
          won = false
       :: else
       fi
#endif
    fi;
    val = 0
}

// Store buffers drain at any time.
active proctype memory()
{
end:
    do
    :: atomic { buffered != 2 -> idle = buffered; buffered = 2 }
    :: atomic { unseen[0] > 0 -> rings = rings + unseen[0]; unseen[0] = 0 }
    :: atomic { unseen[1] > 0 -> rings = rings + unseen[1]; unseen[1] = 0 }
    od
}

inline kick(val, won)
{
    unseen[me] == 0;
    schedule_prep(val, won);
    if
    :: won -> give_to_thread()
    :: else
    fi;
    won = false
}

active [PRODUCERS] proctype producer()
{
    byte me = _pid - 1;
    byte sent = 0;
    byte val = 0;
    bool won = false;
    bool unchecked = false;
    do
    :: sent < PACKETS(me) ->      // net_rps_flush()
       unseen[me]++;
       sent++;
       if
       :: idle -> kick(val, won)
       :: else -> unchecked = true
       fi
    :: unchecked ->           // kick_idle_backlogs(), at the end of a turn
       unchecked = false;
#ifndef NO_FENCE_PRODUCER
       unseen[me] == 0;
#endif
#ifndef NO_CHECK
       if
       :: idle -> kick(val, won)
       :: else
       fi
#endif
    :: sent == PACKETS(me) && !unchecked -> break
    od
}

// The CPU's own thread: it steers a packet to itself once, and serves the poll list.
active proctype home()
{
    byte val = 0;
    bool won = false;
    bool steered = false;
end:
    do
    :: atomic { !steered && !locked -> locked = true };
       steered = true;
       rings++;
       schedule_prep(val, won);
       if
       :: won -> queue_at_home()
       :: else
       fi;
       won = false;
       locked = false
    :: atomic { queued > 0 && !locked -> locked = true };
       if
       :: queued > 0 ->
          queued = 0;
          poll(val, won)
       :: else
       fi;
       locked = false
    od
}

// smpboot_thread::main(), run_napi_thread()
active proctype backlog_napi()
{
    byte seen = 0;
    byte val = 0;
    bool won = false;
end:
    do
    :: wakes != seen ->
#ifndef NOTES_LATE
       seen = wakes;
#endif
       do
#ifdef TESTS_SCHED
       :: state & SCHED ->
#else
       :: state & SCHED_THREADED ->
#endif
          atomic { !locked -> locked = true };
          assert(queued == 0); // an instance that the thread polls is nowhere else
          poll(val, won);
          locked = false
       :: else -> break
       od;
#ifdef NOTES_LATE
       seen = wakes
#else
       skip
#endif
    od
}

active proctype monitor()
{
end:
    timeout ->
        assert(rings == 0 && taken == ALL);
        assert(state == 0 && owners == 0 && idle)
}
