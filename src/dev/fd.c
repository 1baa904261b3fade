/* SPDX-License-Identifier: MIT */
/* fd: a descriptor that a host opened: a TUN from VpnService, a utun, a device made in another namespace and passed over a
 * socket, or a pair of datagram sockets.
 *
 * The host says what stands in front of each packet: a virtio-net header (fd_vnet_hdr), the address family of utun
 * (fd_family_prefix), or nothing. Where the system can tell (a Linux TUN) it is asked, and a contradiction is an error
 * with a sentence instead of garbage at run time. With a virtio-net header the offloads are asked for, and what
 * adit_device_open() found out about the device is believed; where the kernel
 * does not answer (a socket, behind which the host speaks the format itself) the other side is taken to know partial
 * checksums and TCP super-segments, which whoever speaks virtio-net must, and no UDP trains, which are younger.
 *
 * The descriptor is duplicated and becomes non-blocking, which it shares with the host's. Several descriptors are
 * several queues of one device, and each queue is a worker's. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/error.h"
#include "dev/dev.h"
#include "dev/offload.h"
#include "dev/tunfd.h"
#include "dev/vnet.h"

enum { FD_MTU_DEFAULT = 1500 };

static int invalid(adit_error *err, const char *msg, const char *hint)
{
    return error_set(err, ADIT_EINVAL, 0, "fds", msg, hint);
}

static int fd_check_options(const adit_options *o, adit_error *err)
{
    if (o->fds_count == 0 || !o->fds)
        return invalid(err, "no descriptor is given", "set fds and fds_count");
    if (o->fd_vnet_hdr && o->fd_family_prefix)
        return invalid(err, "fd_vnet_hdr and fd_family_prefix exclude each other",
                       "Linux TUNs have the first, utun devices the second, most others neither");
    return ADIT_OK;
}

/* A TUN's queues are one device: packets of a flow may come out of any of them. */
static int fd_check_same(const adit_options *o, const struct tunfd *q, adit_error *err)
{
    struct tunfd first = tunfd_query(o->fds[0]);

    if (q->is_tun == first.is_tun && strcmp(q->ifname, first.ifname) == 0)
        return ADIT_OK;
    return invalid(err, "the descriptors are of different devices", "give the queues of one device; make an instance for each");
}

/* What kind of file it is: packets must come and go whole. */
static int fd_check_kind(int fd, adit_error *err)
{
    struct stat s;
    int type = 0;
    socklen_t len = sizeof(type);

    if (fstat(fd, &s) != 0)
        return error_setf(err, error_from_errno(errno), errno, "fstat",
                          "is it open in this process?", "descriptor %d is none: %s", fd,
                          strerror(errno));
    if (S_ISREG(s.st_mode) || S_ISDIR(s.st_mode) || S_ISFIFO(s.st_mode) || S_ISBLK(s.st_mode))
        return invalid(err, "a file or pipe carries octets, not packets",
                       "give a TUN, or a socket of type SOCK_DGRAM or SOCK_SEQPACKET");
    if (S_ISSOCK(s.st_mode) && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
        type == SOCK_STREAM)
        return invalid(err, "a stream socket carries octets, not packets",
                       "make the pair with SOCK_DGRAM or SOCK_SEQPACKET");
    return ADIT_OK;
}

/* Compares what the host says with what the system knows. */
static int fd_check_tun(const adit_options *o, const struct tunfd *q, adit_error *err)
{
    if (!q->is_tun)
        return ADIT_OK;
    if (q->is_tap)
        return invalid(err, "a TAP carries Ethernet frames, not IP packets",
                       "open it with IFF_TUN");
    if (q->has_info)
        return invalid(err, "the TUN has packet information in front of each packet",
                       "open it with IFF_NO_PI");
    if (o->fd_family_prefix)
        return invalid(err, "a Linux TUN has no address family in front of its packets",
                       "clear fd_family_prefix");
    if (q->has_header && !o->fd_vnet_hdr)
        return invalid(err, "the TUN has virtio-net headers and fd_vnet_hdr is not set",
                       "set fd_vnet_hdr");
    if (!q->has_header && o->fd_vnet_hdr)
        return invalid(err, "fd_vnet_hdr is set and the TUN has no virtio-net headers",
                       "open it with IFF_VNET_HDR, or clear fd_vnet_hdr");
    return ADIT_OK;
}

/* A duplicate, non-blocking, not inherited. What the host gave for good adit_new() closes. */
static int fd_duplicate(int from, adit_error *err)
{
    int fd = fcntl(from, F_DUPFD_CLOEXEC, 0);
    int flags;

    if (fd >= 0) {
        flags = fcntl(fd, F_GETFL);
        if (flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0)
            return fd;
    }
    error_setf(err, error_from_errno(errno), errno, "fcntl",
               errno == EMFILE ? "the limit of open files (ulimit -n) is reached" : "is it open in this process?",
               "descriptor %d: %s", from, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static const struct device_ops fd_ops = {
    .name = "fd",
    .recv = vnet_recv,
    .send = vnet_send,
    .close = vnet_close,
};

static int fd_configure(struct vnet_config *c, const adit_options *o, int fd, adit_error *err)
{
    struct tunfd q;
    unsigned known;
    int rc = fd_check_kind(fd, err);

    if (rc != ADIT_OK)
        return rc;
    q = tunfd_query(fd);
    rc = fd_check_tun(o, &q, err);
    if (rc == ADIT_OK)
        rc = fd_check_same(o, &q, err);
    if (rc != ADIT_OK)
        return rc;
    *c = (struct vnet_config){.ops = &fd_ops,
                              .mtu_bytes = o->mtu_bytes ? o->mtu_bytes : FD_MTU_DEFAULT,
                              .notice = o->notice,
                              .notice_ctx = o->notice_ctx};
    memcpy(c->ifname, q.ifname, sizeof(c->ifname));
    if (o->fd_family_prefix)
        c->framing = VNET_FRAMING_FAMILY;
    if (!o->fd_vnet_hdr)
        return ADIT_OK;
    c->framing = VNET_FRAMING_HEADER;
    if (q.is_tun && q.header_bytes != VNET_HEADER_BYTES && !tunfd_set_header(fd))
        return invalid(err, "the TUN's virtio-net header is not of 10 octets",
                       "TUNSETVNETHDRSZ 10");
    c->takes = q.is_tun ? tunfd_set_offloads(fd) : VNET_CSUM | VNET_TSO4 | VNET_TSO6;
    known = fd_vnet_hdr_takes(o->fd_vnet_hdr);
    if (q.is_tun && known != 0)
        c->takes = (c->takes | VNET_BIG4) & known;
    return ADIT_OK;
}

int fd_open(struct device **out, const adit_options *o, size_t queue, struct buf_pool *bufs,
            const struct log *log, adit_error *err)
{
    struct vnet_config c;
    int rc = fd_check_options(o, err);

    if (rc == ADIT_OK)
        rc = fd_configure(&c, o, o->fds[queue], err);
    if (rc != ADIT_OK)
        return rc;
    c.fd = fd_duplicate(o->fds[queue], err);
    if (c.fd < 0)
        return ADIT_EINVAL;
    return vnet_open(out, &c, bufs, log, err);
}
