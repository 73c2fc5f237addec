// Other processes, through calls and through /proc; and what a starter left open.
#include "probe.h"

#include <dirent.h>
#include <linux/ioprio.h>
#include <linux/kcmp.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>

#define VICTIM ((pid_t)number("victim"))

static const char *of(pid_t pid, const char *file) {
    static char path[256];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    return path;
}

static int opens(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

ATTEMPT(proc_victim_environ, BOTH) { return reads(of(VICTIM, "environ")); }
ATTEMPT(proc_any_environ, BOTH) {
    DIR *all = opendir("/proc");
    for (struct dirent *one; all && (one = readdir(all));) {
        pid_t pid = (pid_t)strtol(one->d_name, NULL, 10);
        if (pid > 0 && pid != getpid() && reads(of(pid, "environ")))
            return THROUGH;
    }
    return DENIED;
}
ATTEMPT(proc_victim_mem, BOTH) {
    int fd = open(of(VICTIM, "mem"), O_RDONLY | O_CLOEXEC);
    return fd >= 0 && lseek(fd, number("memory"), SEEK_SET) >= 0 && tells(fd);
}
ATTEMPT(proc_victim_maps, BOTH) { return opens(of(VICTIM, "maps"), O_RDONLY); }
ATTEMPT(proc_victim_fd, BOTH) { return opens(of(VICTIM, "fd"), O_RDONLY | O_DIRECTORY); }
ATTEMPT(proc_victim_cmdline, BOTH) { return opens(of(VICTIM, "cmdline"), O_RDONLY); }
ATTEMPT(proc_victim_namespace, BOTH) { return opens(of(VICTIM, "ns/net"), O_RDONLY); }
ATTEMPT(proc_first_environ, BOTH) {
    return opens("/proc/1/environ", O_RDONLY);
}
ATTEMPT(proc_first_mem, BOTH) { return opens("/proc/1/mem", O_RDONLY); }
ATTEMPT(proc_first_fd, BOTH) { return opens("/proc/1/fd", O_RDONLY | O_DIRECTORY); }
ATTEMPT(proc_first_exe, BOTH) { return readlink("/proc/1/exe", (char[64]){0}, 64) > 0; }
ATTEMPT(proc_list_others, BOTH) {
    DIR *all = opendir("/proc");
    for (struct dirent *one; all && (one = readdir(all));) {
        pid_t pid = (pid_t)strtol(one->d_name, NULL, 10);
        if (pid > 1 && pid != getpid() && pid != getppid())
            return THROUGH;
    }
    return DENIED;
}
ATTEMPT(proc_sysrq_write, BOTH) { return opens("/proc/sysrq-trigger", O_WRONLY); }
ATTEMPT(proc_core_pattern_write, BOTH) { return opens("/proc/sys/kernel/core_pattern", O_WRONLY); }
ATTEMPT(proc_modprobe_write, BOTH) { return opens("/proc/sys/kernel/modprobe", O_WRONLY); }
ATTEMPT(proc_binfmt_write, BOTH) { return opens("/proc/sys/fs/binfmt_misc/register", O_WRONLY); }
ATTEMPT(proc_settings_read, BOTH) { return opens("/proc/sys/kernel/ostype", O_RDONLY); }
ATTEMPT(proc_kallsyms, BOTH) { return opens("/proc/kallsyms", O_RDONLY); }
ATTEMPT(proc_kcore, BOTH) { return opens("/proc/kcore", O_RDONLY); }
ATTEMPT(proc_kmsg, BOTH) { return opens("/proc/kmsg", O_RDONLY); }
ATTEMPT(proc_keys, BOTH) { return opens("/proc/keys", O_RDONLY); }
ATTEMPT(proc_cmdline, BOTH) { return opens("/proc/cmdline", O_RDONLY); }
ATTEMPT(proc_oom_score_lower, BOTH) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, "0", 1) == 1;
}
ATTEMPT(proc_own_mem_write, BOTH) { return opens("/proc/self/mem", O_RDWR); }
ATTEMPT(proc_own_map_write, BOTH) { return opens("/proc/self/uid_map", O_WRONLY); }
ATTEMPT(sys_read, BOTH) { return opens("/sys/kernel", O_RDONLY) || opens("/sys/class", O_RDONLY); }
ATTEMPT(cgroup_read, BOTH) { return opens("/sys/fs/cgroup", O_RDONLY); }
ATTEMPT(cgroup_write, BOTH) {
    return opens("/sys/fs/cgroup/cgroup.procs", O_WRONLY) ||
           opens("/sys/fs/cgroup/unified/cgroup.procs", O_WRONLY);
}
ATTEMPT(sys_msr, BOTH) { return opens("/dev/cpu/0/msr", O_RDONLY); }

