/* SPDX-License-Identifier: MIT */
/* tun_linux: making, or adopting, a TUN and configuring it.
 *
 *     /dev/net/tun -> TUNSETIFF -> offload ladder -> MTU, queue, addresses, up, routes -> self-test
 *
 * All of it happens in the network namespace that the options name. A descriptor of /dev/net/tun belongs to the namespace
 * of the thread that opened it, and so do the netlink and test sockets: where a namespace is named, a thread of its own
 * enters it, does everything, and ends. The calling thread's namespace never changes. (Entering the user
 * namespace that owns it is not possible from within a process with threads: a host without privileges has the device
 * made on the other side, by adit_device_open(), and passes the descriptor.)
 *
 * With the virtio-net header packets come with partial checksums and super-segments come whole (tunfd_linux.c has the
 * ladder of offloads). Without it (no_offload, or a kernel without it) the kernel splits and sums, at fifteen times the
 * cost per octet.
 *
 * With several workers the device has a queue for each: a descriptor attached to the same name. The kernel spreads packets over
 * them by a hash of addresses and ports, and remembers for each flow at which queue was last written for it, for three seconds.
 *
 * A device of that name which exists already is adopted: one that was made persistent, for a user perhaps, and that
 * no other process has open. What it has of addresses stays. Default routes are added for the families that have an address
 * among the options, since a route without one makes programs pick a source that cannot be answered.
 * Source: Documentation/networking/tuntap.rst, drivers/net/tun.c. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/error.h"
#include "dev/dev.h"
#include "dev/netlink_linux.h"
#include "dev/offload.h"
#include "dev/selftest_linux.h"
#include "dev/tunfd.h"
#include "dev/vnet.h"

enum { MTU_DEFAULT = 1500, MTU_MIN = 1280, MTU_MAX = 65535, TXQUEUE_DEFAULT = 1000 };

struct tun { /* being made */
    const adit_options *o;
    adit_error *err;
    int netns_fd; /* to enter; -1: none */
    int rc;
    int fd;
    adit_socket queues[DEVICE_QUEUES_MAX - 1]; /* beside fd, where there are several workers */
    size_t queues_count;
    bool has_header;
    unsigned takes;   /* VNET_* */
    unsigned refused; /* VNET_*: by the ladder; .. */
    unsigned failed;  /* .. by the self-test */
    int (*work)(struct tun *t); /* what is done in the device's namespace */
    adit_socket listeners[LISTEN_MAX];
    size_t listeners_count;
    adit_socket shortcut[SHORTCUT_FDS_MAX];
    size_t shortcut_count;
    char name[IFNAMSIZ];
};

/* --------------------------------------------------------------------------------------- creation -- */

static int open_fail(adit_error *err, int os)
{
    const char *hint = "";

    if (os == ENOENT || os == ENODEV || os == ENXIO)
        hint = "load the module (modprobe tun); in a container, give it the device (--device "
               "/dev/net/tun)";
    if (os == EACCES || os == EPERM)
        hint = "run as root, or allow the device: chmod 0666 /dev/net/tun, --device /dev/net/tun "
               "for a container, "
               "DeviceAllow=/dev/net/tun in a systemd unit";
    return error_setf(err, error_from_errno(os), os, "open(/dev/net/tun)", hint,
                      "cannot open /dev/net/tun: %s", strerror(os));
}

static int create_fail(adit_error *err, int os, const char *name, bool has_queues)
{
    const char *hint = "";

    if (os == EPERM)
        hint = "CAP_NET_ADMIN is needed, or a persistent device of this user's: "
               "ip tuntap add dev NAME mode tun user USER";
    if (os == EBUSY)
        hint =
            "another process has a device of that name open: choose another name (or one with %d)";
    if (os == EINVAL)
        hint = "is there an interface of that name which is no TUN, or a TUN made by other means? "
               "Choose another "
               "name";
    if (os == EINVAL && has_queues)
        hint = "several workers need a device with several queues: is there one of that name which has one queue "
               "(ip tuntap add ... multi_queue makes the other kind)? Or take one worker";
    return error_setf(err, error_from_errno(os), os, "TUNSETIFF", hint,
                      "cannot make or adopt %s: %s", name, strerror(os));
}

static int tun_set_name(struct tun *t, struct ifreq *r)
{
    const char *name = t->o->name ? t->o->name : "adit%d";
    const char *percent = strchr(name, '%');

    if (name[0] == '\0' || strlen(name) >= IFNAMSIZ || (percent && strcmp(percent, "%d") != 0))
        return error_setf(t->err, ADIT_EINVAL, 0, "name",
                          "at most 15 octets; %d at the end lets the kernel number it",
                          "no such name can be given to an interface: \"%s\"", name);
    memcpy(r->ifr_name, name, strlen(name) + 1);
    return ADIT_OK;
}

