// Shared memory, queues and keys; what a kernel has beside files and sockets; this process' state and
// its limits.
#include "probe.h"

#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <mqueue.h>
#include <pthread.h>
#include <grp.h>
#include <sys/io.h>
#include <sys/ipc.h>
#include <sys/klog.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/swap.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>

#define KEY ((key_t)number("ipc"))

ATTEMPT(ipc_sysv_shm, BOTH) {
    char *at = shmat(shmget(KEY, 0, 0), NULL, SHM_RDONLY);
    return at != (void *)-1 && !memcmp(at, SECRET, strlen(SECRET));
}
ATTEMPT(ipc_sysv_shm_list, BOTH) {
    struct shm_info info;
    return shmctl(0, SHM_INFO, (void *)&info) >= 0 && info.used_ids > 0;
}
ATTEMPT(ipc_sysv_msg, BOTH) {
    struct { long type; char text[64]; } message;
    int queue = msgget(KEY, 0);
    if (queue < 0 || msgrcv(queue, &message, sizeof message.text, 0, IPC_NOWAIT) < 0)
        return DENIED;
    msgsnd(queue, &message, sizeof message.text, IPC_NOWAIT);
    return !memcmp(message.text, SECRET, strlen(SECRET));
}
ATTEMPT(ipc_sysv_sem, BOTH) { return ok(semget(KEY, 0, 0)); }
ATTEMPT(ipc_posix_mq, BOTH) { return ok(mq_open(fact("queue"), O_RDONLY)); }
ATTEMPT(ipc_posix_mq_unlink, BOTH) { return jailed() && mq_unlink(fact("queue")) == 0; }
ATTEMPT(ipc_posix_shm, BOTH) { return tells(shm_open(fact("queue"), O_RDONLY, 0)); }
ATTEMPT(key_read_canary, BOTH) {
    char text[64] = "";
    long key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", "keepgate-probe", 0);
    return key > 0 && syscall(SYS_keyctl, KEYCTL_READ, key, text, sizeof text) > 0 &&
           !memcmp(text, SECRET, strlen(SECRET));
}
ATTEMPT(key_read_number, BOTH) {
    char text[64];
    return syscall(SYS_keyctl, KEYCTL_READ, number("key"), text, sizeof text) > 0;
}
ATTEMPT(key_describe, BOTH) { return ok(syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_USER_KEYRING, 0, 0)); }
ATTEMPT(key_add, BOTH) {
    return ok(syscall(SYS_add_key, "user", "keepgate-other", "x", 1, KEY_SPEC_PROCESS_KEYRING));
}
ATTEMPT(key_request, BOTH) { return reached(syscall(SYS_request_key, "user", "keepgate-none", NULL, 0)); }
ATTEMPT(key_session, BOTH) { return ok(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL)); }
ATTEMPT(key_persistent, BOTH) { return reached(syscall(SYS_keyctl, KEYCTL_GET_PERSISTENT, -1, KEY_SPEC_PROCESS_KEYRING)); }

