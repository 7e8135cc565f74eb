// SPDX-License-Identifier: BSD-3-Clause
//
// A NAPI instance on its home CPU: schedule, completion with MISSED, and the interrupt that is unmasked again
// (runtime/napi/napi.cpp, runtime/napi/napi_irq.cpp). Packets of a device and work of another thread arrive at any
// time.
//
//   no lost wake-up: when nothing more can happen, the device's ring and the other thread's work are empty
//   one owner:       SCHED has one holder, and the instance is in one place
//
// Broken variants: NO_RECHECK, NO_MISSED, FORGETS_MISSED, PLAIN_STORE, TIMER_IGNORES_OWNER

#define PACKETS 3
#define WORK 2

#define SCHED 1
#define MISSED 2

byte state = 0;         // napi_struct::state
byte ring = 0;          // packets in the device
bool unmasked = true;   // the device's interrupt
bool event = false;     // the interrupt has fired
byte work = 0;          // of the other thread; only its napi_schedule() announces it
byte queued = 0;        // on the poll list, or on the remote list
bool timer = false;     // napi_watchdog() is armed

byte owners = 0;        // ghost: threads that believe to hold SCHED

inline own()
{
    owners++;
    assert(owners == 1)
}

// napi_schedule_prep(): a compare-and-exchange loop. The load is a step of its own.
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
#ifdef NO_MISSED
              state = val | SCHED;
#else
              state = val | SCHED | ((val & SCHED) -> MISSED : 0);
#endif
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

inline enqueue()
{
    atomic {
        assert(queued == 0);
        queued = 1
    }
}

inline schedule(val, won)
{
    schedule_prep(val, won);
    if
    :: won -> enqueue()
    :: else
    fi;
    won = false
}

// Publishes a packet, then reads the mask, with a barrier between the two.
active proctype device()
{
    byte sent = 0;
    do
    :: sent < PACKETS ->
       ring++;
       sent++;
       if
       :: unmasked -> event = true
       :: else
       fi
    :: else -> break
    od
}

active proctype other_thread()
{
    byte val = 0;
    byte done = 0;
    bool won = false;
    do
    :: done < WORK ->
       work++;
       done++;
       schedule(val, won)
    :: else -> break
    od
}

active proctype home_cpu()
{
    byte val = 0;
    bool won = false;
end:
    do
    :: event -> // napi_event()
       event = false;
       schedule_prep(val, won);
       if
       :: won ->
          unmasked = false;
          enqueue()
       :: else
       fi;
       won = false
    :: timer -> // napi_watchdog()
       timer = false;
       do
       :: val = state;
#ifndef TIMER_IGNORES_OWNER
          if
          :: val & SCHED -> break
          :: else
          fi;
#endif
          atomic {
              if
              :: state == val ->
                 state = val | SCHED;
                 own();
                 won = true;
                 break
              :: else
              fi
          }
       od;
       if
       :: won -> enqueue()
       :: else
       fi;
       val = 0;
       won = false
    :: queued > 0 ->
       queued = 0;
       unmasked = false;
       ring = 0; // the poll, and its last ring check
       work = 0;
       do // napi_release()
       :: val = state;
          atomic {
              if
              :: state == val ->
#ifdef FORGETS_MISSED
                 state = 0;
                 val = SCHED;
#else
                 state = ((val & MISSED) -> SCHED : 0);
#endif
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
       :: val & MISSED -> enqueue()
       :: else ->
          if
          :: true -> // napi_unmask_irq()
             unmasked = true;
#ifndef NO_RECHECK
             if
             :: ring > 0 -> schedule(val, won)
             :: else
             fi
#else
             skip
#endif
          :: timer = true // deferred: the interrupt stays masked, the timer brings it back
          fi
       fi;
       val = 0
    od
}

active proctype monitor()
{
end:
    timeout -> assert(ring == 0 && work == 0 && owners == 0 && state == 0)
}
