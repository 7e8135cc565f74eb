/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The contract between an XDP program and halfpoll, in C and C++. A program is a function that gets each burst of
 * received packets before anything else does, and decides the action for each packet. Actions and flags are those of
 * <linux/bpf.h> (enum xdp_action, BPF_F_BROADCAST, BPF_F_EXCLUDE_INGRESS).
 *
 * A shared object exports one `const struct halfpoll_xdp_program halfpoll_xdp_program`; it needs only this header and
 * DPDK. Programs run on data CPUs: they make no system call, wait for no lock and allocate nothing.
 */
#ifndef HALFPOLL_XDP_PROGRAM_H
#define HALFPOLL_XDP_PROGRAM_H

#include <sys/types.h> /* first: DPDK 22.11 uses ssize_t without it */

#include <errno.h>
#include <linux/bpf.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_version.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Incremented when a declaration below changes its meaning or layout. */
#define HALFPOLL_XDP_ABI 1
/* Most packets in a burst. */
#define HALFPOLL_XDP_BURST 64

/* A redirect map (devmap, cpumap, xskmap). */
struct halfpoll_xdp_map;

/* Target of a redirect: an entry of a map, or, if `map` is NULL, the interface whose number is the key. */
struct halfpoll_xdp_target {
    struct halfpoll_xdp_map *map;
    uint32_t key;
    uint32_t flags;
};

/*
 * Packets in the order of their arrival. halfpoll owns them. A program may change their content, and their length by
 * the calls below; it does not change the array.
 */
struct halfpoll_xdp_burst {
    struct rte_mbuf **pkts;
    uint32_t n; /* 1 to HALFPOLL_XDP_BURST */
    uint32_t ingress_ifindex;
    uint32_t egress_ifindex; /* set for the program of a devmap entry, else 0 */
    uint16_t rx_queue_index;
    uint16_t cpu; /* runtime CPU, to index state that is kept per CPU */
    uint64_t now; /* ns, CLOCK_MONOTONIC; as last read before the poll */
    /* Set by halfpoll: offset of the metadata's length in an mbuf, and the flag that says that there is metadata. */
    int32_t meta_offset;
    uint64_t meta_flag;
    /* Set by the program: an enum xdp_action for each packet. Initially XDP_ABORTED; other values mean XDP_ABORTED. */
    uint8_t action[HALFPOLL_XDP_BURST];
    /* Read if the action is XDP_REDIRECT; set by xdp_redirect() and xdp_redirect_map(). Not initialised. */
    struct halfpoll_xdp_target target[HALFPOLL_XDP_BURST];
};

/* What halfpoll offers to a program's open(). Control thread. */
struct halfpoll_xdp_host {
    void *ctx;
    uint32_t cpus; /* runtime CPUs, numbered from 0 */
    /* Tells why open() fails, in one sentence: what, where, remedy. The text is copied. */
    void (*error)(void *ctx, const char *text);
    /* Returns the number of an interface; 0: no interface has that name. */
    uint32_t (*ifindex)(void *ctx, const char *name);
    /* Returns a map of the configuration; NULL: no map has that name. The map lives as long as the program. */
    struct halfpoll_xdp_map *(*map)(void *ctx, const char *name);
};

struct halfpoll_xdp_program {
    uint32_t abi;     /* HALFPOLL_XDP_ABI */
    uint32_t version; /* RTE_VERSION of the build, which decides the layout of packets */
    const char *name;
    /*
     * Makes an instance and stores it in *state. `config` is the text of the configuration, valid during the call, ""
     * if there is none. Returns 0, or -errno of the program's choice after host->error(); close() is not called then.
     * Without host->error() halfpoll reports the interface or map that was missing, or else the errno. Control thread.
     */
    int (*open)(const struct halfpoll_xdp_host *host, const char *config, void **state);
    /* Judges a burst. On any data CPU, on several at the same time. */
    void (*run)(void *state, struct halfpoll_xdp_burst *burst);
    /* Destroys an instance, after its last run() has returned. Control thread. */
    void (*close)(void *state);
    /*
     * Writes figures for `halfpoll xdp show` as lines of "name value\n", at most `size` bytes with the closing 0.
     * Returns what snprintf() returns: the length of the whole text in bytes. May be NULL. Control thread, while data
     * CPUs run the program.
     */
    int (*show)(void *state, char *text, size_t size);
};

#define HALFPOLL_XDP_PROGRAM(name_, open_, run_, close_, show_)                                                        \
    __attribute__((visibility("default"))) extern const struct halfpoll_xdp_program halfpoll_xdp_program;              \
    const struct halfpoll_xdp_program halfpoll_xdp_program = {HALFPOLL_XDP_ABI, RTE_VERSION, (name_), (open_),         \
                                                              (run_),           (close_),    (show_)}

/*
 * The bytes of packet i from xdp_data() to xdp_data_end() are its first segment, which a program may read and write
 * directly.
 */
static inline uint8_t *xdp_data(const struct halfpoll_xdp_burst *b, uint32_t i)
{
    return rte_pktmbuf_mtod(b->pkts[i], uint8_t *);
}

static inline uint8_t *xdp_data_end(const struct halfpoll_xdp_burst *b, uint32_t i)
{
    return xdp_data(b, i) + b->pkts[i]->data_len;
}