/* Attaches the descriptor to the device. A device that was made with several queues wants to be asked for so. */
static int tun_attach(struct tun *t)
{
    struct ifreq r = {0};
    unsigned features = 0;
    int flags = IFF_TUN | IFF_NO_PI;
    int rc = tun_set_name(t, &r);

    if (rc != ADIT_OK)
        return rc;
    (void)ioctl(t->fd, TUNGETFEATURES, &features);
    t->has_header = !t->o->no_offload && features & IFF_VNET_HDR;
    if (t->has_header)
        flags |= IFF_VNET_HDR;
    if (t->o->workers > 1)
        flags |= IFF_MULTI_QUEUE;
    r.ifr_flags = (short)flags;
    if (ioctl(t->fd, TUNSETIFF, &r) != 0) {
        int os = errno;

        r.ifr_flags = (short)(flags | IFF_MULTI_QUEUE);
        if (os != EINVAL || t->o->workers > 1 || !(features & IFF_MULTI_QUEUE) || ioctl(t->fd, TUNSETIFF, &r) != 0)
            return create_fail(t->err, os, r.ifr_name, t->o->workers > 1);
    }
    memcpy(t->name, r.ifr_name, sizeof(t->name));
    t->name[IFNAMSIZ - 1] = '\0';
    return ADIT_OK;
}

/* The other queues, when nothing waits at the first one only any more. */
static int tun_attach_queues(struct tun *t)
{
    int flags = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE | (t->has_header ? IFF_VNET_HDR : 0);

    while (t->queues_count + 1 < t->o->workers) {
        struct ifreq r = {.ifr_flags = (short)flags};
        int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

        if (fd < 0)
            return open_fail(t->err, errno);
        t->queues[t->queues_count++] = fd;
        memcpy(r.ifr_name, t->name, sizeof(t->name));
        if (ioctl(fd, TUNSETIFF, &r) != 0)
            return create_fail(t->err, errno, t->name, true);
    }
    return ADIT_OK;
}

static void tun_close_all(struct tun *t)
{
    close(t->fd);
    t->fd = -1;
    listen_close(t->queues, &t->queues_count);
}

static int tun_offloads(struct tun *t)
{
    int header_bytes = VNET_HEADER_BYTES;

    if (!t->has_header) {
        (void)ioctl(t->fd, TUNSETOFFLOAD, 0UL); /* an adopted one may have some on */
        t->refused = t->o->no_offload ? 0 : VNET_OFFLOADS;
        return ADIT_OK;
    }
    if (ioctl(t->fd, TUNSETVNETHDRSZ, &header_bytes) != 0)
        return error_set(t->err, ADIT_ENOTSUP, errno, "TUNSETVNETHDRSZ",
                         "the kernel refuses the virtio-net header", "set no_offload");
    t->takes = tunfd_set_offloads(t->fd);
    t->refused = VNET_OFFLOADS & ~t->takes;
    return ADIT_OK;
}

/* ---------------------------------------------------------------------------------- configuration -- */

static int tun_each_addr(struct tun *t,
                         int (*each)(struct netlink *n, const struct netlink_prefix *p),
                         struct netlink *n)
{
    int rc = ADIT_OK;

    for (size_t i = 0; i < t->o->addrs_count && rc == ADIT_OK; i++) {
        struct netlink_prefix p;

        if (netlink_prefix_parse(&p, t->o->addrs[i]) != ADIT_OK)
            return error_setf(t->err, ADIT_EINVAL, 0, "addrs",
                              "write it as 172.19.0.1/30 or fd00::1/126",
                              "not an address with a prefix length: \"%s\"", t->o->addrs[i]);
        rc = each(n, &p);
    }
    return rc;
}

static int tun_await_addr(struct netlink *n, const struct netlink_prefix *p)
{
    netlink_await_addr(n, p);
    return ADIT_OK;
}

/* The first address of that family among the options. */
static bool tun_first_addr(const struct tun *t, int family, struct netlink_prefix *p)
{
    for (size_t i = 0; i < t->o->addrs_count; i++) {
        if (netlink_prefix_parse(p, t->o->addrs[i]) == ADIT_OK && p->addr.family == family)
            return true;
    }
    return false;
}

static int tun_default_routes(struct tun *t, struct netlink *n)
{
    static const int families[] = {4, 6};
    struct netlink_prefix p;
    int rc = ADIT_OK;

    for (int i = 0; i < 2 && t->o->default_route && rc == ADIT_OK; i++) {
        if (tun_first_addr(t, families[i], &p))
            rc = netlink_add_default(n, families[i]);
    }
    return rc;
}

static uint32_t option_or(uint32_t value, uint32_t preset)
{
    return value ? value : preset;
}

