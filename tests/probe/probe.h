// What every part of the probe shares. The probe is hostile code for tests: it tries to get out of
// the jail it runs in, and says how far it came. It shares no line with the product.
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

// The secret that everything outside holds.
#define SECRET "KEEPGATE-CANARY-7f3a"

// In which classes an attempt must be denied.
#define NATIVE 1
#define FOREIGN 2
#define BOTH (NATIVE | FOREIGN)

// What became of an attempt.
enum { DENIED = 0, THROUGH = 1, SKIPPED = 2 };

struct attempt {
    const char *name;
    int classes;
    int (*act)(void);
};

// An attempt: `classes` are those in which it must be denied. Its body gives THROUGH or DENIED.
#define ATTEMPT(id, in)                                                                   \
    static int id(void);                                                                  \
    static const struct attempt id##_entry = {#id, in, id};                               \
    static const struct attempt *const id##_listed                                        \
        __attribute__((used, section("attempts"))) = &id##_entry;                         \
    static int id(void)

// What must work in the classes given: a jail in which nothing works proves nothing.
#define CONTROL(id, in)                                                                   \
    static int id(void);                                                                  \
    static const struct attempt id##_entry = {#id, in, id};                               \
    static const struct attempt *const id##_listed                                        \
        __attribute__((used, section("controls"))) = &id##_entry;                         \
    static int id(void)

// The value of an argument NAME=VALUE; "" where there is none.
const char *fact(const char *name);
long number(const char *name);
// The probe runs in a jail.
int jailed(void);
int can_fork(void);
// Descriptors at the start.
extern int inherited;

// The answer is success.
static inline int ok(long answer) { return answer >= 0 ? THROUGH : DENIED; }

// The kernel looked at arguments that are wrong on purpose.
static inline int reached(long answer) {
    return answer >= 0 || (errno != EPERM && errno != EACCES && errno != ENOSYS && errno != EROFS &&
                           errno != EOPNOTSUPP && errno != ENOPROTOOPT);
}

// The descriptor gives the secret.
int tells(int fd);
// The file gives the secret.
int reads(const char *path);
// Runs the program, which exits with 1: THROUGH where it did.
int runs(const char *path, char *const argv[]);
// A path in the directory called `fact_name`; two of them at a time.
const char *in(const char *fact_name, const char *name);
// A path in a directory that everybody has, which no other probe has at the same time: without a
// jail several may run on one machine. Two of them at a time.
const char *shared(const char *directory, const char *name);
// Makes `to` a program, a copy of the shell.
int copy_shell(int to);
