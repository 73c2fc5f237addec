// What there is to reach outside: a process of the same user as the jail's, with a secret in its
// environment and in its memory, that serves sockets, and leaves a segment, queues and a key. Says
// NAME=VALUE for each on standard output, and ends when its standard input does.
#include "probe.h"

#include <arpa/inet.h>
#include <linux/keyctl.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

static char memory[4096] __attribute__((aligned(4096))) = SECRET;

static void must(int fine, const char *what) {
    if (!fine) {
        perror(what);
        exit(3);
    }
}

static int serves(int family, int type) {
    struct sockaddr_in6 own = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(family, type, 0);
    // All of 127.0.0.0/8 leads here.
    four.sin_addr.s_addr = htonl(INADDR_ANY);
    setsockopt(fd, IPPROTO_TCP, 23, &(int){5}, sizeof(int));
    must(!(family == AF_INET ? bind(fd, (void *)&four, sizeof four) : bind(fd, (void *)&own, sizeof own)), "bind");
    must(type != SOCK_STREAM || !listen(fd, 64), "listen");
    return fd;
}

static int port(int fd) {
    struct sockaddr_in6 own;
    socklen_t length = sizeof own;
    getsockname(fd, (void *)&own, &length);
    return ntohs(own.sin6_port);
}

static int named(const char *name, int abstract, int type) {
    struct sockaddr_un own = {.sun_family = AF_UNIX};
    snprintf(own.sun_path + abstract, sizeof own.sun_path - 1, "%s", name);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + 1);
    int fd = socket(AF_UNIX, type, 0);
    must(!bind(fd, (void *)&own, length), "bind of a name");
    if (!abstract)
        chmod(name, 0777);
    must(type != SOCK_STREAM || !listen(fd, 64), "listen");
    return fd;
}

int victim(void) {
    char name[128];
    struct {
        long type;
        char text[64];
    } message = {1, SECRET};
    key_t key = 0x6b670000 + (getpid() & 0xffff);
    umask(0);
    int shm = shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0666);
    must(shm >= 0, "shmget");
    strcpy(shmat(shm, NULL, 0), SECRET);
    int queue = msgget(key, IPC_CREAT | IPC_EXCL | 0666);
    must(queue >= 0 && !msgsnd(queue, &message, sizeof message.text, 0), "msgget");
    int semaphore = semget(key, 1, IPC_CREAT | IPC_EXCL | 0666);
    must(semaphore >= 0, "semget");
    snprintf(name, sizeof name, "/keepgate-probe-%d", getpid());
    must(mq_open(name, O_CREAT | O_RDWR, 0666, NULL) >= 0, "mq_open");
    int memory_file = shm_open(name, O_CREAT | O_RDWR, 0666);
    must(write(memory_file, SECRET, strlen(SECRET)) > 0, "shm_open");
    long secret = syscall(SYS_add_key, "user", "keepgate-probe", SECRET, strlen(SECRET), KEY_SPEC_USER_KEYRING);
    must(secret > 0, "add_key");
    syscall(SYS_keyctl, KEYCTL_SETPERM, secret, 0x3f3f3f3f);
    struct pollfd all[] = {
        {0, POLLIN, 0},
        {serves(AF_INET, SOCK_STREAM), POLLIN, 0},
        {serves(AF_INET6, SOCK_STREAM), POLLIN, 0},
        {serves(AF_INET, SOCK_DGRAM), POLLIN, 0},
        {named(in("dir", "stream"), 0, SOCK_STREAM), POLLIN, 0},
        {named(in("dir", "datagram"), 0, SOCK_DGRAM), POLLIN, 0},
        {named(name + 1, 1, SOCK_STREAM), POLLIN, 0},
        {-1, POLLIN, 0},
    };
    char second[160];
    snprintf(second, sizeof second, "%s-datagram", name + 1);
    all[7].fd = named(second, 1, SOCK_DGRAM);
    struct {
        struct file_handle head;
        unsigned char bytes[MAX_HANDLE_SZ];
    } handle = {.head.handle_bytes = MAX_HANDLE_SZ};
    int mounted;
    if (!name_to_handle_at(AT_FDCWD, fact("secret"), &handle.head, &mounted, 0)) {
        printf("handle=%d:", handle.head.handle_type);
        for (unsigned i = 0; i < handle.head.handle_bytes; i++)
            printf("%02x", handle.head.f_handle[i]);
        printf("\n");
    }
    char network[64] = "";
    if (readlink("/proc/self/ns/net", network, sizeof network - 1) > 0)
        printf("network=%.*s\n", (int)strcspn(network + 5, "]"), network + 5);
    printf("victim=%d\nmemory=%ld\nipc=%d\nqueue=%s\nkey=%ld\n", getpid(), (long)memory, key, name, secret);
    printf("tcp=%d\ntcp6=%d\nudp=%d\n", port(all[1].fd), port(all[2].fd), port(all[3].fd));
    printf("abstract=%s\nabstract-datagram=%s\nready\n", name + 1, second);
    fflush(stdout);
    while (poll(all, 8, -1) >= 0 && !all[0].revents) {
        for (int i = 1; i < 8; i++) {
            if (!all[i].revents)
                continue;
            struct sockaddr_storage from;
            socklen_t length = sizeof from;
            if (i == 3 || i == 5 || i == 7) {
                recvfrom(all[i].fd, second, 1, 0, (void *)&from, &length);
                if (i == 3)
                    sendto(all[i].fd, SECRET, strlen(SECRET), 0, (void *)&from, length);
                continue;
            }
            int client = accept4(all[i].fd, NULL, NULL, SOCK_CLOEXEC);
            send(client, SECRET, strlen(SECRET), MSG_NOSIGNAL);
            close(client);
        }
    }
    shmctl(shm, IPC_RMID, NULL);
    msgctl(queue, IPC_RMID, NULL);
    semctl(semaphore, 0, IPC_RMID);
    mq_unlink(name);
    shm_unlink(name);
    syscall(SYS_keyctl, KEYCTL_UNLINK, secret, KEY_SPEC_USER_KEYRING);
    return 0;
}