// --- the kernel ---------------------------------------------------------------------------------
ATTEMPT(sys_io_uring, BOTH) { return ok(syscall(SYS_io_uring_setup, 4, (char[120]){0})); }
ATTEMPT(sys_io_uring_enter, BOTH) { return reached(syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0)); }
ATTEMPT(sys_bpf_map, BOTH) {
    union bpf_attr what = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return ok(syscall(SYS_bpf, BPF_MAP_CREATE, &what, sizeof what));
}
ATTEMPT(sys_bpf_any, BOTH) { return reached(syscall(SYS_bpf, 999, NULL, 0)); }
ATTEMPT(sys_perf_event, BOTH) {
    struct perf_event_attr what = {.type = PERF_TYPE_SOFTWARE, .size = sizeof what, .exclude_kernel = 1};
    return ok(syscall(SYS_perf_event_open, &what, 0, -1, -1, 0));
}
ATTEMPT(sys_userfaultfd, BOTH) { return ok(syscall(SYS_userfaultfd, 1)); }
ATTEMPT(ns_new_user, BOTH) { return ok(unshare(CLONE_NEWUSER)); }
ATTEMPT(ns_new_mount, BOTH) { return ok(unshare(CLONE_NEWNS)); }
ATTEMPT(ns_new_net, BOTH) { return ok(unshare(CLONE_NEWNET)); }
ATTEMPT(ns_new_pid, BOTH) { return ok(unshare(CLONE_NEWPID)); }
ATTEMPT(ns_new_ipc, BOTH) { return ok(unshare(CLONE_NEWIPC)); }
ATTEMPT(ns_new_uts, BOTH) { return ok(unshare(CLONE_NEWUTS)); }
ATTEMPT(ns_new_cgroup, BOTH) { return ok(unshare(CLONE_NEWCGROUP)); }
ATTEMPT(ns_new_time, BOTH) { return ok(unshare(0x80)); }
static int clones(unsigned long flags) {
    pid_t child = (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0)
        _exit(0);
    return child > 0 && waitpid(child, NULL, 0) == child;
}
ATTEMPT(ns_clone_user, BOTH) { return clones(CLONE_NEWUSER); }
ATTEMPT(ns_clone_user_net, BOTH) { return clones(CLONE_NEWUSER | CLONE_NEWNET); }
ATTEMPT(ns_clone_pid, BOTH) { return clones(CLONE_NEWPID); }
ATTEMPT(ns_clone3_user, BOTH) {
    uint64_t what[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    pid_t child = (pid_t)syscall(SYS_clone3, what, 64);
    if (child == 0)
        _exit(0);
    return child > 0 && waitpid(child, NULL, 0) == child;
}
ATTEMPT(ns_clone3_plain, BOTH) {
    uint64_t what[11] = {0, 0, 0, 0, SIGCHLD};
    pid_t child = (pid_t)syscall(SYS_clone3, what, 64);
    if (child == 0)
        _exit(0);
    return child > 0 && waitpid(child, NULL, 0) == child;
}
ATTEMPT(ns_setns_victim, BOTH) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/ns/net", number("victim"));
    return ok(setns(open(path, O_RDONLY | O_CLOEXEC), 0));
}
ATTEMPT(ns_setns_first, FOREIGN) { return ok(setns(open("/proc/1/ns/net", O_RDONLY), 0)); }
ATTEMPT(ns_setns_pidfd, BOTH) {
    return ok(setns((int)syscall(SYS_pidfd_open, number("victim"), 0), CLONE_NEWNET));
}
ATTEMPT(sys_init_module, BOTH) { return reached(syscall(SYS_init_module, NULL, 0, "")); }
ATTEMPT(sys_finit_module, BOTH) { return reached(syscall(SYS_finit_module, -1, "", 0)); }
ATTEMPT(sys_delete_module, BOTH) { return reached(syscall(SYS_delete_module, "keepgate-none", O_NONBLOCK)); }
ATTEMPT(sys_kexec, BOTH) { return reached(syscall(SYS_kexec_load, 0, -1, NULL, -1)); }
ATTEMPT(sys_kexec_file, BOTH) { return reached(syscall(SYS_kexec_file_load, -1, -1, 0, "", -1)); }
ATTEMPT(sys_reboot, BOTH) { return reached(syscall(SYS_reboot, 0, 0, 0, NULL)); }
ATTEMPT(sys_swapon, BOTH) { return reached(swapon("/nowhere", 0)); }
ATTEMPT(sys_swapoff, BOTH) { return reached(swapoff("/nowhere")); }
ATTEMPT(sys_iopl, BOTH) { return ok(iopl(3)); }
ATTEMPT(sys_ioperm, BOTH) { return ok(ioperm(0x80, 1, 1)); }
ATTEMPT(sys_modify_ldt, BOTH) { return ok(syscall(SYS_modify_ldt, 0, (char[16]){0}, 16)); }
ATTEMPT(sys_personality, BOTH) { return ok(personality(ADDR_NO_RANDOMIZE)); }
ATTEMPT(sys_syslog, BOTH) { return ok(klogctl(10, NULL, 0)); }
ATTEMPT(sys_syslog_read, BOTH) { return klogctl(3, (char[64]){0}, 64) > 0; }
ATTEMPT(sys_acct, BOTH) { return reached(acct("/nowhere")); }
ATTEMPT(sys_quotactl, BOTH) { return reached(syscall(SYS_quotactl, -1, "/nowhere", 0, NULL)); }
ATTEMPT(sys_adjtimex, BOTH) { return ok(adjtimex(&(struct timex){0})); }
ATTEMPT(sys_settime, BOTH) { return reached(syscall(SYS_clock_settime, 99, &(struct timespec){0})); }
ATTEMPT(sys_settimeofday, BOTH) { return ok(syscall(SYS_settimeofday, NULL, NULL)); }
ATTEMPT(sys_hostname, BOTH) { return reached(syscall(SYS_sethostname, NULL, -1)); }
ATTEMPT(sys_domain_name, BOTH) { return reached(syscall(SYS_setdomainname, NULL, -1)); }
ATTEMPT(sys_aio, BOTH) { return ok(syscall(SYS_io_setup, 1, &(long){0})); }
ATTEMPT(sys_open_by_handle, BOTH) { return reached(syscall(SYS_open_by_handle_at, -1, NULL, 0)); }
ATTEMPT(sys_name_to_handle, BOTH) {
    return reached(syscall(SYS_name_to_handle_at, AT_FDCWD, "/", (int[64]){0}, &(int){0}, 0));
}
ATTEMPT(mem_secret, BOTH) { return reached(syscall(SYS_memfd_secret, -1)); }
ATTEMPT(mem_write_exec, NATIVE) {
    return mmap(NULL, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}
ATTEMPT(mem_exec, NATIVE) {
    return mmap(NULL, 4096, 5, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}
ATTEMPT(mem_protect_exec, NATIVE) {
    void *at = mmap(NULL, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return ok(mprotect(at, 4096, 5));
}
ATTEMPT(mem_lock, BOTH) {
    void *at = mmap(NULL, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return ok(mlock(at, 1 << 20));
}

void abi_int80(void) {
    long answer = 20;
    __asm__ volatile("int $0x80" : "+a"(answer) : : "memory", "r8", "r9", "r10", "r11");
}
void abi_x32(void) { syscall(0x40000000 | SYS_getpid); }
// A child that lives got through; one that was killed did not.
ATTEMPT(abi_i386_int80, FOREIGN) { return can_fork() ? (abi_int80(), THROUGH) : SKIPPED; }
ATTEMPT(abi_x32_table, FOREIGN) {
    if (!can_fork())
        return SKIPPED;
    errno = 0;
    abi_x32();
    return errno != ENOSYS;
}

// --- state --------------------------------------------------------------------------------------
ATTEMPT(st_no_new_privs_off, BOTH) { return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1; }
ATTEMPT(st_seccomp_off, BOTH) { return prctl(PR_GET_SECCOMP) == 0; }
ATTEMPT(st_seccomp_strict, BOTH) { return jailed() && syscall(SYS_seccomp, 1, 0, NULL) < 0 && errno == EFAULT; }
ATTEMPT(st_caps, BOTH) {
    uint32_t head[2] = {0x20080522, 0}, sets[6] = {0};
    FILE *status = fopen("/proc/self/status", "r");
    char line[128];
    unsigned long bits = 0, any = 0;
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, "Cap", 3) && sscanf(line + 7, "%lx", &bits) == 1)
            any |= bits;
    return any || (syscall(SYS_capget, head, sets) == 0 && (sets[0] || sets[1] || sets[3]));
}
ATTEMPT(st_caps_set, BOTH) {
    uint32_t head[2] = {0x20080522, 0}, sets[6] = {0, 1 << 21, 0};
    return ok(syscall(SYS_capset, head, sets));
}
ATTEMPT(st_ambient, BOTH) { return reached(prctl(47, 2, 21, 0, 0)); }
ATTEMPT(st_real_root, BOTH) { return getuid() == 0 || geteuid() == 0; }
ATTEMPT(st_setuid_root, BOTH) { return setuid(0) == 0; }
ATTEMPT(st_setgid_root, BOTH) { return setgid(0) == 0; }
ATTEMPT(st_setresuid, BOTH) { return ok(setresuid((uid_t)number("uid") + 1, -1, -1)); }
ATTEMPT(st_setgroups, BOTH) { return ok(setgroups(1, (gid_t[]){0})); }
ATTEMPT(st_dumpable_on, BOTH) { return jailed() && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0; }
ATTEMPT(st_keep_caps, BOTH) { return ok(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)); }
ATTEMPT(st_secure_bits, BOTH) { return ok(prctl(PR_SET_SECUREBITS, 0, 0, 0, 0)); }
ATTEMPT(st_tracer_any, BOTH) { return reached(prctl(0x59616d61, -1, 0, 0, 0)) && jailed(); }
ATTEMPT(st_mm, BOTH) { return reached(prctl(PR_SET_MM, 99, 0, 0, 0)); }
ATTEMPT(st_host_network, BOTH) {
    char own[64] = "", link[64] = "";
    ssize_t length = readlink("/proc/self/ns/net", own, sizeof own - 1);
    snprintf(link, sizeof link, "net:[%s]", fact("network"));
    return length > 0 && !strcmp(own, link);
}

// --- limits -------------------------------------------------------------------------------------
static int hard(int resource, rlim_t most) {
    struct rlimit limit;
    return getrlimit(resource, &limit) == 0 && limit.rlim_max > most;
}
ATTEMPT(lim_core, BOTH) { return hard(RLIMIT_CORE, 0); }
ATTEMPT(lim_core_raise, BOTH) { return ok(setrlimit(RLIMIT_CORE, &(struct rlimit){1, 1})); }
ATTEMPT(lim_cpu_unlimited, BOTH) { return hard(RLIMIT_CPU, 1 << 20); }
ATTEMPT(lim_realtime, BOTH) { return hard(RLIMIT_RTPRIO, 0) || ok(setrlimit(RLIMIT_RTPRIO, &(struct rlimit){1, 1})); }
ATTEMPT(lim_nice, BOTH) { return hard(RLIMIT_NICE, 0) || ok(setrlimit(RLIMIT_NICE, &(struct rlimit){40, 40})); }
ATTEMPT(lim_procs_2000, BOTH) {
    if (!can_fork())
        return DENIED;
    static pid_t all[2000];
    int made = 0;
    while (made < 2000 && (all[made] = fork()) >= 0) {
        if (all[made] == 0) {
            pause();
            _exit(0);
        }
        made++;
    }
    for (int i = 0; i < made; i++)
        kill(all[i], SIGKILL);
    for (int i = 0; i < made; i++)
        waitpid(all[i], NULL, 0);
    return made == 2000;
}
static void *sleeps(void *nothing) {
    pause();
    return nothing;
}
ATTEMPT(lim_threads_2000, BOTH) {
    pthread_attr_t small;
    pthread_t thread;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (int i = 0; i < 2000; i++)
        if (pthread_create(&thread, &small, sleeps, NULL))
            return DENIED;
    return THROUGH;
}
ATTEMPT(lim_mem_2g, BOTH) {
    return mmap(NULL, 2UL << 30, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}
ATTEMPT(lim_mem_2g_pieces, BOTH) {
    for (int i = 0; i < 2048; i++)
        if (mmap(NULL, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
            return DENIED;
    return THROUGH;
}
ATTEMPT(lim_mem_2g_heap, BOTH) { return sbrk(2L << 30) != (void *)-1; }
static int shares(int prot, int flags, int fd) {
    return mmap(NULL, 1UL << 30, prot, flags | MAP_NORESERVE, fd, 0) != MAP_FAILED;
}
ATTEMPT(lim_mem_shared, BOTH) { return shares(3, MAP_SHARED | MAP_ANONYMOUS, -1); }
ATTEMPT(lim_mem_shared_read, BOTH) { return shares(1, MAP_SHARED | MAP_ANONYMOUS, -1); }
ATTEMPT(lim_mem_shared_zero, BOTH) { return shares(3, MAP_SHARED, open("/dev/zero", O_RDWR | O_CLOEXEC)); }
ATTEMPT(lim_mem_growsdown, BOTH) {
    return mmap(NULL, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0) != MAP_FAILED;
}
ATTEMPT(lim_mem_later_writable, BOTH) {
    char *room = mmap(NULL, 2UL << 30, 1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return room != MAP_FAILED && ok(mprotect(room, 2UL << 30, 3));
}
ATTEMPT(lim_mem_moved_stack, BOTH) {
    char *at = (char *)((unsigned long)__builtin_frame_address(0) & ~4095UL) - 64 * 4096;
    char *place = mmap(NULL, 4 << 20, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char page = *(volatile char *)at;
    return page == *(volatile char *)at && mremap(at, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, place + (2 << 20)) != MAP_FAILED;
}
ATTEMPT(lim_socket_buffers, FOREIGN) {
    int pair[2], size = 1 << 20;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return DENIED;
    return ok(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
}
ATTEMPT(lim_memfd_512m, BOTH) {
    signal(SIGXFSZ, SIG_IGN);
    return ok(ftruncate(memfd_create("x", 8), 512 << 20));
}
ATTEMPT(lim_fds_2048, BOTH) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int made = 0;
    while (made < 2048 && dup(1) >= 0)
        made++;
    for (int fd = 3; fd < made + 3; fd++)
        close(fd);
    return made == 2048;
}
ATTEMPT(lim_disk_256m, BOTH) {
    static char room[1 << 20];
    char name[64];
    int written = 0;
    signal(SIGXFSZ, SIG_IGN);
    for (int file = 0; file < 16; file++) {
        snprintf(name, sizeof name, "probe-disk-%d", file);
        const char *path = shared("/tmp", name);
        int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
        for (int i = 0; i < 16 && write(fd, room, sizeof room) == sizeof room; i++)
            written++;
        close(fd);
    }
    for (int file = 0; file < 16; file++) {
        snprintf(name, sizeof name, "probe-disk-%d", file);
        unlink(shared("/tmp", name));
    }
    return written == 256;
}
ATTEMPT(lim_signals_4096, BOTH) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 4096; i++) {
        siginfo_t info = {.si_code = -1};
        if (syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN, &info))
            return DENIED;
    }
    return THROUGH;
}

CONTROL(ctl_clock, BOTH) { return ok(clock_gettime(CLOCK_MONOTONIC, &(struct timespec){0})); }
CONTROL(ctl_getrandom, BOTH) { return syscall(SYS_getrandom, (char[16]){0}, 16, 0) == 16; }
CONTROL(ctl_mem_32m, BOTH) {
    char *at = mmap(NULL, 32 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return DENIED;
    memset(at, 1, 32 << 20);
    munmap(at, 32 << 20);
    return THROUGH;
}
CONTROL(ctl_pipe, BOTH) { return ok(pipe((int[2]){0})); }
static void *returns(void *nothing) { return nothing; }
CONTROL(ctl_thread, BOTH) {
    pthread_t thread;
    return pthread_create(&thread, NULL, returns, NULL) == 0 && pthread_join(thread, NULL) == 0;
}
CONTROL(ctl_fork, FOREIGN) { return can_fork(); }