/* Length of packet i in bytes, over all segments. */
static inline uint32_t xdp_get_buff_len(const struct halfpoll_xdp_burst *b, uint32_t i) { return b->pkts[i]->pkt_len; }

/*
 * Metadata: up to 252 bytes directly before the data, for the next receiver of the packet. xdp_meta_len() returns its
 * length.
 */
static inline uint32_t xdp_meta_len(const struct halfpoll_xdp_burst *b, uint32_t i)
{
    const struct rte_mbuf *m = b->pkts[i];
    return m->ol_flags & b->meta_flag ? *RTE_MBUF_DYNFIELD(m, b->meta_offset, const uint8_t *) : 0;
}

static inline uint8_t *xdp_data_meta(const struct halfpoll_xdp_burst *b, uint32_t i)
{
    return xdp_data(b, i) - xdp_meta_len(b, i);
}

/*
 * Makes room for metadata (delta < 0) or removes some of it (delta > 0), in bytes. Returns 0, or -EINVAL: no headroom
 * is left, or the new length is not a multiple of 4 from 0 to 252.
 */
static inline int xdp_adjust_meta(struct halfpoll_xdp_burst *b, uint32_t i, int32_t delta)
{
    struct rte_mbuf *m = b->pkts[i];
    const int64_t len = (int64_t)xdp_meta_len(b, i) - delta;
    if (len < 0 || len > 252 || len % 4 != 0 || len > rte_pktmbuf_headroom(m)) {
        return -EINVAL;
    }
    *RTE_MBUF_DYNFIELD(m, b->meta_offset, uint8_t *) = (uint8_t)len;
    m->ol_flags |= b->meta_flag;
    return 0;
}

/*
 * Removes bytes at the front (delta > 0), or adds bytes of undefined content (delta < 0); metadata moves along. Returns
 * 0, or -EINVAL: not enough headroom (less the metadata), less than an Ethernet header (14 bytes) would be left in the
 * first segment, or more than UINT16_MAX bytes would be in it.
 */
static inline int xdp_adjust_head(struct halfpoll_xdp_burst *b, uint32_t i, int32_t delta)
{
    struct rte_mbuf *m = b->pkts[i];
    const uint32_t meta = xdp_meta_len(b, i);
    uint8_t *const from = xdp_data_meta(b, i);
    if ((int64_t)m->data_off + delta < (int64_t)meta || (int64_t)m->data_len - delta < 14 ||
        (int64_t)m->data_len - delta > UINT16_MAX) {
        return -EINVAL;
    }
    if (meta != 0) {
        memmove(from + delta, from, meta);
    }
    m->data_off = (uint16_t)(m->data_off + delta);
    m->data_len = (uint16_t)(m->data_len - delta);
    m->pkt_len = (uint32_t)(m->pkt_len - delta);
    return 0;
}

/*
 * Removes bytes at the end (delta < 0), and frees segments that become empty, or adds zeros (delta > 0). Returns 0, or
 * -EINVAL: no room in the last segment, or less than an Ethernet header (14 bytes) would be left.
 */
static inline int xdp_adjust_tail(struct halfpoll_xdp_burst *b, uint32_t i, int32_t delta)
{
    struct rte_mbuf *m = b->pkts[i], *last = rte_pktmbuf_lastseg(m);
    if (delta >= 0) {
        if (delta > rte_pktmbuf_tailroom(last)) {
            return -EINVAL;
        }
        memset(rte_pktmbuf_mtod_offset(last, uint8_t *, last->data_len), 0, (size_t)delta);
        last->data_len = (uint16_t)(last->data_len + delta);
        m->pkt_len += (uint32_t)delta;
        return 0;
    }
    if ((int64_t)m->pkt_len + delta < 14) {
        return -EINVAL;
    }
    uint32_t left = (uint32_t)((int64_t)m->pkt_len + delta);
    struct rte_mbuf *seg = m;
    m->pkt_len = left;
    while (left > seg->data_len) {
        left -= seg->data_len;
        seg = seg->next;
    }
    struct rte_mbuf *const rest = seg->next;
    seg->data_len = (uint16_t)left;
    seg->next = NULL;
    for (struct rte_mbuf *s = rest; s != NULL; s = s->next) {
        --m->nb_segs;
    }
    rte_pktmbuf_free(rest);
    return 0;
}

/* Action of packet i: action[i] = xdp_redirect(...) sends it out of the interface with that number. */
static inline uint8_t xdp_redirect(struct halfpoll_xdp_burst *b, uint32_t i, uint32_t ifindex)
{
    b->target[i].map = NULL;
    b->target[i].key = ifindex;
    b->target[i].flags = 0;
    return XDP_REDIRECT;
}

/*
 * Action of packet i: redirects it to an entry of a map. If the map has no entry with that key, the two low bits of
 * `flags` are the action (0: XDP_ABORTED). Further flags, for a devmap: BPF_F_BROADCAST (to all entries; the key is
 * ignored) and BPF_F_EXCLUDE_INGRESS (not to the interface that received the packet). Other flags make the action
 * XDP_ABORTED.
 */
static inline uint8_t xdp_redirect_map(struct halfpoll_xdp_burst *b, uint32_t i, struct halfpoll_xdp_map *map,
                                       uint32_t key, uint32_t flags)
{
    b->target[i].map = map;
    b->target[i].key = key;
    b->target[i].flags = flags;
    return XDP_REDIRECT;
}

#ifdef __cplusplus
}
#endif

#endif
