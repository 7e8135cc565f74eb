// SPDX-License-Identifier: BSD-3-Clause
//
// The two-phase sleep of a CPU, and producers that ring its doorbell (runtime/cpu/cpu_sleep.hpp,
// runtime/cpu/cpu_loop.cpp, runtime/softirq/remote.cpp). Plain stores go through store buffers, as the C++ and the
// hardware memory models allow: they become visible some time later, at the latest with a fence.
//
//   no lost wake-up: when nothing more can happen, everything that was published has been taken
//   one owner:       one producer rings for each announced sleep
//
// Broken variants: NO_RECHECK, NO_FENCE_SLEEPER, NO_FENCE_PRODUCER, ANNOUNCES_LATE, EVERYBODY_RINGS, NO_RING

#define PRODUCERS 2
#define ITEMS 2

byte list = 0;             // softnet_data::call_queue, remote_napi: items published and visible
byte unseen[PRODUCERS];    // published, still in the producer's store buffer
bool sleeping = false;     // softnet_data::sleeping
byte buffered = 2;         // the sleeper's store to `sleeping`: 0, 1; 2: none
byte doorbell = 0;         // the eventfd

byte taken = 0;            // ghosts
byte announced = 0;
byte rings = 0;

// Store buffers drain at any time. A buffer holds one store to a variable; the next store waits.
active proctype memory()
{
end:
    do
    :: atomic { buffered != 2 -> sleeping = buffered; buffered = 2 }
    :: atomic { unseen[0] > 0 -> list = list + unseen[0]; unseen[0] = 0 }
    :: atomic { unseen[1] > 0 -> list = list + unseen[1]; unseen[1] = 0 }
    od
}

active [PRODUCERS] proctype producer()
{
    byte me = _pid - 1;
    byte sent = 0;
    bool ring = false;
    do
    :: sent < ITEMS ->
       unseen[me]++;                       // push()
       sent++;
#ifndef NO_FENCE_PRODUCER
       unseen[me] == 0;                    // the fence in sleeper_seen()
#endif
       if
       :: sleeping ->
#ifdef EVERYBODY_RINGS
          ring = true;
          sleeping = false;
#else
          atomic { ring = sleeping; sleeping = false }; // the exchange in kick_cpu()
#endif
          if
          :: ring ->
#ifdef NO_RING
             skip
#else
             atomic { doorbell++; rings++; assert(rings <= announced) }
#endif
          :: else
          fi
       :: else
       fi;
       ring = false
    :: else -> break
    od
}

active proctype sleeper()
{
end:
    do
    :: atomic { list > 0 -> taken = taken + list; list = 0 } // cpu_turn(), take_remote()
    :: list == 0 ->                        // nothing to do: sleep_unless()
#ifdef ANNOUNCES_LATE
       if
       :: list > 0 -> goto awake
       :: else
       fi;
#endif
       atomic { buffered == 2 -> buffered = 1; announced++ }; // announce_sleep()
#ifndef NO_FENCE_SLEEPER
       buffered == 2;
#endif
#if !defined(NO_RECHECK) && !defined(ANNOUNCES_LATE)
       if
       :: list > 0 -> goto awake           // remote_pending()
       :: else
       fi;
#endif
end_blocked:
       atomic { doorbell > 0 -> doorbell = 0 } // wait_engine::block(): an 8-byte read
awake:
       atomic { buffered == 2 -> buffered = 0 }
    od
}

active proctype monitor()
{
end:
    timeout -> assert(list == 0 && taken == PRODUCERS * ITEMS)
}