static int tun_configure(struct tun *t)
{
    uint32_t mtu_bytes = option_or(t->o->mtu_bytes, MTU_DEFAULT);
    struct netlink n;
    int rc = netlink_open(&n, t->name, t->err);

    if (rc != ADIT_OK)
        return rc;
    rc = netlink_set_link(&n, mtu_bytes, option_or(t->o->txqueue_packets, TXQUEUE_DEFAULT));
    if (rc == ADIT_OK)
        rc = tun_each_addr(t, netlink_add_addr, &n);
    if (rc == ADIT_OK)
        rc = netlink_set_up(&n);
    if (rc == ADIT_OK)
        rc = tun_each_addr(t, tun_await_addr, &n);
    if (rc == ADIT_OK)
        rc = tun_default_routes(t, &n);
    netlink_close(&n);
    return rc;
}

static void tun_test(struct tun *t)
{
    static const int families[] = {4, 6};
    struct netlink_prefix own;

    for (int i = 0; i < 2; i++) {
        if (tun_first_addr(t, families[i], &own))
            t->failed |= selftest_run(t->fd, &own, t->takes);
    }
    t->takes &= ~t->failed;
    if (t->takes & VNET_TSO4 && tun_first_addr(t, 4, &own) && selftest_big4(t->fd, &own))
        t->takes |= VNET_BIG4;
}

/* In the namespace that is the device's. */
static int tun_build(struct tun *t)
{
    int rc;

    t->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (t->fd < 0)
        return open_fail(t->err, errno);
    rc = tun_attach(t);
    if (rc == ADIT_OK)
        rc = tun_offloads(t);
    if (rc == ADIT_OK)
        rc = tun_configure(t);
    if (rc == ADIT_OK)
        shortcut_sweep(t->name); /* an adopted device may have one of a dead process */
    if (rc == ADIT_OK && t->has_header)
        tun_test(t);
    if (rc == ADIT_OK)
        rc = tun_attach_queues(t);
    if (rc != ADIT_OK)
        tun_close_all(t);
    return rc;
}

/* -------------------------------------------------------------------------------------- namespaces -- */

static void *tun_thread(void *arg)
{
    struct tun *t = arg;
    int os;

    if (setns(t->netns_fd, CLONE_NEWNET) == 0) {
        t->rc = t->work(t);
        return NULL;
    }
    os = errno;
    t->rc = error_setf(t->err, error_from_errno(os), os, "setns",
                       os == EINVAL
                           ? "is it a network namespace at all?"
                           : "CAP_SYS_ADMIN is needed; or have the device made inside and pass its "
                             "descriptor",
                       "cannot enter the network namespace: %s", strerror(os));
    return NULL;
}

