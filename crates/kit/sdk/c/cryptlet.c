/* The component model's calling convention for `wit/cryptlet.wit`, written out for wasm32, and the Solidity ABI. */
#include "cryptlet.h"

/* ---- memory and text ---- */

#define PAGE_SIZE_BYTES 65536u
#define ALIGNMENT 16u

extern uint8_t __heap_base;
static uintptr_t heap_at;

void *allocate(size_t size) {
    if (heap_at == 0) {
        heap_at = (uintptr_t)&__heap_base;
    }
    uintptr_t at = (heap_at + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1);
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

/* The host puts arguments and results where this says. */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)align;
    void *fresh = allocate(size);
    memcpy(fresh, old, old_size < size ? old_size : size);
    return fresh;
}

void *memcpy(void *to, const void *from, size_t size) {
    for (size_t at = 0; at < size; at++) {
        ((uint8_t *)to)[at] = ((const uint8_t *)from)[at];
    }
    return to;
}

void *memmove(void *to, const void *from, size_t size) {
    if ((uintptr_t)to <= (uintptr_t)from) {
        return memcpy(to, from, size);
    }
    for (size_t at = size; at > 0; at--) {
        ((uint8_t *)to)[at - 1] = ((const uint8_t *)from)[at - 1];
    }
    return to;
}

void *memset(void *at, int byte, size_t size) {
    for (size_t place = 0; place < size; place++) {
        ((uint8_t *)at)[place] = (uint8_t)byte;
    }
    return at;
}

int memcmp(const void *left, const void *right, size_t size) {
    const uint8_t *first = left, *second = right;
    for (size_t at = 0; at < size; at++) {
        if (first[at] != second[at]) {
            return first[at] < second[at] ? -1 : 1;
        }
    }
    return 0;
}

size_t strlen(const char *words) {
    size_t size = 0;
    while (words[size] != 0) {
        size++;
    }
    return size;
}

struct text text_of(const char *words) {
    return (struct text){words, strlen(words)};
}

bool text_equal(struct text left, struct text right) {
    return left.size == right.size && memcmp(left.at, right.at, left.size) == 0;
}

struct text text_join(struct text left, struct text right) {
    char *joined = allocate(left.size + right.size);
    memcpy(joined, left.at, left.size);
    memcpy(joined + left.size, right.at, right.size);
    return (struct text){joined, left.size + right.size};
}

struct text text_of_number(uint64_t number) {
    char *digits = allocate(20);
    size_t at = 20;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return (struct text){digits + at, 20 - at};
}

/* What the compiler multiplies wide integers with: 64 by 64 bits by halves, so that it does not call itself. */
__int128 __multi3(__int128 left, __int128 right) {
    uint64_t a = (uint64_t)left, b = (uint64_t)right;
    uint64_t a_low = (uint32_t)a, a_high = a >> 32, b_low = (uint32_t)b, b_high = b >> 32;
    uint64_t low = a_low * b_low;
    uint64_t middle = a_high * b_low + (low >> 32);
    uint64_t other = a_low * b_high + (uint32_t)middle;
    uint64_t high = a_high * b_high + (middle >> 32) + (other >> 32);
    high += (uint64_t)((unsigned __int128)left >> 64) * b + a * (uint64_t)((unsigned __int128)right >> 64);
    return (__int128)((unsigned __int128)high << 64 | (other << 32 | (uint32_t)low));
}

/* ---- refusals ---- */

struct cryptlet_error invalid_input(const char *words) {
    return (struct cryptlet_error){CRYPTLET_INVALID_INPUT, text_of(words)};
}

struct cryptlet_error denied(const char *words) {
    return (struct cryptlet_error){CRYPTLET_DENIED, text_of(words)};
}

struct cryptlet_error unavailable(const char *words) {
    return (struct cryptlet_error){CRYPTLET_UNAVAILABLE, text_of(words)};
}

struct cryptlet_error internal(const char *words) {
    return (struct cryptlet_error){CRYPTLET_INTERNAL, text_of(words)};
}

/* ---- the call ---- */

#define IMPORT(interface, name) __attribute__((import_module("bletchley:cryptlet/" interface "@1.0.0"), import_name(name)))

