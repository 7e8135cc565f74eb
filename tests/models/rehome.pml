// SPDX-License-Identifier: BSD-3-Clause
//
// Packets of one flow while CPU 0, which receives and sends them, goes offline (netio/device/net_hotplug.cpp):
//
//   device -> rx poll on `home` -> backlog of `target` -> handler there -> hand-over ring of `owner` -> sent
//
//   nothing lost:      when nothing more can happen, every packet has been sent
//   nothing overtaken: packets are sent in the order in which they arrived
//   one owner:         one CPU at a time is inside the driver
//
// Broken variants: NO_HOLD, NO_WAIT, NO_DRAIN, ONE_ROUND

#define PACKETS 4

byte device = PACKETS;     // packets that have yet to be received
byte home = 0;             // of the rx queue
byte target = 1;           // of the flow
byte owner = 0;            // of the tx queue
bool online[2] = true;
bool sched = false;        // NAPI_STATE_SCHED of the rx queue
byte call = 2;             // the CPU that the control thread asks; 2: none
bool idle = false;         // the CPU's answer

chan backlog0 = [PACKETS] of { byte };
chan backlog1 = [PACKETS] of { byte };
chan ring0 = [PACKETS] of { byte };
chan ring1 = [PACKETS] of { byte };

byte sent = 0;             // ghosts
byte sending = 0;

inline send(number)
{
    atomic { sending++; assert(sending == 1) };
    atomic { assert(number == sent); sent++ };
    sending--
}

// The handler, on CPU c: sends a packet, or hands it over.
inline deliver(c, number)
{
    if
    :: owner == c -> send(number)
    :: owner != c && owner == 0 -> ring0!number
    :: owner != c && owner == 1 -> ring1!number
    fi
}

proctype cpu(byte c; chan backlog; chan ring)
{
    byte number = 0;
end:
    do
    :: atomic { online[c] && home == c && device > 0 && !sched -> sched = true }; // an rx poll
       atomic { number = PACKETS - device; device-- };
       if
       :: target == c && empty(backlog) -> deliver(c, number)
       :: target == c && nempty(backlog) -> backlog!number
       :: target != c && target == 0 -> backlog0!number
       :: target != c && target == 1 -> backlog1!number
       fi;
       sched = false
    :: atomic { online[c] && nempty(backlog) -> backlog?number }; deliver(c, number)
    :: atomic { online[c] && nempty(ring) -> ring?number }; send(number)
    :: atomic { online[c] && call == c -> idle = empty(backlog) && empty(ring); call = 2 } // call_on(), between polls
    od
}

// Asks each CPU once.
inline look(any)
{
    call = 0;
    call == 2;
    any = !idle;
    call = 1;
    call == 2;
    any = any || !idle
}

proctype control()
{
    bool busy = true;
    byte rounds = 0;
#ifndef NO_HOLD
#ifdef NO_WAIT
    sched = true;
#else
    atomic { !sched -> sched = true }; // napi_disable() takes ownership
#endif
#endif
#ifndef NO_DRAIN
    do
    :: look(busy);
       if
       :: busy -> rounds = 0
       :: else -> rounds++
       fi;
#ifdef ONE_ROUND
       if
       :: rounds == 1 -> break
#else
       if
       :: rounds == 2 -> break
#endif
       :: else
       fi
    od;
#endif
    atomic { home = 1; target = 1; owner = 1 };
#ifndef NO_HOLD
    sched = false; // napi_enable()
#endif
    online[0] = false
}

init
{
    atomic {
        run cpu(0, backlog0, ring0);
        run cpu(1, backlog1, ring1);
        run control()
    }
}

active proctype monitor()
{
end:
    timeout -> assert(sent == PACKETS)
}
