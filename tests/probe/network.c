// Networks and sockets outside.
#include "probe.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static void patient(int fd) {
    struct timeval wait = {3, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
}

static struct sockaddr_in at(const char *address, long port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, address, &to.sin_addr);
    return to;
}

static int connects(int protocol, const char *address, long port) {
    struct sockaddr_in to = at(address, port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, protocol);
    patient(fd);
    return fd >= 0 && connect(fd, (void *)&to, sizeof to) == 0 && tells(fd);
}

static int connects6(int protocol, const char *address, long port) {
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    inet_pton(AF_INET6, address, &to.sin6_addr);
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, protocol);
    patient(fd);
    return fd >= 0 && connect(fd, (void *)&to, sizeof to) == 0 && tells(fd);
}

#define TCP number("tcp")
ATTEMPT(net_tcp4_loopback, BOTH) { return connects(0, "127.0.0.1", TCP); }
ATTEMPT(net_tcp4_named, BOTH) { return connects(IPPROTO_TCP, "127.0.0.1", TCP); }
ATTEMPT(net_tcp4_zero, BOTH) { return connects(0, "0.0.0.0", TCP); }
ATTEMPT(net_tcp4_second, BOTH) { return connects(0, "127.9.9.9", TCP); }
ATTEMPT(net_tcp6_loopback, BOTH) { return connects6(0, "::1", number("tcp6")); }
ATTEMPT(net_tcp6_any, BOTH) { return connects6(0, "::", number("tcp6")); }
ATTEMPT(net_v4mapped, BOTH) { return connects6(0, "::ffff:127.0.0.1", TCP); }
ATTEMPT(net_mptcp, BOTH) { return connects(IPPROTO_MPTCP, "127.0.0.1", TCP); }
ATTEMPT(net_mptcp6, BOTH) { return connects6(IPPROTO_MPTCP, "::1", number("tcp6")); }
ATTEMPT(net_tcp_fastopen, BOTH) {
    struct sockaddr_in to = at("127.0.0.1", TCP);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    patient(fd);
    return fd >= 0 && sendto(fd, "x", 1, MSG_FASTOPEN, (void *)&to, sizeof to) == 1 && tells(fd);
}
static int fast(int batch) {
    struct sockaddr_in to = at("127.0.0.1", TCP);
    struct iovec data = {"x", 1};
    struct mmsghdr message = {{.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &data, .msg_iovlen = 1}, 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    patient(fd);
    if (fd < 0)
        return DENIED;
    long sent = batch ? sendmmsg(fd, &message, 1, MSG_FASTOPEN) : sendmsg(fd, &message.msg_hdr, MSG_FASTOPEN);
    return sent == 1 && tells(fd);
}
ATTEMPT(net_tcp_fastopen_message, BOTH) { return fast(0); }
ATTEMPT(net_tcp_fastopen_messages, BOTH) { return fast(1); }
ATTEMPT(net_tcp_fastopen_option, BOTH) {
    struct sockaddr_in to = at("127.0.0.1", TCP);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    patient(fd);
    return fd >= 0 && setsockopt(fd, IPPROTO_TCP, 30, &(int){1}, sizeof(int)) == 0 &&
           connect(fd, (void *)&to, sizeof to) == 0 && write(fd, "x", 1) == 1 && tells(fd);
}
ATTEMPT(net_tcp_unconnected, BOTH) {
    struct sockaddr_in to = at("127.0.0.1", TCP);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS))
        return DENIED;
    return THROUGH;
}
ATTEMPT(net_tcp_remote, BOTH) {
    // Of TEST-NET-1: nobody is there, but a network would try.
    struct sockaddr_in to = at("192.0.2.1", 443);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 && (connect(fd, (void *)&to, sizeof to) == 0 || errno == EINPROGRESS);
}
// The port of the jail's way out; 0 where it has none.
static long proxy(void) {
    const char *told = getenv("HTTPS_PROXY");
    return told && strrchr(told, ':') ? strtol(strrchr(told, ':') + 1, NULL, 10) : 0;
}
ATTEMPT(net_tcp_neighbour_port, FOREIGN) {
    struct sockaddr_in to = at("127.0.0.1", proxy() ? proxy() + 1 : 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && (connect(fd, (void *)&to, sizeof to) == 0 || errno == ECONNREFUSED);
}
static int asks(int family, int type, int protocol) {
    struct sockaddr_in to = at("127.0.0.1", number("udp"));
    struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = to.sin_port, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(family, type | SOCK_CLOEXEC, protocol);
    patient(fd);
    if (fd < 0)
        return DENIED;
    long sent = family == AF_INET ? sendto(fd, "x", 1, 0, (void *)&to, sizeof to)
                                  : sendto(fd, "x", 1, 0, (void *)&to6, sizeof to6);
    return sent == 1 && (family == AF_INET6 || tells(fd));
}
ATTEMPT(net_udp_sendto, BOTH) { return asks(AF_INET, SOCK_DGRAM, 0); }
ATTEMPT(net_udp6_sendto, BOTH) { return asks(AF_INET6, SOCK_DGRAM, 0); }
ATTEMPT(net_udp_connect, BOTH) {
    struct sockaddr_in to = at("127.0.0.1", number("udp"));
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    patient(fd);
    return fd >= 0 && connect(fd, (void *)&to, sizeof to) == 0 && write(fd, "x", 1) == 1 && tells(fd);
}
ATTEMPT(net_udp_bind, BOTH) {
    struct sockaddr_in to = at("127.0.0.1", 0);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && bind(fd, (void *)&to, sizeof to) == 0;
}
static int listens(int family, const char *address, long port) {
    struct sockaddr_in to = at(address, port);
    struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int bound = family == AF_INET ? bind(fd, (void *)&to, sizeof to) : bind(fd, (void *)&to6, sizeof to6);
    return bound == 0 && listen(fd, 1) == 0;
}
ATTEMPT(net_bind_listen, BOTH) { return listens(AF_INET, "127.0.0.1", 0); }
ATTEMPT(net_bind_any, BOTH) { return listens(AF_INET, "0.0.0.0", 0); }
ATTEMPT(net_bind_port, BOTH) { return listens(AF_INET, "127.0.0.1", 18457); }
ATTEMPT(net_bind_low, BOTH) { return listens(AF_INET, "127.0.0.1", 81); }
ATTEMPT(net_bind6, BOTH) { return listens(AF_INET6, "", 0); }
ATTEMPT(net_listen_unbound, BOTH) {
    // The kernel picks a port, which Landlock does not see; nobody may come for it.
    struct sockaddr_in own;
    socklen_t length = sizeof own;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), other;
    if (fd < 0 || listen(fd, 1) || getsockname(fd, (void *)&own, &length))
        return DENIED;
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(other, (void *)&own, sizeof own) == 0;
}
ATTEMPT(net_inet_socket, NATIVE) { return ok(socket(AF_INET, SOCK_STREAM, 0)); }
ATTEMPT(net_raw_icmp, BOTH) { return ok(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)); }
ATTEMPT(net_raw_any, BOTH) { return ok(socket(AF_INET, SOCK_RAW, IPPROTO_RAW)); }
ATTEMPT(net_raw6, BOTH) { return ok(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6)); }
ATTEMPT(net_packet, BOTH) { return ok(socket(AF_PACKET, SOCK_RAW, htons(3))); }
ATTEMPT(net_packet_datagram, BOTH) { return ok(socket(AF_PACKET, SOCK_DGRAM, htons(3))); }
ATTEMPT(net_ping, BOTH) { return ok(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)); }
ATTEMPT(net_ping6, BOTH) { return ok(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6)); }
ATTEMPT(net_netlink_interfaces, BOTH) { return ok(socket(AF_NETLINK, SOCK_RAW, 0)); }
ATTEMPT(net_netlink_diag, BOTH) { return ok(socket(AF_NETLINK, SOCK_RAW, 4)); }
ATTEMPT(net_netlink_audit, BOTH) { return ok(socket(AF_NETLINK, SOCK_RAW, 9)); }
ATTEMPT(net_netlink_filter, BOTH) { return ok(socket(AF_NETLINK, SOCK_RAW, 12)); }
ATTEMPT(net_netlink_events, BOTH) { return ok(socket(AF_NETLINK, SOCK_DGRAM, 15)); }
ATTEMPT(net_netlink_generic, BOTH) { return ok(socket(AF_NETLINK, SOCK_RAW, 16)); }
ATTEMPT(net_vsock, BOTH) { return ok(socket(AF_VSOCK, SOCK_STREAM, 0)); }
ATTEMPT(net_vsock_datagram, BOTH) { return ok(socket(AF_VSOCK, SOCK_DGRAM, 0)); }
ATTEMPT(net_af_alg, BOTH) { return ok(socket(AF_ALG, SOCK_SEQPACKET, 0)); }
ATTEMPT(net_odd_families, BOTH) {
    int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_RDM};
    for (int family = 0; family < 64; family++)
        for (int type = 0; type < 5; type++)
            if (family != AF_UNIX && family != AF_INET && family != AF_INET6 &&
                socket(family, types[type], 0) >= 0)
                return THROUGH;
    return DENIED;
}
ATTEMPT(net_odd_protocols, BOTH) {
    for (int protocol = 1; protocol < 512; protocol++)
        if (protocol != IPPROTO_TCP && socket(AF_INET, SOCK_STREAM, protocol) >= 0)
            return THROUGH;
    return DENIED;
}
ATTEMPT(net_interfaces, BOTH) {
    struct ifreq all[32];
    struct ifconf list = {sizeof all, {(void *)all}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCGIFCONF, &list))
        return DENIED;
    for (size_t i = 0; i < (size_t)list.ifc_len / sizeof *all; i++)
        if (strcmp(all[i].ifr_name, "lo"))
            return THROUGH;
    return DENIED;
}
ATTEMPT(net_interface_down, FOREIGN) {
    struct ifreq one = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return jailed() && fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &one) == 0;
}
ATTEMPT(net_proc_tcp, BOTH) {
    char line[256], wanted[16];
    FILE *table = fopen("/proc/net/tcp", "r");
    snprintf(wanted, sizeof wanted, ":%04lX ", TCP);
    while (table && fgets(line, sizeof line, table))
        if (strstr(line, wanted))
            return THROUGH;
    return DENIED;
}
static int sets(int level, int option, size_t length) {
    char value[64] = {1};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && setsockopt(fd, level, option, value, (socklen_t)length) == 0;
}
ATTEMPT(net_option_ulp, BOTH) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && reached(setsockopt(fd, IPPROTO_TCP, 31, "tls", 3));
}
ATTEMPT(net_option_repair, BOTH) { return sets(IPPROTO_TCP, 19, 4); }
ATTEMPT(net_option_fastopen, BOTH) { return sets(IPPROTO_TCP, 23, 4); }
ATTEMPT(net_option_mark, BOTH) { return sets(SOL_SOCKET, SO_MARK, 4); }
ATTEMPT(net_option_force_buffer, BOTH) { return sets(SOL_SOCKET, SO_RCVBUFFORCE, 4); }
ATTEMPT(net_option_transparent, BOTH) { return sets(IPPROTO_IP, 19, 4); }
ATTEMPT(net_option_filter, BOTH) {
    struct { unsigned short length; void *code; } filter = {1, &(uint64_t){0x0000000000000006}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0;
}

static socklen_t named(struct sockaddr_un *to, const char *name, int abstract) {
    *to = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(to->sun_path + abstract, sizeof to->sun_path - 1, "%s", name);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + 1);
}
static int meets(const char *name, int abstract, int type) {
    struct sockaddr_un to;
    socklen_t length = named(&to, name, abstract);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    patient(fd);
    if (fd < 0 || connect(fd, (void *)&to, abstract ? length : sizeof to))
        return DENIED;
    return type == SOCK_DGRAM ? write(fd, "x", 1) == 1 : tells(fd);
}
ATTEMPT(unix_path_connect, BOTH) { return meets(in("dir", "stream"), 0, SOCK_STREAM); }
ATTEMPT(unix_path_dgram, BOTH) { return meets(in("dir", "datagram"), 0, SOCK_DGRAM); }
ATTEMPT(unix_path_root, BOTH) {
    char path[512];
    snprintf(path, sizeof path, "/proc/self/root%s", in("dir", "stream"));
    return meets(path, 0, SOCK_STREAM);
}
ATTEMPT(unix_abstract_connect, BOTH) { return meets(fact("abstract"), 1, SOCK_STREAM); }
ATTEMPT(unix_abstract_dgram, BOTH) { return meets(fact("abstract-datagram"), 1, SOCK_DGRAM); }
ATTEMPT(unix_abstract_namespace, BOTH) {
    struct sockaddr_un to;
    socklen_t length = named(&to, fact("abstract"), 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && bind(fd, (void *)&to, length) && errno == EADDRINUSE;
}
ATTEMPT(unix_proc_list, BOTH) {
    char line[512];
    FILE *table = fopen("/proc/net/unix", "r");
    while (table && fgets(line, sizeof line, table))
        if (strstr(line, fact("abstract")))
            return THROUGH;
    return DENIED;
}
ATTEMPT(unix_services, BOTH) {
    const char *all[] = {"/run/dbus/system_bus_socket", "/run/systemd/private", "/run/docker.sock",
                         "/run/systemd/journal/stdout", "/run/containerd/containerd.sock", "/dev/log"};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        struct sockaddr_un to;
        named(&to, all[i], 0);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (void *)&to, sizeof to) == 0)
            return THROUGH;
    }
    return DENIED;
}
ATTEMPT(unix_socket, BOTH) { return ok(socket(AF_UNIX, SOCK_STREAM, 0)); }
ATTEMPT(unix_raw, BOTH) { return jailed() ? ok(socket(AF_UNIX, SOCK_RAW, 0)) : SKIPPED; }

CONTROL(ctl_unix_pair, BOTH) { return ok(socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){0})); }
CONTROL(ctl_proxy, FOREIGN) {
    struct sockaddr_in to = at("127.0.0.1", proxy());
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return !proxy() || (fd >= 0 && connect(fd, (void *)&to, sizeof to) == 0);
}
ATTEMPT(unix_pair_dgram, FOREIGN) {
    struct sockaddr_un to;
    int pair[2];
    named(&to, in("dir", "datagram"), 0);
    return socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) == 0 &&
           sendto(pair[0], "x", 1, 0, (void *)&to, sizeof to) == 1;
}
