//! What the generic native list is for: a static program of another's runs under it, with threads,
//! timers, pipes and signals, and gets no further.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use keepgate::jail::limits::ToolLimits;
use keepgate::jail::lists::NATIVE_GENERIC;
use keepgate::sys::filter::{Clone3, Filter};
use keepgate::sys::jail::{First, Native, Template, own_pidfd};
use keepgate::sys::spawn::End;

use super::{LISTS, OWN_FIRST};
use crate::harness::eventually;

/// Threads, a timer, a signal, an event loop, memory; then what must fail, each with its exit status.
const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MUST(what) do { if (!(what)) { perror(#what); return __LINE__ & 127; } } while (0)
#define REFUSED(what) do { errno = 0; if ((long)(what) != -1 || errno != EPERM) { perror(#what); return __LINE__ & 127; } } while (0)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int sum;
static volatile sig_atomic_t caught;
static void *work(void *n) { for (int i = 0; i < 1000; i++) { pthread_mutex_lock(&lock); sum += *(int *)n; pthread_mutex_unlock(&lock); } return NULL; }
static void on(int s) { caught = s; }

int main(void) {
    pthread_t t[8]; int one = 1;
    for (int i = 0; i < 8; i++) MUST(pthread_create(&t[i], NULL, work, &one) == 0);
    for (int i = 0; i < 8; i++) MUST(pthread_join(t[i], NULL) == 0);
    MUST(sum == 8000);
    int e = epoll_create1(EPOLL_CLOEXEC), v = eventfd(1, 0), w = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec in = { .it_value = { 0, 1000000 } };
    struct epoll_event event = { .events = EPOLLIN };
    MUST(e >= 0 && v >= 0 && timerfd_settime(w, 0, &in, NULL) == 0);
    MUST(epoll_ctl(e, EPOLL_CTL_ADD, w, &event) == 0 && epoll_wait(e, &event, 1, -1) == 1);
    int p[2], s[2]; char c = 0;
    MUST(pipe(p) == 0 && write(p[1], "x", 1) == 1 && read(p[0], &c, 1) == 1 && c == 'x');
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0 && send(s[0], "y", 1, MSG_NOSIGNAL) == 1);
    MUST(recv(s[1], &c, 1, 0) == 1 && c == 'y');
    signal(SIGUSR1, on); raise(SIGUSR1); MUST(caught == SIGUSR1);
    void *big = malloc(64 << 20); MUST(big); memset(big, 1, 64 << 20); free(big);
    struct timespec nap = { 0, 1000 }; MUST(nanosleep(&nap, NULL) == 0);
    REFUSED(fork());
    REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
    REFUSED(socket(AF_INET, SOCK_STREAM, 0));
    REFUSED(execl("/bin/true", "true", NULL));
    REFUSED(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REFUSED(open("/tmp", O_TMPFILE | O_RDWR, 0600));
    REFUSED(open("/tmp/keepgate-test-x", O_CREAT | O_RDONLY, 0600));
    REFUSED(memfd_create("m", MFD_CLOEXEC));
    REFUSED(unlink("/nowhere"));
    REFUSED(mprotect(main, 1, PROT_READ | PROT_WRITE | PROT_EXEC));
    puts("done");
    return 0;
}
"#;

/// Starts `program` under the generic list; its output, once it ended well.
fn run(program: &Path) -> String {
    let template = Template {
        parent: own_pidfd().unwrap(),
    };
    let limits = ToolLimits {
        cpu_s: 20,
        memory: 2 << 30,
        file: 1 << 20,
    };
    let (input, mut output) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let fds = [input.as_fd(), output.as_fd(), output.as_fd()];
    let program = File::open(program).unwrap();
    let jail = Native {
        program: program.as_fd(),
        ruleset: None,
        argv: &[c"x"],
        fds: &fds,
        filter: &Filter::compile(&[NATIVE_GENERIC], Clone3::Missing).unwrap(),
        limits: &limits.all(),
        uid: None,
        listener: None,
        cgroup: None,
        first: None,
    };
    let (end, _) = template.spawn(&jail).unwrap().wait().unwrap();
    let mut text = String::new();
    output.rewind().unwrap();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(end, End::Exited(0), "{text}");
    text
}

#[test]
fn a_static_program_with_threads_runs_and_gets_no_further() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(run(&built(directory.path(), PROGRAM)), "done\n");
}

/// The static program made of `text`.
fn built(directory: &Path, text: &str) -> PathBuf {
    let (source, program) = (directory.join("x.c"), directory.join("x"));
    fs::write(&source, text).unwrap();
    let built = Command::new("gcc")
        .args(["-O1", "-static", "-pthread", "-o"])
        .args([&program, &source])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    program
}

/// Waits for a byte, then for nothing.
const WAITS: &str = r#"
#include <signal.h>
#include <unistd.h>
int main(void) { char c; if (read(0, &c, 1) == 1) raise(SIGTERM); return 3; }
"#;

/// Where no memory file can be run (`vm.memfd_noexec` is 2), Keepgate's own program is the first
/// process of such a jail.
#[test]
fn keepgates_own_program_can_be_the_first_process_too() {
    let directory = tempfile::tempdir().unwrap();
    let program = File::open(built(directory.path(), WAITS)).unwrap();
    let own = File::open(crate::harness::binary()).unwrap();
    let template = Template {
        parent: own_pidfd().unwrap(),
    };
    let limits = ToolLimits {
        cpu_s: 20,
        memory: 1 << 30,
        file: 1 << 20,
    };
    let limits = limits.all();
    let (input, output) = (std::io::pipe().unwrap(), tempfile::tempfile().unwrap());
    let fds = [input.0.as_fd(), output.as_fd(), output.as_fd()];
    let own_first = LISTS.iter().find(|(name, ..)| *name == OWN_FIRST);
    let (_, lists, _) = own_first.unwrap();
    let filter = |lists: &[&str]| Filter::compile(lists, Clone3::Missing).unwrap();
    let jail = Native {
        program: program.as_fd(),
        ruleset: None,
        argv: &[c"x"],
        fds: &fds,
        filter: &filter(&[NATIVE_GENERIC]),
        limits: &limits,
        uid: None,
        listener: None,
        cgroup: None,
        first: Some(First {
            program: own.as_fd(),
            ruleset: None,
            argv: &[c"keepgate-tool", c"first"],
            filter: &filter(lists),
            limits: &limits,
            stdio: Some(own.as_fd()),
        }),
    };
    let jailed = template.spawn(&jail).unwrap();
    let thread = nix::unistd::gettid();
    let children = fs::read_to_string(format!("/proc/self/task/{thread}/children")).unwrap();
    let sleeps = |pid: &str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
        line == b"keepgate-tool\0first\0" && call.starts_with(&format!("{} ", libc::SYS_pause))
    };
    eventually("a first process that sleeps", || {
        children.split_whitespace().any(sleeps)
    });
    (&input.1).write_all(b"x").unwrap();
    assert_eq!(jailed.wait().unwrap().0, End::Killed(libc::SIGTERM));
}

#[test]
fn a_go_program_runs() {
    const SOURCE: &str = r#"package main
import ("fmt"; "os"; "runtime"; "sync"; "time")
func main() {
	var group sync.WaitGroup
	answers := make(chan int, 100)
	for i := 0; i < 100; i++ { group.Add(1); go func() { defer group.Done(); time.Sleep(time.Millisecond); answers <- i }() }
	group.Wait(); close(answers)
	sum := 0
	for one := range answers { sum += one }
	kept := make([][]byte, 0)
	for i := 0; i < 100; i++ { kept = append(kept, make([]byte, 1<<20)) }
	runtime.GC()
	r, w, err := os.Pipe(); if err != nil { panic(err) }
	go w.Write([]byte("x")); r.Read(make([]byte, 1))
	fmt.Println(sum, len(kept))
}
"#;
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("x.go"), directory.path().join("x"));
    fs::write(&source, SOURCE).unwrap();
    let built = Command::new("go")
        .args(["build", "-o"])
        .args([&program, &source])
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod")
        .env("GOTOOLCHAIN", "local")
        .current_dir(directory.path())
        .output()
        .unwrap_or_else(|error| panic!("this test needs `go`; run scripts/test: {error}"));
    assert!(built.status.success(), "{built:?}");
    assert_eq!(run(&program), "4950 100\n");
}
