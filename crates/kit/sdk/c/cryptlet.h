/* What a cryptlet in C sees of the world. There is no C library: what stands here is all there is.
 *
 * One call, one instance: memory is handed out by `allocate` and never taken back. */
#ifndef CRYPTLET_H
#define CRYPTLET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Text in UTF-8, without a zero at its end. */
struct text {
    const char *at;
    size_t size;
};

/* Bytes of any number. */
struct bytes {
    const uint8_t *at;
    size_t size;
};

struct address {
    uint8_t bytes[20];
};

/* ---- refusals ---- */

enum cryptlet_fault { CRYPTLET_FINE, CRYPTLET_INVALID_INPUT, CRYPTLET_DENIED, CRYPTLET_UNAVAILABLE, CRYPTLET_INTERNAL };

/* The first member of every method's outputs: all zero, it says that there are outputs. */
struct cryptlet_error {
    enum cryptlet_fault fault;
    struct text words;
};

/* The caller's input is at fault. The words reach the contract. */
struct cryptlet_error invalid_input(const char *words);
/* The caller may not do this. */
struct cryptlet_error denied(const char *words);
/* An outside source did not answer; the host may try again. */
struct cryptlet_error unavailable(const char *words);
/* The cryptlet itself is at fault. */
struct cryptlet_error internal(const char *words);

/* ---- memory and text ---- */

/* So many bytes, all zero, aligned for every type. The call traps when there is no more. */
void *allocate(size_t size);
struct text text_of(const char *words);
bool text_equal(struct text left, struct text right);
struct text text_join(struct text left, struct text right);
struct text text_of_number(uint64_t number);

void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *at, int byte, size_t size);
int memcmp(const void *left, const void *right, size_t size);
size_t strlen(const char *words);

/* ---- the call ---- */

struct call_context {
    struct bytes call_id; /* 32 bytes that identify this call and no other */
    struct bytes ledger;  /* 32 bytes: the ledger whose contract calls */
    uint64_t height;      /* of the block that the call was made against */
    uint64_t block_time_ms;
    struct address caller;
};

struct call_context context_current(void);

/* The as-of time of the call, in milliseconds since 1970. It does not advance while the call runs. */
uint64_t clock_now(void);

/* The next bytes of a stream that is a function of the call: anyone can compute them. */
void random_bytes(uint8_t *at, size_t size);

void log_debug(struct text words);
void log_info(struct text words);
void log_warn(struct text words);
void log_error(struct text words);

