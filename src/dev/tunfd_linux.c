/* SPDX-License-Identifier: MIT */
/* tunfd_linux: ioctls of a descriptor of /dev/net/tun.
 *
 * The offloads asked for are tried from the most to the least, since each kernel knows a prefix of the ladder and refuses
 * a word with an unknown bit as a whole:
 *
 *     0x6f  CSUM TSO4 TSO6 TSO_ECN USO4 USO6    Linux 6.2; USO4 and USO6 only go together
 *     0x0f  CSUM TSO4 TSO6 TSO_ECN
 *     0x07  CSUM TSO4 TSO6
 *     0x01  CSUM
 *
 * The word says what the kernel may hand to us; what it takes from us goes with it. */
#include "dev/tunfd.h"
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include "dev/offload.h"
#include "dev/vnet.h"

/* TUN_F_*; older headers lack the last two. */
enum { F_CSUM = 1, F_TSO4 = 2, F_TSO6 = 4, F_TSO_ECN = 8, F_USO4 = 0x20, F_USO6 = 0x40 };

_Static_assert(F_CSUM == TUN_F_CSUM && F_TSO4 == TUN_F_TSO4 && F_TSO6 == TUN_F_TSO6 &&
                   F_TSO_ECN == TUN_F_TSO_ECN,
               "as the kernel has them");

struct tunfd tunfd_query(int fd)
{
    struct tunfd q = {0};
    struct ifreq r = {0};

    if (ioctl(fd, TUNGETIFF, &r) != 0)
        return q;
    q.is_tun = true;
    q.is_tap = (r.ifr_flags & IFF_TAP) != 0;
    q.has_info = (r.ifr_flags & IFF_NO_PI) == 0;
    q.has_header = (r.ifr_flags & IFF_VNET_HDR) != 0;
    if (ioctl(fd, TUNGETVNETHDRSZ, &q.header_bytes) != 0)
        q.header_bytes = VNET_HEADER_BYTES;
    memcpy(q.ifname, r.ifr_name, sizeof(q.ifname));
    q.ifname[sizeof(q.ifname) - 1] = '\0';
    return q;
}

static unsigned takes_of(unsigned word)
{
    return (word & F_CSUM ? VNET_CSUM : 0u) | (word & F_TSO4 ? VNET_TSO4 : 0u) |
           (word & F_TSO6 ? VNET_TSO6 : 0u) | (word & F_USO4 ? VNET_USO4 : 0u) |
           (word & F_USO6 ? VNET_USO6 : 0u);
}

unsigned tunfd_set_offloads(int fd)
{
    static const unsigned ladder[] = {
        F_CSUM | F_TSO4 | F_TSO6 | F_TSO_ECN | F_USO4 | F_USO6,
        F_CSUM | F_TSO4 | F_TSO6 | F_TSO_ECN,
        F_CSUM | F_TSO4 | F_TSO6,
        F_CSUM,
    };

    for (size_t i = 0; i < sizeof(ladder) / sizeof(ladder[0]); i++) {
        if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)ladder[i]) == 0)
            return takes_of(ladder[i]);
    }
    return 0;
}

bool tunfd_set_header(int fd)
{
    int header_bytes = VNET_HEADER_BYTES;

    return ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) == 0;
}
