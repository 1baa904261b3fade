/* SPDX-License-Identifier: MIT */
/* poison: tells the address sanitizer which octets of a pool nobody may touch.
 *
 * Memory that is kept for reuse looks alive to the sanitizer, so that a use after the return to the pool
 * would go unseen. Pools mark what they keep; in an ordinary build this costs nothing. */
#pragma once

#ifndef __has_feature
#define __has_feature(x) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define poison(p, len_bytes) __asan_poison_memory_region(p, len_bytes)
#define unpoison(p, len_bytes) __asan_unpoison_memory_region(p, len_bytes)
#else
#define poison(p, len_bytes) ((void)(p), (void)(len_bytes))
#define unpoison(p, len_bytes) ((void)(p), (void)(len_bytes))
#endif
