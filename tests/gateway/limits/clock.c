/* A wall clock that a test sets: it is off by the seconds that stand in the file $WALL_CLOCK_OFF_BY. The monotonic one is left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    int (*next)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = next(id, now);
    FILE *file;
    if (failed || id != CLOCK_REALTIME || !(file = fopen(getenv("WALL_CLOCK_OFF_BY"), "r"))) {
        return failed;
    }
    long off_by = 0;
    if (fscanf(file, "%ld", &off_by) == 1) {
        now->tv_sec += off_by;
    }
    fclose(file);
    return 0;
}