static int tun_work_in_thread(struct tun *t)
{
    pthread_t thread;
    sigset_t all, before;
    int os;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the host's signals are not for this thread */
    os = pthread_create(&thread, NULL, tun_thread, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (os != 0)
        return error_set(t->err, ADIT_ENOMEM, os, "pthread_create",
                         "no thread for the network namespace",
                         "is the limit of processes reached (ulimit -u)?");
    pthread_join(thread, NULL);
    return t->rc;
}

/* Opens the namespace of the options, by descriptor, path, or name under /run/netns. -1: none is named. */
static int netns_open(const adit_options *o, int *fd, adit_error *err)
{
    char path[256];
    int os;

    *fd = -1;
    if (o->netns_fd <= 0 && (!o->netns || !*o->netns))
        return ADIT_OK;
    if (o->netns_fd > 0)
        snprintf(path, sizeof(path), "/proc/self/fd/%d", o->netns_fd);
    else
        snprintf(path, sizeof(path), "%s%s", strchr(o->netns, '/') ? "" : "/run/netns/", o->netns);
    *fd =
        o->netns_fd > 0 ? fcntl(o->netns_fd, F_DUPFD_CLOEXEC, 0) : open(path, O_RDONLY | O_CLOEXEC);
    if (*fd >= 0)
        return ADIT_OK;
    os = errno;
    return error_setf(err, error_from_errno(os), os, "netns",
                      "make it with ip netns add NAME, or give a path such as /proc/PID/ns/net",
                      "cannot open the network namespace %s: %s", path, strerror(os));
}

/* In the namespace that the options name, or in this one. */
static int tun_work(struct tun *t, int (*work)(struct tun *t))
{
    int rc = netns_open(t->o, &t->netns_fd, t->err);

    t->work = work;
    if (rc != ADIT_OK)
        return rc;
    if (t->netns_fd < 0)
        return work(t);
    rc = tun_work_in_thread(t);
    close(t->netns_fd);
    return rc;
}

static int tun_make(struct tun *t)
{
    uint32_t mtu_bytes = option_or(t->o->mtu_bytes, MTU_DEFAULT);

    if (mtu_bytes < MTU_MIN || mtu_bytes > MTU_MAX)
        return error_setf(t->err, ADIT_EINVAL, 0, "mtu_bytes",
                          "choose 1280 to 65535; 1500 suits most", "an MTU of %u octets",
                          mtu_bytes);
    return tun_work(t, tun_build);
}

/* ----------------------------------------------------------------------------------------- public -- */

static const struct device_ops tun_ops = {
    .name = "tun",
    .recv = vnet_recv,
    .send = vnet_send,
    .close = vnet_close,
};

static void tun_notices(const struct tun *t, const struct vnet_config *c, const struct log *log)
{
    if (t->refused)
        vnet_notice_refused(c, log, "TUNSETOFFLOAD", t->refused, EINVAL);
    if (t->failed)
        vnet_notice_refused(c, log, "self-test", t->failed, 0);
}

int tun_open(struct device **out, const adit_options *o, struct buf_pool *bufs,
             const struct log *log, adit_error *err)
{
    struct tun t = {.o = o, .err = err, .fd = -1};
    int rc = tun_make(&t);
    struct vnet_config c = {
        .ops = &tun_ops,
        .fd = t.fd,
        .framing = t.has_header ? VNET_FRAMING_HEADER : VNET_FRAMING_NONE,
        .takes = t.takes,
        .mtu_bytes = option_or(o->mtu_bytes, MTU_DEFAULT),
        .notice = o->notice,
        .notice_ctx = o->notice_ctx,
    };

    if (rc != ADIT_OK)
        return rc;
    memcpy(c.ifname, t.name, sizeof(c.ifname));
    rc = vnet_open(out, &c, bufs, log, err);
    if (rc != ADIT_OK) {
        listen_close(t.queues, &t.queues_count);
        return rc;
    }
    memcpy((*out)->queues, t.queues, sizeof(t.queues));
    (*out)->queues_count = t.queues_count;
    tun_notices(&t, &c, log);
    return ADIT_OK;
}

static int tun_listen_here(struct tun *t)
{
    return listen_open(t->o, t->name, t->listeners, &t->listeners_count, t->err);
}

int tun_listen(const adit_options *o, const char *ifname, adit_socket out[LISTEN_MAX], size_t *count, adit_error *err)
{
    struct tun t = {.o = o, .err = err, .fd = -1};
    int rc;

    snprintf(t.name, sizeof(t.name), "%s", ifname);
    rc = tun_work(&t, tun_listen_here);
    memcpy(out, t.listeners, sizeof(t.listeners));
    *count = rc == ADIT_OK ? t.listeners_count : 0;
    return rc;
}

static int tun_shortcut_here(struct tun *t)
{
    return shortcut_open(t->o, t->name, t->shortcut, &t->shortcut_count, t->err);
}

int tun_shortcut(const adit_options *o, const char *ifname, adit_socket out[SHORTCUT_FDS_MAX], size_t *count, adit_error *err)
{
    struct tun t = {.o = o, .err = err, .fd = -1};
    int rc;

    snprintf(t.name, sizeof(t.name), "%s", ifname);
    rc = tun_work(&t, tun_shortcut_here);
    memcpy(out, t.shortcut, sizeof(t.shortcut));
    *count = t.shortcut_count;
    return rc;
}

static int tun_sweep_here(struct tun *t)
{
    shortcut_sweep(t->name);
    return ADIT_OK;
}

void tun_sweep(const adit_options *o, const char *ifname)
{
    struct tun t = {.o = o, .fd = -1};

    snprintf(t.name, sizeof(t.name), "%s", ifname);
    (void)tun_work(&t, tun_sweep_here);
}

int tun_open_queue(struct device **out, const struct device *first, adit_socket fd, struct buf_pool *bufs,
                   const struct log *log, adit_error *err)
{
    while (first->inner)
        first = first->inner;
    return vnet_open_like(out, first, fd, bufs, log, err);
}

int tun_open_fds(const adit_options *o, adit_socket *fds, int *vnet_hdr, char name[16], adit_error *err)
{
    struct tun t = {.o = o, .err = err, .fd = -1};
    const struct log silent = {0};
    int rc = tun_make(&t);

    if (rc != ADIT_OK)
        return rc;
    tun_notices(&t, &(struct vnet_config){.notice = o->notice, .notice_ctx = o->notice_ctx},
                &silent);
    fds[0] = t.fd;
    for (size_t i = 0; i < t.queues_count; i++)
        fds[1 + i] = t.queues[i];
    *vnet_hdr = t.has_header ? fd_vnet_hdr_of(t.takes) : 0;
    memcpy(name, t.name, sizeof(t.name));
    return ADIT_OK;
}