ATTEMPT(sig_victim, BOTH) { return ok(kill(VICTIM, 0)); }
ATTEMPT(sig_victim_group, BOTH) { return ok(kill(-VICTIM, 0)); }
ATTEMPT(sig_victim_thread, BOTH) { return ok(syscall(SYS_tgkill, VICTIM, VICTIM, 0)); }
ATTEMPT(sig_victim_tkill, BOTH) { return ok(syscall(SYS_tkill, VICTIM, 0)); }
ATTEMPT(sig_queueinfo, BOTH) {
    siginfo_t info = {.si_code = -1};
    return ok(syscall(SYS_rt_sigqueueinfo, VICTIM, 0, &info));
}
ATTEMPT(sig_first, FOREIGN) { return ok(kill(1, 0)); }
ATTEMPT(sig_first_kill, FOREIGN) {
    // Were it allowed, the jail would be gone; without one this is only asked.
    return jailed() ? ok(kill(1, SIGTERM)) : ok(kill(1, 0));
}
ATTEMPT(sig_starter, BOTH) { return ok(kill((pid_t)number("starter"), 0)); }
ATTEMPT(sig_pidfd, BOTH) {
    int fd = (int)syscall(SYS_pidfd_open, VICTIM, 0);
    return fd >= 0 && syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0;
}
ATTEMPT(sig_owner, BOTH) {
    int ends[2];
    return pipe(ends) == 0 && fcntl(ends[0], F_SETOWN, VICTIM) == 0;
}
ATTEMPT(ptrace_victim, BOTH) {
    if (ptrace(PTRACE_SEIZE, VICTIM, 0, 0))
        return DENIED;
    ptrace(PTRACE_DETACH, VICTIM, 0, 0);
    return THROUGH;
}
ATTEMPT(ptrace_first, FOREIGN) { return jailed() ? ok(ptrace(PTRACE_SEIZE, 1, 0, 0)) : SKIPPED; }
ATTEMPT(ptrace_own_child, BOTH) {
    if (!can_fork())
        return reached(ptrace(PTRACE_SEIZE, 0x7ffffffe, 0, 0));
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    int seized = ptrace(PTRACE_SEIZE, child, 0, 0) == 0;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return seized;
}
ATTEMPT(ptrace_me, BOTH) { return ok(ptrace(PTRACE_TRACEME, 0, 0, 0)); }
static int moves(long call) {
    char room[64];
    struct iovec here = {room, sizeof room}, there = {(void *)number("memory"), sizeof room};
    return syscall(call, VICTIM, &here, 1, &there, 1, 0) > 0;
}
ATTEMPT(vm_readv_victim, BOTH) { return moves(SYS_process_vm_readv); }
ATTEMPT(vm_writev_victim, BOTH) { return reached(syscall(SYS_process_vm_writev, VICTIM, 0, 0, 0, 0, 9)); }
ATTEMPT(vm_advise_victim, BOTH) {
    struct iovec there = {(void *)(number("memory") & ~4095L), 4096};
    int fd = (int)syscall(SYS_pidfd_open, VICTIM, 0);
    return ok(syscall(SYS_process_madvise, fd, &there, 1, 20, 0));
}
ATTEMPT(vm_move_pages_victim, BOTH) { return ok(syscall(SYS_move_pages, VICTIM, 0, 0, 0, 0, 0)); }
ATTEMPT(vm_robust_list_victim, BOTH) {
    void *head;
    size_t size;
    return ok(syscall(SYS_get_robust_list, VICTIM, &head, &size));
}
ATTEMPT(pidfd_getfd_victim, BOTH) {
    int fd = (int)syscall(SYS_pidfd_open, VICTIM, 0);
    return ok(syscall(SYS_pidfd_getfd, fd, 0, 0));
}
ATTEMPT(kcmp_victim, BOTH) { return ok(syscall(SYS_kcmp, VICTIM, VICTIM, KCMP_VM, 0, 0)); }
ATTEMPT(perf_victim, BOTH) {
    struct perf_event_attr what = {.type = PERF_TYPE_SOFTWARE, .size = sizeof what, .exclude_kernel = 1};
    return ok(syscall(SYS_perf_event_open, &what, VICTIM, -1, -1, 0));
}
ATTEMPT(prio_victim, BOTH) { return ok(setpriority(PRIO_PROCESS, (id_t)VICTIM, 5)); }
ATTEMPT(prio_victim_read, BOTH) {
    errno = 0;
    return getpriority(PRIO_PROCESS, (id_t)VICTIM) != -1 || errno == 0;
}
ATTEMPT(prio_raise, BOTH) { return ok(setpriority(PRIO_PROCESS, 0, -5)); }
ATTEMPT(affinity_victim, BOTH) {
    cpu_set_t set;
    return sched_getaffinity(VICTIM, sizeof set, &set) == 0 &&
           sched_setaffinity(VICTIM, sizeof set, &set) == 0;
}
ATTEMPT(prlimit_victim, BOTH) {
    struct rlimit limit;
    return ok(prlimit(VICTIM, RLIMIT_CORE, NULL, &limit));
}
ATTEMPT(prlimit_victim_set, BOTH) {
    return ok(prlimit(VICTIM, RLIMIT_CORE, &(struct rlimit){0, 0}, NULL));
}
ATTEMPT(sched_victim, BOTH) {
    return ok(sched_setscheduler(VICTIM, SCHED_BATCH, &(struct sched_param){0}));
}
ATTEMPT(sched_realtime, BOTH) { return ok(sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){1})); }
ATTEMPT(sched_round_robin, BOTH) { return ok(sched_setscheduler(0, SCHED_RR, &(struct sched_param){1})); }
ATTEMPT(sched_deadline, BOTH) {
    uint64_t what[7] = {sizeof what | (uint64_t)6 << 32, 0, 0, 1000000, 10000000, 10000000};
    return ok(syscall(SYS_sched_setattr, 0, what, 0));
}
ATTEMPT(sched_io_victim, BOTH) {
    return ok(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, VICTIM, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 7)));
}
ATTEMPT(sched_io_realtime, BOTH) {
    return ok(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_RT, 0)));
}

