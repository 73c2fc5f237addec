// Runs the attempts and says what became of each: NAME denied|through|skipped.
//
//   probe try CLASS NAME=VALUE...    CLASS is native, foreign or none
//   probe int80 | x32                a call of another ABI
//   probe survive MARK               leaves a process behind that does not want to end
//   probe linger MARK                leaves a thread that does not want to end
//   probe victim NAME=VALUE...       what there is to reach; see victim.c
//   probe nothing
#include "probe.h"

#include <pthread.h>
#include <sys/prctl.h>

int victim(void);
void abi_int80(void);
void abi_x32(void);

static int arguments;
static char **values;
static int class;
static int forks;
int inherited;

const char *fact(const char *name) {
    size_t length = strlen(name);
    for (int i = 2; i < arguments; i++)
        if (!strncmp(values[i], name, length) && values[i][length] == '=')
            return values[i] + length + 1;
    return "";
}

long number(const char *name) { return strtol(fact(name), NULL, 0); }
int jailed(void) { return class != 0; }
int can_fork(void) { return forks; }

int tells(int fd) {
    char text[4096] = "";
    if (fd < 0)
        return DENIED;
    ssize_t length = read(fd, text, sizeof text);
    if (length < 0)
        return DENIED;
    return memmem(text, (size_t)length, SECRET, strlen(SECRET)) ? THROUGH : DENIED;
}

int reads(const char *path) { return tells(open(path, O_RDONLY | O_CLOEXEC)); }

const char *in(const char *fact_name, const char *name) {
    static char rooms[2][4096];
    static int next;
    char *room = rooms[next++ % 2];
    snprintf(room, sizeof rooms[0], "%s/%s", fact(fact_name), name);
    return room;
}

const char *shared(const char *directory, const char *name) {
    static char rooms[2][256];
    static int next;
    char *room = rooms[next++ % 2];
    snprintf(room, sizeof rooms[0], "%s/%s-%d", directory, name, getpid());
    return room;
}

int copy_shell(int to) {
    static char room[1 << 16];
    int from = open("/bin/sh", O_RDONLY | O_CLOEXEC);
    if (from < 0 || to < 0)
        return -1;
    for (ssize_t some; (some = read(from, room, sizeof room)) > 0;)
        if (write(to, room, (size_t)some) != some)
            return -1;
    close(from);
    return 0;
}

int runs(const char *path, char *const argv[]) {
    char *environment[] = {NULL};
    if (!can_fork()) {
        // Were it run, this probe would not go on, and its report would be short.
        execve(path, argv, environment);
        return DENIED;
    }
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 2);
        execve(path, argv, environment);
        _exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return DENIED;
    return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

static int tried(const struct attempt *attempt) {
    if (!forks)
        return attempt->act();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        // Nothing here waits for long; what does was not refused.
        alarm(60);
        _exit(attempt->act());
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return SKIPPED;
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGALRM ? THROUGH : DENIED;
    return WEXITSTATUS(status);
}

static void all(void) {
    extern const struct attempt *const __start_attempts[], *const __stop_attempts[];
    extern const struct attempt *const __start_controls[], *const __stop_controls[];
    static const char *const words[] = {"denied", "through", "skipped"};
    for (const struct attempt *const *one = __start_controls; one < __stop_controls; one++)
        if (!class || ((*one)->classes & class))
            printf("%s %s\n", (*one)->name, tried(*one) == THROUGH ? "works" : "broken");
    for (const struct attempt *const *one = __start_attempts; one < __stop_attempts; one++)
        if (!class || ((*one)->classes & class)) {
            int what = tried(*one);
            printf("%s %s\n", (*one)->name, words[what > SKIPPED ? DENIED : what]);
        }
    printf("end\n");
}

static void stay(void) {
    for (int signal = 1; signal < 65; signal++)
        if (signal != SIGKILL && signal != SIGSTOP)
            sigaction(signal, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    for (;;)
        pause();
}

static void survive(void) {
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        if (child < 0)
            exit(3);
        if (child > 0 && i == 0) {
            printf("left\n");
            fflush(stdout);
            // Orphaned, of another session, without a descriptor.
            exit(0);
        }
        setsid();
        if (child > 0)
            break;
    }
    prctl(PR_SET_PDEATHSIG, 0);
    for (int fd = 0; fd < 64; fd++)
        close(fd);
    stay();
}

static void *lingers(void *nothing) {
    stay();
    return nothing;
}

static void linger(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, lingers, NULL))
        exit(3);
    printf("left\n");
    fflush(stdout);
    close(0);
    close(1);
    close(2);
    // This thread only: the process goes on.
    syscall(SYS_exit, 0);
}

int main(int argc, char **argv) {
    arguments = argc;
    values = argv;
    const char *what = argc > 1 ? argv[1] : "";
    for (int fd = 0; fd < 4096; fd++)
        inherited += fcntl(fd, F_GETFD) >= 0;
    if (!strcmp(what, "nothing"))
        return 0;
    if (!strcmp(what, "int80"))
        abi_int80();
    else if (!strcmp(what, "x32"))
        abi_x32();
    else if (!strcmp(what, "survive"))
        survive();
    else if (!strcmp(what, "linger"))
        linger();
    else if (!strcmp(what, "victim"))
        return victim();
    else if (!strcmp(what, "try") && argc > 2) {
        class = !strcmp(argv[2], "native") ? NATIVE : !strcmp(argv[2], "foreign") ? FOREIGN : 0;
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        forks = child > 0 && waitpid(child, NULL, 0) == child;
        all();
    } else
        return 2;
    return 0;
}
