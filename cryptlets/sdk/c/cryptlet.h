/* A cryptlet in C: the component model's calling convention for `wit/cryptlet.wit`, written out for wasm32 without a C
 * library. One call, one instance: memory is handed out and never taken back.
 *
 * A cryptlet defines `handle` below and is compiled with `zig cc --target=wasm32-freestanding` (see build.sh); it
 * imports nothing. The host has already checked that the input is the canonical ABI encoding that the manifest declares. */
#ifndef CRYPTLET_H
#define CRYPTLET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes in the instance's memory. */
struct bytes {
    const uint8_t *at;
    size_t size;
};

/* Cases of `types.cryptlet-error`, in order. */
enum cryptlet_error { INVALID_INPUT, DENIED, UNAVAILABLE, INTERNAL };

/* What `handle` gives back: an output, or an error with its words. */
struct answer {
    bool ok;
    enum cryptlet_error error;
    struct bytes body;
};

struct answer handle(struct bytes method, struct bytes input);

/* ---- memory ---- */

#define PAGE_SIZE_BYTES 65536u

extern uint8_t __heap_base;
static uintptr_t heap_at;

static void *allocate(size_t size, size_t align) {
    if (heap_at == 0) {
        heap_at = (uintptr_t)&__heap_base;
    }
    uintptr_t at = (heap_at + align - 1) & ~(uintptr_t)(align - 1);
    if (size > UINT32_MAX - PAGE_SIZE_BYTES - at) {
        __builtin_trap();
    }
    uintptr_t end = at + size;
    size_t pages = __builtin_wasm_memory_size(0);
    size_t needed = (end + PAGE_SIZE_BYTES - 1) / PAGE_SIZE_BYTES;
    if (needed > pages && __builtin_wasm_memory_grow(0, needed - pages) == SIZE_MAX) {
        __builtin_trap();
    }
    heap_at = end;
    return (void *)at;
}

/* The host puts arguments where this says. */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    uint8_t *fresh = allocate(size, align);
    for (size_t at = 0; at < old_size && at < size; at++) {
        fresh[at] = ((uint8_t *)old)[at];
    }
    return fresh;
}

/* ---- the exported function ---- */

/* `result<list<u8>, cryptlet-error>` in memory (Canonical ABI: variants). */
struct wire {
    uint8_t is_error;
    uint32_t first;  /* output: its address; error: its case, in the low byte */
    uint32_t second; /* output: its size; error: the address of its words */
    uint32_t third;  /* error: the size of its words */
};

__attribute__((export_name("bletchley:cryptlet/handler@1.0.0#handle"))) struct wire *cryptlet_handle(
    const uint8_t *method, size_t method_size, const uint8_t *input, size_t input_size) {
    static struct wire wire;
    struct answer answer = handle((struct bytes){method, method_size}, (struct bytes){input, input_size});
    uint32_t at = (uint32_t)(uintptr_t)answer.body.at, size = (uint32_t)answer.body.size;
    wire = answer.ok ? (struct wire){0, at, size, 0} : (struct wire){1, (uint32_t)answer.error, at, size};
    return &wire;
}

/* ---- bytes and words ---- */

static struct bytes text(const char *words) {
    size_t size = 0;
    while (words[size] != 0) {
        size++;
    }
    return (struct bytes){(const uint8_t *)words, size};
}

static int compare(struct bytes left, struct bytes right) {
    for (size_t at = 0; at < left.size && at < right.size; at++) {
        if (left.at[at] != right.at[at]) {
            return left.at[at] < right.at[at] ? -1 : 1;
        }
    }
    return left.size == right.size ? 0 : left.size < right.size ? -1 : 1;
}

static bool equal(struct bytes left, const char *right) {
    return compare(left, text(right)) == 0;
}

static struct answer refuse(enum cryptlet_error error, const char *words) {
    return (struct answer){false, error, text(words)};
}

/* ---- the Solidity ABI ---- */

#define WORD_SIZE_BYTES 32u

/* The word at this place of a tuple's head, as far as it fits 64 bits. */
static uint64_t word_in(struct bytes input, size_t place) {
    uint64_t value = 0;
    for (size_t at = 24; at < WORD_SIZE_BYTES; at++) {
        value = value << 8 | input.at[place * WORD_SIZE_BYTES + at];
    }
    return value;
}

/* The string whose offset is at this place of the head. */
static struct bytes string_in(struct bytes input, size_t place) {
    size_t start = (size_t)word_in(input, place);
    struct bytes tail = {input.at + start, input.size - start};
    return (struct bytes){tail.at + WORD_SIZE_BYTES, (size_t)word_in(tail, 0)};
}

/* An output of static values; negative ones are sign-extended. */
static struct answer words_out(const int64_t *values, size_t count) {
    uint8_t *out = allocate(count * WORD_SIZE_BYTES, 8);
    for (size_t place = 0; place < count; place++) {
        for (size_t at = 0; at < WORD_SIZE_BYTES; at++) {
            size_t shift = (WORD_SIZE_BYTES - 1 - at) * 8;
            out[place * WORD_SIZE_BYTES + at] = (uint8_t)(shift < 64 ? values[place] >> shift : values[place] >> 63);
        }
    }
    return (struct answer){true, 0, {out, count * WORD_SIZE_BYTES}};
}

static struct answer word_out(int64_t value) {
    return words_out(&value, 1);
}

#endif