// --- what the starter left ----------------------------------------------------------------------
ATTEMPT(fd_inherited_any, BOTH) { return inherited > 3; }
ATTEMPT(fd_inherited_canary, BOTH) { return lseek(9, 0, SEEK_SET) == 0 && tells(9); }
ATTEMPT(fd_dir_escape, BOTH) { return tells(openat(8, "secret", O_RDONLY | O_CLOEXEC)); }
ATTEMPT(fd_dir_climb, BOTH) { return fchdir(8) == 0 && reads("secret"); }
ATTEMPT(fd_terminal, BOTH) { return isatty(7) || isatty(0) || isatty(1) || isatty(2); }
ATTEMPT(env_secret, BOTH) { return getenv("EP_SECRET") != NULL; }
ATTEMPT(tty_open, BOTH) { return opens("/dev/tty", O_RDWR); }
static int terminal(void) {
    int own = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    return own >= 0 ? own : 7;
}
ATTEMPT(tty_tiocsti, BOTH) { return ok(syscall(SYS_ioctl, terminal(), TIOCSTI, "\n")); }
ATTEMPT(tty_tiocsti_highbits, BOTH) {
    return ok(syscall(SYS_ioctl, terminal(), TIOCSTI | 0x100000000UL, "\n"));
}
ATTEMPT(tty_tiocsti_stdin, BOTH) { return reached(syscall(SYS_ioctl, 0, TIOCSTI, "\n")); }
ATTEMPT(tty_tiocsti_stdin_highbits, BOTH) {
    return reached(syscall(SYS_ioctl, 0, TIOCSTI | 0x100000000UL, "\n"));
}
ATTEMPT(tty_tioclinux, BOTH) { return reached(syscall(SYS_ioctl, terminal(), TIOCLINUX, (char[]){2})); }
ATTEMPT(tty_tiocsetd, BOTH) { return ok(syscall(SYS_ioctl, terminal(), TIOCSETD, &(int){0})); }
ATTEMPT(tty_hangup, BOTH) { return jailed() ? ok(vhangup()) : SKIPPED; }
