// Files outside, and what can be made of files inside.
#include "probe.h"

#include <dirent.h>
#include <linux/fs.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8
#define MFD_EXEC 16
#endif
#define canary fact("secret")

static int lists(const char *path) {
    DIR *directory = opendir(path);
    int names = 0;
    if (!directory)
        return DENIED;
    for (struct dirent *entry; (entry = readdir(directory));)
        names += entry->d_name[0] != '.';
    closedir(directory);
    return names > 0;
}

static int makes(const char *path, mode_t mode) {
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
    if (fd < 0)
        return DENIED;
    close(fd);
    unlink(path);
    return THROUGH;
}

static int opens(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

ATTEMPT(fs_read_canary, BOTH) { return reads(canary); }
ATTEMPT(fs_read_canary_openat2, BOTH) {
    uint64_t how[3] = {O_RDONLY};
    return tells((int)syscall(SYS_openat2, AT_FDCWD, canary, how, sizeof how));
}
ATTEMPT(fs_read_canary_mapped, BOTH) {
    int fd = open(canary, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED;
}
ATTEMPT(fs_read_shadow, BOTH) { return opens("/etc/shadow", O_RDONLY); }
ATTEMPT(fs_read_passwd, NATIVE) { return opens("/etc/passwd", O_RDONLY); }
ATTEMPT(fs_list_root, NATIVE) { return lists("/"); }
ATTEMPT(fs_list_home, BOTH) { return lists("/root") || lists("/home"); }
ATTEMPT(fs_list_canary, BOTH) { return lists(fact("dir")); }
ATTEMPT(fs_list_run, BOTH) { return lists("/run"); }
ATTEMPT(fs_list_log, BOTH) { return lists("/var/log"); }
ATTEMPT(fs_stat_canary, BOTH) { return ok(stat(canary, &(struct stat){0})); }
ATTEMPT(fs_statx_canary, BOTH) {
    return ok(statx(AT_FDCWD, canary, 0, STATX_ALL, &(struct statx){0}));
}
ATTEMPT(fs_access_canary, BOTH) { return ok(access(canary, F_OK)); }
ATTEMPT(fs_statfs_canary, BOTH) { return ok(statfs(fact("dir"), &(struct statfs){0})); }
ATTEMPT(fs_write_canary, BOTH) { return opens(canary, O_WRONLY); }
ATTEMPT(fs_append_canary, BOTH) { return opens(canary, O_WRONLY | O_APPEND); }
ATTEMPT(fs_truncate_canary, BOTH) { return ok(truncate(canary, (off_t)strlen(SECRET))); }
ATTEMPT(fs_chmod_canary, BOTH) { return ok(chmod(canary, 0644)); }
ATTEMPT(fs_chmod_canary_2, BOTH) { return ok(syscall(452, AT_FDCWD, canary, 0644, 0)); }
ATTEMPT(fs_chown_canary, BOTH) { return ok(chown(canary, (uid_t)-1, (gid_t)-1)); }
ATTEMPT(fs_lchown_canary, BOTH) { return ok(lchown(canary, (uid_t)-1, (gid_t)-1)); }
ATTEMPT(fs_utimes_canary, BOTH) { return ok(utimensat(AT_FDCWD, canary, NULL, 0)); }
ATTEMPT(fs_xattr_canary, BOTH) {
    int answer = setxattr(canary, "user.x", "x", 1, 0);
    return answer == 0 || errno == ENOTSUP;
}
ATTEMPT(fs_xattr_list_canary, BOTH) { return ok(listxattr(canary, NULL, 0)); }
ATTEMPT(fs_unlink_canary, BOTH) {
    int answer = unlink(in("dir", "spare"));
    return answer == 0 && (close(open(in("dir", "spare"), O_CREAT | O_WRONLY, 0644)), 1);
}
ATTEMPT(fs_rename_canary, BOTH) {
    int answer = rename(in("dir", "spare"), in("dir", "moved"));
    return answer == 0 && rename(in("dir", "moved"), in("dir", "spare")) == 0;
}
ATTEMPT(fs_create_outside, BOTH) { return makes(in("dir", "new"), 0644); }
ATTEMPT(fs_mkdir_outside, BOTH) {
    return mkdir(in("dir", "newdir"), 0755) == 0 && rmdir(in("dir", "newdir")) == 0;
}
ATTEMPT(fs_symlink_outside, BOTH) {
    return symlink("x", in("dir", "link")) == 0 && unlink(in("dir", "link")) == 0;
}
ATTEMPT(fs_fifo_outside, BOTH) {
    return mkfifo(in("dir", "fifo"), 0644) == 0 && unlink(in("dir", "fifo")) == 0;
}
ATTEMPT(fs_unnamed_outside, BOTH) {
    return ok(open(fact("dir"), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
}
ATTEMPT(fs_symlink_to_canary, BOTH) {
    const char *path = shared("/tmp", "probe-link");
    unlink(path);
    int answer = symlink(canary, path);
    answer = answer == 0 && reads(path);
    unlink(path);
    return answer;
}
ATTEMPT(fs_hardlink_canary, BOTH) {
    int answer = link(canary, in("dir", "second")) == 0;
    unlink(in("dir", "second"));
    return answer;
}
ATTEMPT(fs_write_tmp, NATIVE) { return makes(shared("/tmp", "probe-new"), 0644); }
// Without a jail nothing of the machine is changed: it is asked whether it could be.
static int makes_in(const char *directory) {
    char path[256];
    snprintf(path, sizeof path, "%s/probe-new", directory);
    return jailed() ? makes(path, 0755) : ok(access(directory, W_OK));
}
ATTEMPT(fs_write_etc, BOTH) { return makes_in("/etc"); }
ATTEMPT(fs_write_usr, BOTH) { return makes_in("/usr/bin"); }
ATTEMPT(fs_write_root, BOTH) { return makes_in("/"); }
ATTEMPT(fs_write_dev, BOTH) { return makes_in("/dev"); }
ATTEMPT(fs_write_devshm, NATIVE) { return makes(shared("/dev/shm", "probe-new"), 0644); }
ATTEMPT(fs_write_cwd, NATIVE) { return makes("probe-new", 0644); }
ATTEMPT(fs_overwrite_shell, BOTH) { return opens("/usr/bin/env", O_WRONLY); }
static int by_way_of(const char *prefix) {
    char path[8192];
    snprintf(path, sizeof path, "%s%s", prefix, canary);
    return reads(path);
}
ATTEMPT(fs_proc_self_root, BOTH) { return by_way_of("/proc/self/root"); }
ATTEMPT(fs_proc_victim_root, BOTH) {
    char prefix[64];
    snprintf(prefix, sizeof prefix, "/proc/%ld/root", number("victim"));
    return by_way_of(prefix);
}
ATTEMPT(fs_proc_parent_root, BOTH) { return by_way_of("/proc/1/root"); }
ATTEMPT(fs_proc_parent_cwd, BOTH) { return by_way_of("/proc/1/cwd/../../../.."); }
ATTEMPT(fs_proc_task_root, BOTH) { return by_way_of("/proc/thread-self/root"); }
ATTEMPT(fs_dots, BOTH) { return by_way_of("../../../../../../../.."); }
ATTEMPT(fs_dots_directory, BOTH) {
    for (int i = 0; i < 32; i++)
        if (chdir(".."))
            return DENIED;
    return reads(canary + 1);
}
ATTEMPT(fs_proc_fd, BOTH) { return reads("/proc/self/fd/9"); }
ATTEMPT(fs_old_root, BOTH) { return by_way_of("/.old") || by_way_of("/oldroot") || by_way_of("/mnt"); }
ATTEMPT(fs_open_by_handle, BOTH) {
    // The handle itself is no secret: it is made of small numbers.
    struct {
        struct file_handle head;
        unsigned char bytes[MAX_HANDLE_SZ];
    } handle;
    const char *hex = fact("handle");
    if (sscanf(hex, "%d:", &handle.head.handle_type) != 1)
        return SKIPPED;
    hex = strchr(hex, ':') + 1;
    handle.head.handle_bytes = (unsigned)strlen(hex) / 2;
    for (unsigned i = 0; i < handle.head.handle_bytes; i++)
        sscanf(hex + 2 * i, "%2hhx", &handle.head.f_handle[i]);
    const char *places[] = {fact("rw"), fact("ro"), "/usr", "/", "."};
    for (unsigned i = 0; i < 5; i++) {
        int place = open(places[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (tells((int)syscall(SYS_open_by_handle_at, place, &handle, O_RDONLY)))
            return THROUGH;
    }
    return DENIED;
}
ATTEMPT(fs_inotify_canary, BOTH) {
    return ok(inotify_add_watch(inotify_init1(IN_CLOEXEC), canary, IN_ALL_EVENTS));
}
ATTEMPT(fs_fanotify, BOTH) { return ok(syscall(SYS_fanotify_init, 0, 0)); }
ATTEMPT(fs_fanotify_plain, BOTH) { return ok(syscall(SYS_fanotify_init, 0x200, 0)); }
ATTEMPT(fs_mknod_device, BOTH) {
    const char *path = shared("/tmp", "probe-node");
    int made = mknod(path, S_IFCHR | 0600, makedev(1, 5)) == 0;
    unlink(path);
    return made;
}
ATTEMPT(fs_mknod_device_rw, FOREIGN) {
    int made = mknod(in("rw", "node"), S_IFBLK | 0600, makedev(254, 0)) == 0;
    unlink(in("rw", "node"));
    return made;
}
ATTEMPT(fs_mount_private, BOTH) {
    // Without a jail this would change the machine.
    return jailed() ? ok(mount(NULL, "/", NULL, MS_PRIVATE, NULL)) : SKIPPED;
}
ATTEMPT(fs_mount_tmpfs, BOTH) {
    const char *at = jailed() ? "/tmp" : fact("dir");
    return mount("x", at, "tmpfs", 0, NULL) == 0 && umount2(at, MNT_DETACH) == 0;
}
ATTEMPT(fs_mount_proc, BOTH) {
    const char *at = jailed() ? "/tmp" : fact("dir");
    return mount("x", at, "proc", 0, NULL) == 0 && umount2(at, MNT_DETACH) == 0;
}
ATTEMPT(fs_mount_bind, BOTH) {
    const char *at = jailed() ? "/tmp" : fact("dir");
    return mount(at, at, NULL, MS_BIND, NULL) == 0 && umount2(at, MNT_DETACH) == 0;
}
ATTEMPT(fs_remount_writable, FOREIGN) {
    return jailed() ? ok(mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL)) : SKIPPED;
}
ATTEMPT(fs_umount, BOTH) { return reached(umount2(fact("dir"), MNT_DETACH)); }
ATTEMPT(fs_umount_view, FOREIGN) { return jailed() ? ok(umount2("/usr", MNT_DETACH)) : SKIPPED; }
ATTEMPT(fs_fsopen, BOTH) { return ok(syscall(SYS_fsopen, "tmpfs", 1)); }
ATTEMPT(fs_open_tree, BOTH) { return ok(syscall(SYS_open_tree, AT_FDCWD, "/", 0x80000)); }
ATTEMPT(fs_open_tree_clone, BOTH) { return ok(syscall(SYS_open_tree, AT_FDCWD, "/", 0x80001)); }
ATTEMPT(fs_move_mount, BOTH) { return reached(syscall(SYS_move_mount, -1, "x", -1, "y", 0)); }
ATTEMPT(fs_mount_setattr, BOTH) {
    return reached(syscall(SYS_mount_setattr, -1, "x", 0, &(uint64_t[4]){0}, 32));
}
ATTEMPT(fs_pivot_root, BOTH) { return reached(syscall(SYS_pivot_root, "/nowhere", "/nowhere")); }
ATTEMPT(fs_chroot, BOTH) { return ok(chroot("/")); }
ATTEMPT(fs_statmount, BOTH) {
    uint64_t request[4] = {32, 1, 1}, answer[64];
    return reached(syscall(457, request, answer, sizeof answer, 0));
}
ATTEMPT(fs_device_nodes, BOTH) {
    const char *nodes[] = {"/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/kvm",
                           "/dev/fuse", "/dev/loop-control", "/dev/net/tun", "/dev/ptmx",
                           "/dev/console", "/dev/tty0", "/dev/port", "/dev/uinput", "/dev/tpm0"};
    for (unsigned i = 0; i < sizeof nodes / sizeof *nodes; i++)
        if (opens(nodes[i], O_RDONLY))
            return THROUGH;
    return DENIED;
}
ATTEMPT(fs_device_null, NATIVE) { return opens("/dev/null", O_RDWR); }

// --- what can be written cannot be run ----------------------------------------------------------
static int runs_copy(const char *path) {
    char *argv[] = {"sh", "-c", "exit 1", NULL};
    unlink(path);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0755);
    if (fd < 0 || copy_shell(fd))
        return DENIED;
    close(fd);
    int ran = runs(path, argv);
    unlink(path);
    return ran;
}
ATTEMPT(exec_host_binary, NATIVE) {
    char *argv[] = {"sh", "-c", "exit 1", NULL};
    return runs("/bin/sh", argv);
}
ATTEMPT(exec_tmp, BOTH) { return runs_copy(shared("/tmp", "probe-sh")); }
ATTEMPT(exec_shm, BOTH) { return runs_copy(shared("/dev/shm", "probe-sh")); }
ATTEMPT(exec_rw, BOTH) { return runs_copy(in("rw", "probe-sh")); }
ATTEMPT(exec_rw_script, BOTH) {
    const char *path = in("rw", "script");
    char *argv[] = {"script", NULL};
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0755);
    if (fd < 0 || write(fd, "#!/bin/sh\nexit 1\n", 17) != 17)
        return DENIED;
    close(fd);
    int ran = runs(path, argv);
    unlink(path);
    return ran;
}
static int by_loader(const char *path) {
    char *argv[] = {"ld", (char *)path, "-c", "exit 1", NULL};
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0755);
    if (fd < 0 || copy_shell(fd))
        return DENIED;
    close(fd);
    int ran = runs("/lib64/ld-linux-x86-64.so.2", argv);
    unlink(path);
    return ran;
}
ATTEMPT(exec_tmp_loader, BOTH) { return by_loader(shared("/tmp", "probe-ld")); }
ATTEMPT(exec_rw_loader, BOTH) { return by_loader(in("rw", "probe-ld")); }
ATTEMPT(exec_tmp_symlink, BOTH) {
    char *argv[] = {"sh", "-c", "exit 1", NULL};
    const char *target = shared("/tmp", "probe-target"), *alias = shared("/tmp", "probe-alias");
    int fd = open(target, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0755);
    if (fd < 0 || copy_shell(fd) || symlink(target, alias))
        return DENIED;
    close(fd);
    int ran = runs(alias, argv);
    unlink(alias);
    unlink(target);
    return ran;
}
static int runs_memory(unsigned flags, int by_name) {
    char *argv[] = {"sh", "-c", "exit 1", NULL}, *environment[] = {NULL}, path[64];
    int fd = memfd_create("x", flags);
    if (fd < 0 || copy_shell(fd))
        return DENIED;
    fchmod(fd, 0755);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (by_name)
        return runs(path, argv);
    if (!can_fork())
        return THROUGH;
    pid_t child = fork();
    if (child == 0) {
        syscall(SYS_execveat, fd, "", argv, environment, AT_EMPTY_PATH);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}
ATTEMPT(exec_memfd, BOTH) { return runs_memory(0, 0); }
ATTEMPT(exec_memfd_path, BOTH) { return runs_memory(0, 1); }
ATTEMPT(exec_memfd_exec, BOTH) { return runs_memory(MFD_EXEC, 0); }
ATTEMPT(exec_memfd_sealed, BOTH) { return runs_memory(MFD_NOEXEC_SEAL, 0); }
ATTEMPT(exec_memfd_sealed_path, BOTH) { return runs_memory(MFD_NOEXEC_SEAL, 1); }
static int maps_code(const char *path) {
    int fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0755);
    if (fd < 0 || ftruncate(fd, 4096))
        return DENIED;
    void *at = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    unlink(path);
    return at != MAP_FAILED;
}
ATTEMPT(exec_tmp_mapped, BOTH) { return maps_code(shared("/tmp", "probe-map")); }
ATTEMPT(exec_rw_mapped, BOTH) { return maps_code(in("rw", "probe-map")); }
static int has_bits(const char *path, mode_t bits) {
    struct stat found;
    int has = stat(path, &found) == 0 && (found.st_mode & bits);
    unlink(path);
    rmdir(path);
    return has;
}
ATTEMPT(fs_setuid_chmod, BOTH) {
    const char *path = in("rw", "setuid");
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0755));
    chmod(path, 04755);
    return has_bits(path, 06000);
}
ATTEMPT(fs_setuid_fchmodat2, BOTH) {
    const char *path = in("rw", "setuid2");
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0755));
    syscall(452, AT_FDCWD, path, 04755, 0);
    return has_bits(path, 06000);
}
ATTEMPT(fs_setuid_create, BOTH) {
    const char *path = in("rw", "setuid3");
    umask(0);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 06755));
    return has_bits(path, 06000);
}
ATTEMPT(fs_setgid_mkdir, BOTH) {
    const char *path = in("rw", "setgid");
    if (mkdir(path, 0755))
        return DENIED;
    chmod(path, 02755);
    return has_bits(path, 02000);
}
ATTEMPT(fs_capability_file, BOTH) {
    uint32_t all[5] = {0x02000001, ~0U, 0, ~0U, 0};
    const char *path = in("rw", "capable");
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0755));
    int set = setxattr(path, "security.capability", all, sizeof all, 0) == 0;
    unlink(path);
    return set;
}
ATTEMPT(fs_whiteout, BOTH) {
    const char *from = in("rw", "white"), *to = in("rw", "out");
    close(open(from, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    int answer = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_WHITEOUT) == 0;
    unlink(from);
    unlink(to);
    return answer;
}
ATTEMPT(fs_rw_dots, BOTH) { return reads(in("rw", "../outside/secret")); }
ATTEMPT(fs_rw_planted_link, BOTH) { return reads(in("rw", "planted")); }
ATTEMPT(fs_rw_planted_directory, BOTH) { return reads(in("rw", "planted-dir/secret")); }
ATTEMPT(fs_rw_rename_out, BOTH) {
    close(open(in("rw", "leaving"), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    int moved = rename(in("rw", "leaving"), in("dir", "left")) == 0;
    unlink(in("dir", "left"));
    unlink(in("rw", "leaving"));
    return moved;
}
ATTEMPT(fs_rw_chown, BOTH) {
    close(open(in("rw", "owned"), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    int given = chown(in("rw", "owned"), 0, 0) == 0;
    unlink(in("rw", "owned"));
    return given;
}
ATTEMPT(fs_ro_write, BOTH) { return opens(in("ro", "file"), O_WRONLY); }
ATTEMPT(fs_ro_create, BOTH) { return makes(in("ro", "new"), 0644); }
ATTEMPT(fs_ro_chmod, BOTH) { return ok(chmod(in("ro", "file"), 0644)); }
ATTEMPT(fs_ro_chown, BOTH) { return ok(chown(in("ro", "file"), (uid_t)-1, (gid_t)-1)); }
ATTEMPT(fs_ro_utimes, BOTH) { return ok(utimensat(AT_FDCWD, in("ro", "file"), NULL, 0)); }
ATTEMPT(fs_ro_xattr, BOTH) {
    int answer = setxattr(in("ro", "file"), "user.x", "x", 1, 0);
    return answer == 0 || errno == ENOTSUP;
}
ATTEMPT(fs_ro_truncate, BOTH) { return ok(truncate(in("ro", "file"), 0)); }
ATTEMPT(fs_ro_rename, BOTH) {
    int moved = rename(in("ro", "file"), in("ro", "moved")) == 0;
    return moved && rename(in("ro", "moved"), in("ro", "file")) == 0;
}
ATTEMPT(fs_ro_flags, BOTH) {
    int fd = open(in("ro", "file"), O_RDONLY | O_CLOEXEC);
    // From the kernel's ext4 and others; refused before a file system is asked.
    return fd >= 0 && syscall(SYS_ioctl, fd, FS_IOC_SETFLAGS, &(int){0}) == 0;
}

CONTROL(ctl_ro, FOREIGN) { return opens(in("ro", "file"), O_RDONLY); }
CONTROL(ctl_rw, FOREIGN) { return makes(in("rw", "control"), 0644); }
CONTROL(ctl_tmp, FOREIGN) { return makes(shared("/tmp", "control"), 0644); }
CONTROL(ctl_shm, FOREIGN) { return makes(shared("/dev/shm", "control"), 0644); }
CONTROL(ctl_exec, FOREIGN) {
    char *argv[] = {"sh", "-c", "exit 1", NULL};
    return runs("/bin/sh", argv);
}
