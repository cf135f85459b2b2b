/* Stops clocks and randomness while a JavaScript cryptlet is built, so that one source gives one component: the tool
 * snapshots a running engine, which seeds itself from both. Preloaded by build.sh (Linux, glibc); nothing of this is in
 * the component, where both come from the call alone. */

#include <stddef.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

ssize_t getrandom(void *buffer, size_t size_bytes, unsigned int flags) {
    (void)flags;
    memset(buffer, 7, size_bytes);
    return (ssize_t)size_bytes;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    (void)clock;
    *time = (struct timespec){.tv_sec = 1700000000, .tv_nsec = 0};
    return 0;
}
