/* SPDX-License-Identifier: MIT */
/* A virtio-net header and a packet: whatever is believed about them must be true, and a super-segment that is believed
 * must come apart into parts whose payload is that of the whole. The first octet chooses between a kernel's header and a
 * host's claims. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "dev/offload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

struct whole {
    const struct packet *p;
    uint32_t payload_at, at;
};

static int take_part(void *ctx, const struct packet_out *part)
{
    struct whole *w = ctx;
    struct packet_out complete = *part;

    for (int i = 0; i < part->slices_count; i++) {
        assert(part->slices[i].base == w->p->data + w->payload_at + w->at);
        w->at += (uint32_t)part->slices[i].len;
    }
    assert(part->payload_bytes <= w->p->gso_bytes);
    offload_complete_out(&complete);
    assert(complete.csum_start == 0);
    return 0;
}

/* Sends the packet on, as far as its headers fit. */
static void split(const struct packet *p, const struct offload_layout *l)
{
    struct whole w = {.p = p, .payload_at = l->payload_at};
    struct packet_out out = {.gso_bytes = p->gso_bytes, .slices_count = 1};

    if (l->payload_at > PACKET_HEADERS_MAX)
        return;
    memcpy(out.headers, p->data, l->payload_at);
    out.headers_bytes = (uint8_t)l->payload_at;
    out.payload_bytes = l->stated_bytes - l->payload_at;
    out.slices[0] = (adit_iov){p->data + l->payload_at, out.payload_bytes};
    offload_split(&out, p->gso_bytes, take_part, &w);
    assert(w.at == out.payload_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    struct vnet_header h;
    struct offload_layout l;
    struct packet p;
    enum drop why;

    if (len_bytes < 1 + sizeof(h) + 1 || len_bytes > 65535)
        return 0;
    memcpy(&h, data + 1, sizeof(h));
    p = (struct packet){.len_bytes = (uint32_t)(len_bytes - 1 - sizeof(h))};
    p.data = malloc(p.len_bytes);
    memcpy(p.data, data + 1 + sizeof(h), p.len_bytes);
    why = data[0] & 1 ? offload_input(&p, &h) : offload_claim(&p, h.flags, h.gso_bytes);
    if (why == DROP_NONE && (p.gso_bytes || p.csum == PACKET_CSUM_PARTIAL)) {
        assert(offload_layout_parse(&l, p.data, p.len_bytes));
        if (p.gso_bytes) {
            assert(l.stated_bytes <= p.len_bytes && p.gso_bytes < l.stated_bytes - l.payload_at);
            split(&p, &l);
        }
        offload_complete(&p);
    }
    free(p.data);
    return 0;
}
