# SPDX-License-Identifier: BSD-3-Clause
"""Pretty-printers for gdb, of a running process or a core dump: one line for a packet, a NAPI instance, a runtime CPU
or a backlog ring.

    (gdb) source tools/gdb/halfpoll.py
    (gdb) print *pkts[0]
    (gdb) print/r *pkts[0]        all members, as without the printers
"""

import gdb
import gdb.printing

# rte_mbuf::ol_flags, whose macros (rte_mbuf_core.h) debuggers do not see, without RTE_MBUF_F_: bits, and fields of two.
OL_BITS = {
    0: "RX_VLAN", 1: "RX_RSS_HASH", 2: "RX_FDIR", 6: "RX_VLAN_STRIPPED", 15: "RX_QINQ_STRIPPED", 16: "RX_LRO",
    20: "RX_QINQ", 42: "TX_UDP_SEG", 49: "TX_QINQ", 50: "TX_TCP_SEG", 54: "TX_IP_CKSUM", 55: "TX_IPV4", 56: "TX_IPV6",
    57: "TX_VLAN", 58: "TX_OUTER_IP_CKSUM", 59: "TX_OUTER_IPV4", 60: "TX_OUTER_IPV6", 61: "EXTERNAL", 62: "INDIRECT",
}
OL_FIELDS = (
    (1 << 4, 1 << 7, ("RX_IP_CKSUM_BAD", "RX_IP_CKSUM_GOOD", "RX_IP_CKSUM_NONE")),
    (1 << 3, 1 << 8, ("RX_L4_CKSUM_BAD", "RX_L4_CKSUM_GOOD", "RX_L4_CKSUM_NONE")),
    (1 << 52, 1 << 53, ("TX_TCP_CKSUM", "TX_SCTP_CKSUM", "TX_UDP_CKSUM")),
)
LONGEST_LIST = 64


def load(atomic):
    """The value in a std::atomic of libstdc++: of an integer or enum, a pointer, or a bool."""
    for path in (("_M_i",), ("_M_b", "_M_p"), ("_M_base", "_M_i")):
        value = atomic
        try:
            for name in path:
                value = value[name]
            return value
        except gdb.error:
            continue
    raise gdb.error("not a std::atomic of libstdc++")


def names_of(bits, names):
    """`names`: bit number -> name. Bits without a name appear as their number."""
    return "|".join(names.get(n, f"bit {n}") for n in range(64) if bits >> n & 1) or "0"


def enum_bits(enum, prefix):
    """Bit number -> name, for an enum whose values are bits."""
    fields = gdb.lookup_type(enum).fields()
    return {f.enumval.bit_length() - 1: f.name.split("::")[-1].removeprefix(prefix) for f in fields if f.enumval}


def enum_vectors(enum, suffix):
    """Value -> name, for an enum that numbers bits."""
    return {f.enumval: f.name.split("::")[-1].removesuffix(suffix) for f in gdb.lookup_type(enum).fields()}


class Line:
    """A printer of one line, without children."""

    def __init__(self, value):
        self.value = value

    def __getitem__(self, name):
        return self.value[name]


def ol_flags(flags):
    fields = []
    for low, high, names in OL_FIELDS:
        value = bool(flags & low) + 2 * bool(flags & high)
        fields += names[value - 1:value] if value else []
        flags &= ~(low | high)
    bits = [names_of(flags, OL_BITS)] if flags or not fields else []
    return "|".join(bits + fields)


class Mbuf(Line):
    def to_string(self):
        return (f"port {int(self['port'])}, {int(self['pkt_len'])} bytes in {int(self['nb_segs'])} segments (the "
                f"first: {int(self['data_len'])}), refcnt {int(self['refcnt'])}, "
                f"ol_flags {ol_flags(int(self['ol_flags']))}")


def napi_name(napi):
    return napi["name"].string() or "(no name)"


class Napi(Line):
    def to_string(self):
        state = names_of(int(load(self["state"])), enum_bits("halfpoll::napi_state", "NAPIF_STATE_"))
        home = f"CPU {int(self['sd']['cpu'])}" if self["sd"] else "no CPU"
        rung = str(load(self["rung"])).split("::")[-1]
        stats = self["stats"]
        return (f"{napi_name(self)}: {state}, {home}, rung {rung}, weight {int(self['weight'])}, "
                f"{int(load(stats['polls']))} polls, {int(load(stats['packets']))} packets")


def napi_list(head):
    """The names on a napi_list, from its first instance."""
    names = []
    while head and len(names) < LONGEST_LIST:
        names.append(napi_name(head.dereference()))
        head = head["next"]
    return "[" + " ".join(names + (["…"] if head else [])) + "]"


class SoftnetData(Line):
    def to_string(self):
        pending = names_of(int(self["softirq_pending"]), enum_vectors("halfpoll::softirq_vec", "_SOFTIRQ"))
        online = "online" if load(self["online"]) else "offline"
        asleep = "sleeping" if load(self["sleeping"]) else "awake"
        return (f"CPU {int(self['cpu'])}: {online}, {asleep}, pending {pending}, "
                f"poll_list {napi_list(self['poll_list']['head_'])}, spin_list {napi_list(self['spin_list']['head_'])}")


class BacklogRing(Line):
    def to_string(self):
        def packets(index):
            return int(load(self[index]["value_"])) >> 32

        put, tail, head = int(self["put_"]["packets"]), packets("tail_"), packets("head_")
        taken = int(self["taken_"]["packets"])
        staged, published, in_hand = (n % 2**32 for n in (put - tail, tail - taken, taken - head))
        return (f"to CPU {int(self['target_']['id'])}: {staged} packets staged, {published} published, {in_hand} taken "
                f"and not delivered, {int(load(self['dropped_']))} dropped, {int(self['size_'])} slots")


def printers():
    found = gdb.printing.RegexpCollectionPrettyPrinter("halfpoll")
    found.add_printer("rte_mbuf", "^rte_mbuf$", Mbuf)
    found.add_printer("napi_struct", "^halfpoll::(napi_struct|cpu_napi)$", Napi)
    found.add_printer("softnet_data", "^halfpoll::softnet_data$", SoftnetData)
    found.add_printer("backlog_ring", "^halfpoll::backlog_ring$", BacklogRing)
    return found


gdb.printing.register_pretty_printer(gdb.current_objfile(), printers(), replace=True)
