// SPDX-License-Identifier: BSD-3-Clause
//
// A CPU that goes offline and returns, while work for it arrives at any time (runtime/control/cpu_hotplug.cpp). CPU 0 goes
// and returns; CPU 1 serves it meanwhile. Producers do not check whether the CPU is online.
//
//   no lost wake-up: when nothing more can happen, everything that was published has been done, once
//   one owner:       one thread at a time touches the work that waits on CPU 0 (timers, tasklets, ...)
//
// Broken variants: ADOPTS_UNHELD, FORGETS_WAITING, NO_FORWARD, NO_RECHECK, NO_RING, RETURNS_UNHELD

#define PRODUCERS 2
#define ITEMS 1

mtype = { running, held, parked };

mtype wish = running;      // bh_thread::wish
mtype state = running;     // bh_thread::state
byte queue[2];             // softnet_data::call_queue
byte waiting[2];           // work that calls have left behind: timers, tasklets, pending softirqs
byte adopted = 0;          // work of CPU 0 that CPU 1 has adopted
bool sleeping[2];          // softnet_data::sleeping
byte doorbell[2];

mtype = { none, adopt, take_back };
mtype call = none;         // the control thread's call_on(1)

byte inside = 0;           // ghosts: threads inside the work that waits on CPU 0
byte done = 0;

inline enter() { atomic { inside++; assert(inside == 1) } }
inline leave() { inside-- }

inline kick(c)
{
    atomic {
        if
        :: sleeping[c] -> sleeping[c] = false; doorbell[c]++
        :: else
        fi
    }
}

active [PRODUCERS] proctype producer()
{
    byte sent = 0;
    do
    :: sent < ITEMS ->
       queue[0]++; // call_on_async()
       kick(0);
       sent++
    :: else -> break
    od
}

// Some of the waiting work is done now, the rest later.
inline serve(n)
{
    do
    :: n > 0 -> atomic { n--; done++ }
    :: break
    od
}

active proctype cpu0()
{
    mtype seen = running;
    byte n = 0;
end:
    do
    :: wish == running -> // cpu_turn()
       atomic { n = queue[0]; queue[0] = 0 };
       enter();
       atomic { waiting[0] = waiting[0] + n; n = 0 };
       serve(waiting[0]);
       leave();
       if
       :: waiting[0] == 0 -> // sleep_unless()
          sleeping[0] = true;
          if
          :: queue[0] == 0 && wish == running ->
end_idle:
             atomic { doorbell[0] > 0 -> doorbell[0]-- }
          :: else
          fi;
          sleeping[0] = false
       :: else
       fi
    :: wish != running -> // cpu_offline_loop()
       do
       :: sleeping[0] = true;
          seen = wish;
          if
#if defined(NO_RECHECK) || defined(NO_FORWARD)
          :: seen == state ->
#else
          :: seen == state && (seen == held || queue[0] == 0) ->
#endif
end_offline:
             atomic { doorbell[0] > 0 -> doorbell[0]-- }
          :: else
          fi;
          sleeping[0] = false;
          state = seen;
          if
          :: seen == running -> break
#ifndef NO_FORWARD
          :: seen == parked -> // forward_calls()
             atomic { n = queue[0]; queue[0] = 0; queue[1] = queue[1] + n };
             if
             :: n > 0 ->
#ifndef NO_RING
                kick(1);
#endif
                n = 0
             :: else
             fi
#endif
          :: else
          fi
       od
    od
}

active proctype cpu1()
{
end:
    do
    :: atomic { queue[1] > 0 -> waiting[1] = waiting[1] + queue[1]; queue[1] = 0 }
    :: call == adopt ->
       enter();
#ifndef FORGETS_WAITING
       adopted = adopted + waiting[0];
#endif
       waiting[0] = 0;
       leave();
       call = none
    :: call == take_back ->
       enter();
       waiting[0] = waiting[0] + adopted;
       adopted = 0;
       leave();
       call = none
    :: waiting[1] > 0 -> atomic { waiting[1]--; done++ }
    :: adopted > 0 -> atomic { adopted--; done++ }
    :: queue[1] == 0 && call == none && waiting[1] == 0 && adopted == 0 ->
       sleeping[1] = true;
       if
       :: queue[1] == 0 && call == none ->
end_idle:
          atomic { doorbell[1] > 0 -> doorbell[1]-- }
       :: else
       fi;
       sleeping[1] = false
    od
}

inline request(what) // bh_thread_request()
{
    wish = what;
    kick(0);
    state == what
}

inline call_on_1(what)
{
    call = what;
    kick(1);
    call == none
}

inline down()
{
#ifdef ADOPTS_UNHELD
    wish = held;
    kick(0);
#else
    request(held);
#endif
    call_on_1(adopt);
    request(parked)
}

inline up()
{
#ifdef RETURNS_UNHELD
    wish = running;
    kick(0);
#else
    request(held);
#endif
    call_on_1(take_back);
    request(running)
}

active proctype control()
{
    down();
    if
    :: up()
    :: skip
    fi
}

active proctype monitor()
{
end:
    timeout -> assert(done == PRODUCERS * ITEMS && queue[0] == 0 && queue[1] == 0)
}
