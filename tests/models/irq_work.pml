// SPDX-License-Identifier: BSD-3-Clause
//
// irq_work on a CPU that has a thread irq_work/N (runtime/softirq/irq_work.cpp): claims, the raised and the lazy list,
// the interrupt of the CPU's own thread, and the CPU's HARD item that wakes irq_work/N. Other threads queue items. A
// LAZY item is on the lazy list from the start, and the tick that it waits for never comes.
//
//   no lost wake-up: when nothing more can happen, every item's callback has seen everything that was written for it,
//                    also by threads that failed to claim the item
//   one owner:       an item is on at most one list, once, and its callback never runs on two threads at once
//
// Broken variants: SEED_DOUBLE_ENQUEUE, PLAIN_CLAIM, CLEARS_PENDING_LATE, CLEARS_BUSY_ALWAYS, ALLOWS_INTERRUPT_LATE,
// WAKES_ONLY_IF_EMPTY

#define PENDING 1
#define BUSY 2

#define WAKE 0 // the CPU's own item
#define HARD 1
#define PLAIN 2
#define LAZY 3
#define ITEMS 4

#define MASK(i) (1 << (i))

byte flags[ITEMS] = {0, 0, 0, 3};
byte raised = 0;           // one bit for each item
byte lazy = MASK(LAZY);
bool interrupting = false; // irq_work_cpu::interrupting
byte calls = 0;            // irq_work_cpu::call is on the CPU's call queue
bool woken = false;        // irq_work/N

byte written[ITEMS];       // ghosts: written for the callback to see
byte lists[ITEMS] = {0, 0, 0, 1}; // lists that the item is on
byte running[ITEMS];

inline claim(i, val, won)
{
#ifdef PLAIN_CLAIM
    val = flags[i];
    atomic { flags[i] = val | PENDING | BUSY; won = !(val & PENDING) };
#else
    atomic { won = !(flags[i] & PENDING); flags[i] = flags[i] | PENDING | BUSY };
#endif
    val = 0
}

inline interrupt()
{
    atomic {
        if
        :: !interrupting -> interrupting = true; calls++; assert(calls == 1) // it can be queued once
        :: else
        fi
    }
}

inline push(i, list, was_empty)
{
    atomic {
        was_empty = (list == 0);
        assert(lists[i] == 0);
        lists[i]++;
        list = list | MASK(i)
    }
}

inline enqueue_raised(i, was_empty)
{
    push(i, raised, was_empty);
    if
    :: was_empty -> interrupt()
    :: else
    fi
}

inline enqueue_threaded(i, was_empty, val, won)
{
    push(i, lazy, was_empty);
#ifdef WAKES_ONLY_IF_EMPTY
    if
    :: !was_empty -> goto queued
    :: else
    fi;
#endif
#ifdef SEED_DOUBLE_ENQUEUE
    if
    :: !was_empty -> enqueue_raised(i, was_empty); goto queued
    :: else
    fi;
#endif
    claim(WAKE, val, won);
    if
    :: won -> enqueue_raised(WAKE, was_empty)
    :: else
    fi
}

// run_one()
inline run_one(i)
{
#ifndef CLEARS_PENDING_LATE
    flags[i] = flags[i] & ~PENDING;
#endif
    atomic { running[i]++; assert(running[i] == 1) };
    written[i] = 0; // the callback sees everything that was written before
    running[i]--;
#ifdef CLEARS_PENDING_LATE
    flags[i] = flags[i] & ~PENDING;
#endif
#ifdef CLEARS_BUSY_ALWAYS
    flags[i] = 0
#else
    atomic {
        if
        :: flags[i] == BUSY -> flags[i] = 0
        :: else
        fi
    }
#endif
}

inline run_list(list, todo, i)
{
    atomic {
        todo = list;
        list = 0;
        for (i : 0 .. ITEMS - 1) {
            if
            :: todo & MASK(i) -> lists[i]--
            :: else
            fi
        }
        i = 0
    }
    do
    :: i < ITEMS ->
       if
       :: todo & MASK(i) -> run_one(i)
       :: else
       fi;
       i++
    :: else -> break
    od;
    atomic { i = 0; todo = 0 }
}

active [2] proctype queuer()
{
    byte val = 0;
    byte item = 0;
    bool won = false;
    bool was_empty = false;
    byte times = 0;
    do
    :: times < 2 ->
       if
       :: item = HARD
       :: item = PLAIN
       fi;
       written[item] = 1;
       claim(item, val, won);
       if
       :: won && item == HARD -> enqueue_raised(item, was_empty)
       :: won && item != HARD -> enqueue_threaded(item, was_empty, val, won)
       :: else
       fi;
queued:
       atomic {
           item = 0;
           times++;
           won = false;
           was_empty = false
       }
    :: else -> break
    od
}

active proctype own_thread()
{
    byte todo = 0;
    byte i = 0;
end:
    do
    :: calls > 0 -> // interrupted()
       calls--;
#ifndef ALLOWS_INTERRUPT_LATE
       interrupting = false;
#endif
       run_list(raised, todo, i);
#ifdef ALLOWS_INTERRUPT_LATE
       interrupting = false;
#endif
       if
       :: lazy != 0 -> woken = true
       :: else
       fi
    od
}

active proctype irq_workd()
{
    byte todo = 0;
    byte i = 0;
end:
    do
    :: woken ->
       woken = false;
       run_list(lazy, todo, i)
    od
}

active proctype monitor()
{
end:
    timeout ->
        assert(raised == 0 && !(lazy & MASK(PLAIN)) && calls == 0);
        assert(written[HARD] == 0 && written[PLAIN] == 0);
        assert(flags[HARD] == 0 && flags[PLAIN] == 0 && flags[WAKE] == 0)
}
