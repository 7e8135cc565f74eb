/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an XDP program and halfpoll agree on, in C and C++: a program is a function that looks at a burst of received
 * packets, before anything else does, and says of each what becomes of it. Actions and flags are those of <linux/bpf.h>
 * (enum xdp_action, BPF_F_BROADCAST, BPF_F_EXCLUDE_INGRESS).
 *
 * A shared object exports one `const struct halfpoll_xdp_program halfpoll_xdp_program` and needs this header and DPDK's
 * only. Programs run on data cores: no system call, no lock that may be waited for, no allocation.
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

/* Raised when anything below changes its meaning or place. */
#define HALFPOLL_XDP_ABI 1
/* Most packets that a program is shown at a time. */
#define HALFPOLL_XDP_BURST 64

/* A redirect map (devmap, cpumap, xskmap). */
struct halfpoll_xdp_map;

/* Where a packet is redirected to: an entry of a map, or without a map the interface whose number is the key. */
struct halfpoll_xdp_target {
    struct halfpoll_xdp_map *map;
    uint32_t key;
    uint32_t flags;
};

/*
 * Packets in the order of their arrival. They belong to halfpoll: the program changes what is in them, and their length
 * by the calls below, not the array.
 */
struct halfpoll_xdp_burst {
    struct rte_mbuf **pkts;
    uint32_t n; /* 1 to HALFPOLL_XDP_BURST */
    uint32_t ingress_ifindex;
    uint32_t egress_ifindex; /* of a program of a devmap entry, else 0 */
    uint16_t rx_queue_index;
    uint16_t cpu; /* runtime CPU: for state per CPU */
    uint64_t now; /* ns, CLOCK_MONOTONIC; as old as the poll */
    /* Set by halfpoll: where the length of a packet's metadata is, and which flag says that it has some. */
    int32_t meta_offset;
    uint64_t meta_flag;
    /* The program's answer: an enum xdp_action each, at first XDP_ABORTED. Other values are as XDP_ABORTED. */
    uint8_t action[HALFPOLL_XDP_BURST];
    /* Read where the action is XDP_REDIRECT (xdp_redirect(), xdp_redirect_map()); not initialised. */
    struct halfpoll_xdp_target target[HALFPOLL_XDP_BURST];
};

/* What halfpoll does for a program while it opens; control thread. */
struct halfpoll_xdp_host {
    void *ctx;
    uint32_t cpus; /* runtime CPUs, numbered from 0 */
    /* One sentence on why open() fails: what, where, remedy. */
    void (*error)(void *ctx, const char *text);
    /* Number of an interface, 0: there is none of that name. */
    uint32_t (*ifindex)(void *ctx, const char *name);
    /* A map of the configuration, NULL: there is none of that name. It lives as long as the program. */
    struct halfpoll_xdp_map *(*map)(void *ctx, const char *name);
};

struct halfpoll_xdp_program {
    uint32_t abi;     /* HALFPOLL_XDP_ABI */
    uint32_t version; /* RTE_VERSION: packets look as in the DPDK that it was built with */
    const char *name;
    /*
     * Makes one instance; `config` is the text from the configuration, "" if there is none. 0 or -errno, after
     * host->error(). Control thread.
     */
    int (*open)(const struct halfpoll_xdp_host *host, const char *config, void **state);
    /* Judges a burst. Any data core, several at the same time; an instance that nobody runs is closed. */
    void (*run)(void *state, struct halfpoll_xdp_burst *burst);
    /* Control thread, after the last run() has returned. */
    void (*close)(void *state);
    /*
     * Figures for `halfpoll xdp show`, lines of "name value\n", at most `size` bytes with the closing 0; returns as
     * snprintf(). May be NULL. Control thread, while packets are judged.
     */
    int (*show)(void *state, char *text, size_t size);
};

#define HALFPOLL_XDP_PROGRAM(name_, open_, run_, close_, show_)                                                        \
    __attribute__((visibility("default"))) extern const struct halfpoll_xdp_program halfpoll_xdp_program;              \
    const struct halfpoll_xdp_program halfpoll_xdp_program = {HALFPOLL_XDP_ABI, RTE_VERSION, (name_), (open_),         \
                                                              (run_),           (close_),    (show_)}

/* The first segment of packet i: what a program may read and write without a look at further ones. */
static inline uint8_t *xdp_data(const struct halfpoll_xdp_burst *b, uint32_t i)
{
    return rte_pktmbuf_mtod(b->pkts[i], uint8_t *);
}

static inline uint8_t *xdp_data_end(const struct halfpoll_xdp_burst *b, uint32_t i)
{
    return xdp_data(b, i) + b->pkts[i]->data_len;
}

/* Length over all segments. */
static inline uint32_t xdp_get_buff_len(const struct halfpoll_xdp_burst *b, uint32_t i) { return b->pkts[i]->pkt_len; }

/* Metadata: up to 252 bytes directly before the data, for whoever gets the packet. */
static inline uint32_t xdp_meta_len(const struct halfpoll_xdp_burst *b, uint32_t i)
{
    const struct rte_mbuf *m = b->pkts[i];
    return m->ol_flags & b->meta_flag ? *RTE_MBUF_DYNFIELD(m, b->meta_offset, const uint8_t *) : 0;
}

static inline uint8_t *xdp_data_meta(const struct halfpoll_xdp_burst *b, uint32_t i)
{
    return xdp_data(b, i) - xdp_meta_len(b, i);
}

/* Gives a packet room for metadata in front (delta < 0), or takes it away. -EINVAL: no room, or not a multiple of 4. */
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
 * Takes bytes away at the front (delta > 0), or adds some (delta < 0), whose content is whatever lies there; metadata
 * moves along. -EINVAL: no room (headroom less metadata), or less than an Ethernet header would be left in the first
 * segment.
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
 * Takes bytes away at the end (delta < 0; segments that become empty are freed), or adds zeros (delta > 0). -EINVAL: no
 * room in the last segment, or less than an Ethernet header would be left in the first one.
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

/* Answers of a program: action[i] = xdp_redirect(...). Out of the interface with that number. */
static inline uint8_t xdp_redirect(struct halfpoll_xdp_burst *b, uint32_t i, uint32_t ifindex)
{
    b->target[i].map = NULL;
    b->target[i].key = ifindex;
    b->target[i].flags = 0;
    return XDP_REDIRECT;
}

/*
 * To the entry of a map. If there is none of that key, the action is the one in the two low bits of `flags` (0:
 * XDP_ABORTED). Further flags: BPF_F_BROADCAST (to all entries of a devmap, the key does not matter),
 * BPF_F_EXCLUDE_INGRESS.
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