/* Records in memory, as the Canonical ABI lays them out. */
struct wire_context {
    struct bytes call_id, ledger;
    uint64_t height, block_time_ms;
    struct bytes caller;
};

IMPORT("context", "current") void host_context(struct wire_context *context);
IMPORT("clock", "now") uint64_t host_clock(void);
IMPORT("random", "bytes") void host_random(uint32_t size, struct bytes *bytes);
IMPORT("log", "emit") void host_log(uint32_t level, const char *at, size_t size);

struct call_context context_current(void) {
    struct wire_context wire;
    host_context(&wire);
    struct call_context context = {wire.call_id, wire.ledger, wire.height, wire.block_time_ms, {{0}}};
    memcpy(context.caller.bytes, wire.caller.at, sizeof context.caller.bytes);
    return context;
}

uint64_t clock_now(void) {
    return host_clock();
}

void random_bytes(uint8_t *at, size_t size) {
    struct bytes bytes;
    host_random((uint32_t)size, &bytes);
    memcpy(at, bytes.at, bytes.size);
}

void log_debug(struct text words) {
    host_log(0, words.at, words.size);
}

void log_info(struct text words) {
    host_log(1, words.at, words.size);
}

void log_warn(struct text words) {
    host_log(2, words.at, words.size);
}

void log_error(struct text words) {
    host_log(3, words.at, words.size);
}

/* ---- the Solidity ABI ---- */

#define WORD 32u

typedef unsigned _BitInt(256) wide;

/* The low 64 bits of a word. */
static inline uint64_t low64(const uint8_t *word) {
    uint64_t value = 0;
    for (size_t at = 24; at < WORD; at++) {
        value = value << 8 | word[at];
    }
    return value;
}

static inline wide wide_in(const uint8_t *word) {
    wide value = 0;
    for (size_t at = 0; at < WORD; at++) {
        value = value << 8 | word[at];
    }
    return value;
}

/* What the offset in a head points at; offsets count from the start of their sequence. */
static inline const uint8_t *tail_in(const uint8_t *base, const uint8_t *head) {
    return base + (size_t)low64(head);
}

/* The answer in the making. */
static struct {
    uint8_t *at;
    size_t size, capacity;
} out;

/* Appends zeros, and gives where they start. */
static inline size_t reserve(size_t size) {
    if (out.size + size > out.capacity) {
        size_t capacity = 2 * (out.size + size) + 512;
        uint8_t *grown = allocate(capacity);
        memcpy(grown, out.at, out.size);
        out.at = grown;
        out.capacity = capacity;
    }
    size_t start = out.size;
    memset(out.at + start, 0, size);
    out.size += size;
    return start;
}

static inline void put64(size_t head, uint64_t value) {
    for (size_t at = 0; at < 8; at++) {
        out.at[head + WORD - 1 - at] = (uint8_t)(value >> 8 * at);
    }
}

static inline void put_signed(size_t head, int64_t value) {
    memset(out.at + head, value < 0 ? 0xff : 0, WORD);
    put64(head, (uint64_t)value);
}

static inline void put_wide(size_t head, wide value) {
    for (size_t at = 0; at < WORD; at++) {
        out.at[head + WORD - 1 - at] = (uint8_t)value;
        value >>= 8;
    }
}

static inline void put_bytes(size_t base, size_t head, const void *at, size_t size) {
    put64(head, out.size - base);
    put64(reserve(WORD), size);
    size_t body = reserve((size + WORD - 1) / WORD * WORD);
    memcpy(out.at + body, at, size);
}

/* ---- the exported function ---- */

/* `result<list<u8>, cryptlet-error>` in memory (Canonical ABI: variants). */
struct wire {
    uint8_t is_error;
    uint32_t first;  /* output: its address; error: its case, in the low byte */
    uint32_t second; /* output: its size; error: the address of its words */
    uint32_t third;  /* error: the size of its words */
};

static struct wire *answer(void) {
    static struct wire wire;
    wire = (struct wire){0, (uint32_t)(uintptr_t)out.at, (uint32_t)out.size, 0};
    return &wire;
}

static struct wire *refuse(struct cryptlet_error error) {
    static struct wire wire;
    wire = (struct wire){1, (uint32_t)error.fault - 1, (uint32_t)(uintptr_t)error.words.at, (uint32_t)error.words.size};
    return &wire;
}

