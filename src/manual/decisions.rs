//! What was decided, why, and what was measured. The measurements are of a machine with two cores
//! and kernel 6.18, unless they say otherwise.
//!
//! **One static binary, several roles.** The same file is supervisor, roles, tools and command line;
//! a role is that file executed under another name, with an empty environment and one descriptor.
//! So what is installed, pinned and inspected is one thing. The link is static because a name
//! service or plug-in that a shared library loads later would run inside the keeper; nothing here
//! calls `getaddrinfo` or `getpwnam` for the same reason.
//!
//! **The front decides nothing.** It passes on the raw bytes of the arguments, and the keeper reads
//! them again. A front that an agent has taken over can ask what agents may ask, and no more.
//!
//! **Order by types.** What a step of the pipeline needs, only the step before can make:
//! [`crate::call::Call`], [`crate::policy::Grant`], [`crate::audit::evidence::Authorized`],
//! [`crate::audit::evidence::Released`]. A prototype of this order compiled, and ten wrong programs
//! were refused by the compiler.
//!
//! **A jail is started like `posix_spawn`, not like `fork`.** A plain fork from a process with
//! 256 MiB of memory took 16 ms; sharing the memory until the exec took 0.2 ms with all layers. All
//! namespaces made anew without privileges took 3.5 times a bare fork and exec, bubblewrap 10 times.
//!
//! **Cgroups are made ahead, and one that was killed is thrown away.** Making and removing one for
//! each call took longer than all other layers together; one from a pool costs a tenth of the start
//! of a process. But Linux 6.18 kills whatever `CLONE_INTO_CGROUP` starts in a cgroup that
//! `cgroup.kill` was once written to, if the starter's own cgroup was killed less or more often. So
//! a killed leaf does not go back to the pool, and a dead jailer's cgroups are made anew.
//!
//! **Networks are made ahead, and each serves once.** A network namespace takes 0.4 ms to make, the
//! other namespaces of a foreign jail 0.1 ms together. So the jailer makes a few while it has nothing
//! to do: it enters each, raises its loopback, and goes back, or ends if it cannot. No jail gets one
//! that another was in: what is bound, queued or waiting in there would stay.
//!
//! **Landlock alone is no network control.** With TCP denied by Landlock, multipath TCP and TCP Fast
//! Open reached a server; UDP and unix sockets are not its business in the ABIs that are common.
//! So a native tool has no socket call at all, in a network namespace without a device, and
//! Landlock is one layer of several.
//!
//! **The jail is attacked before it is used.** Seven public sandboxes were tried with one probe of
//! some hundred forbidden actions, each at its strictest simple setting. Every one let something
//! through, silently. So a real jail tries such a list at start, and one success refuses service.
//!
//! **A listener tells, and never decides.** Where a refused call of a jail is told as it happens
//! (seccomp user notification), the list has refused it before anybody listens, and the only answer
//! that the code can give is an errno. Sandboxes that look at an argument and then let the kernel go
//! on have lost that race in public: the kernel reads the argument again. So what is read from a
//! jail's memory is for the operator's eyes, and a line of a manifest is named only where the lists
//! or the proxy say that it would help.
//!
//! **No tool opens a name.** The jailer opens beneath the operator's root without following links
//! and hands over descriptors. A file is written without a name and gets it by exchange, after a
//! look at what was there.
//!
//! **The log is a file, not a database.** One flipped bit in the journal of an SQLite database with
//! 200 committed transactions gave a shorter and valid history in 299 of 300 trials. So the truth is
//! an append-only file with one `fdatasync` for all that queued while the last one ran (on one disk
//! 16,000 entries a second at 64 at a time; 320 one by one), and the database is an index that can
//! be thrown away.
//!
//! **A chain proves nothing about its end.** Cutting off entries leaves a valid chain. So there is a
//! tree over the entries (RFC 6962) and a signed checkpoint (C2SP), and a log without one does not
//! verify.
//!
//! **Stored bytes are what is hashed.** Entries are canonical JSON (RFC 8785) and the verifier checks
//! the form, so that no two readers see two meanings.
//!
//! **A failed `fdatasync` is final.** The kernel may report success the second time without having
//! written anything. The log is blocked until it was opened and checked anew.
//!
//! **Bodies decide, not headers; bytes, not objects.** A protocol library that parses into its own
//! types drops members it does not know and reorders keys. So arguments stay bytes until the keeper
//! parses them, strictly and once.
//!
//! **Deny by default, in a language that can be checked.** Policies are Cedar, validated against a
//! schema made from the tools' own input schemas: a rule on an argument that does not exist is an
//! error when it is loaded, not a rule that never matches. A decision took 13 µs.
//!
//! **A person is never asked through the agent.** Clients that were measured accepted an
//! elicitation by themselves within 3 ms. What needs a person is refused until a person can be
//! reached another way.
//!
//! **A name is resolved once.** The addresses are checked, and exactly those are dialled. A second
//! look-up is where rebinding lives.
//!
//! **A jail is built from the inside.** Whoever makes mounts may not be under a Landlock ruleset that
//! handles files, and what a process inherits it passes on: any layer of Landlock forbids renames
//! between directories, and an inherited list of system calls answers before anybody is told. So a
//! jailer that starts foreign jails has no layer of its own that its jails would need taken away
//! again. It holds their views and nothing of the operator's, and the first process of each jail
//! puts the layers on: mounts, then Landlock, limits and the list, then the program.
//!
//! **A process that waits is as jailed as one that works.** Starting one costs more than a short call.
//! So a few native jails are started ahead and wait for their one order; what they need to take it
//! (receive, number, close) they give up before they look at it.
//!
//! **A call's rules are found by binary search.** The kernel walks a filter for every call there is when
//! it is installed, and a chain of comparisons made that most of the time a jail takes to start (0.41 ms
//! of a list of 140 calls; 0.08 ms now). What is done about a call is still what `seccompiler` made of
//! its rules, and a test compares both ways for every call around every value a rule names.
//!
//! **A first process is a stand-in, not a parent.** The kernel keeps signals from the first process of a
//! pid namespace, so a program that is not ours must not be it. What is it does nothing but sleep; it
//! starts nothing, hears nothing and passes nothing on. Both are children of the jailer, which sees the
//! program's own end, with its signal. An init that starts the program and reports its end would be more
//! code in the jail, a protocol, and twice the time (a start of Keepgate's own program costs 0.1 ms more
//! than that of nine bytes).
//!
//! **A jailer's list holds what its jails' lists hold.** Jails inherit it, and the narrower one answers.
//! A jailer of generic programs is confined by both lists together; one of Keepgate's own tools by its
//! own alone.
//!
//! **A kept path keeps its way.** What is read-only within what may be changed is a mount on its place,
//! and a mount cannot be moved away by who sees it as one. The directory above it can, mount and all,
//! and then another of its name is made with other content: so each directory in between is mounted on
//! itself. The price is that nothing is renamed or linked between those and the rest (`EXDEV`); tools
//! copy then. They share the owner mapping of the outermost one, so that files mean the same in there.
//!
//! **A read-only mount does not keep a pipe from being written.** Landlock does, by what it does not
//! allow; but its rules add up along the whole way to the root, through mount points, so that one for a
//! private `/tmp` covers what is shown beneath it, and none can take a right away again. An overlay
//! would give such pipes another inode; it does not show what is mounted below, cannot be stacked in
//! containers that are overlays themselves, and is a file system more to trust. Links in `/tmp` to another
//! place would change what programs take for their own path. So the few paths that lie there are looked
//! through when a jail is made. In directories that may be changed a pipe is a file like others: a jail
//! that may write into it was given it.
//!
//! **An agent is known by what it proves, not by what it says.** Over a unix socket that is its uid,
//! over HTTP a token (on the loopback only: it travels in the clear) or a certificate, by its digest.
//! No authority has a say in who an agent is: a list of digests is shorter than a chain of trust,
//! and revoking is taking one off it. TLS keeps no sessions, because one that is taken up again
//! brings a certificate along that nobody looked at.
//!
//! **An agent of this host is looked at by the supervisor, when the keeper asks.** The keeper decides
//! and reads no files but its own; the supervisor may read root's, and decides nothing. It looks at each
//! new connection, and otherwise before a call where the last look is half a minute old: a program that
//! runs is what was read when it started, so that between its looks only the next start could be another
//! one. Of a tree that was measured once, a look asks the kernel for every entry and reads none that is
//! the same. Names of models are what the operator wrote; nothing here sees what a program asks.
//!
//! **A call that comes again is told apart by its delivery.** Clients of the stateless era make a
//! lost call again under a new id and with the same arguments, as do agents that mean it twice. So
//! the front says when an answer was written out; until then the same call of the same agent is the
//! same call. A lost connection cuts short nothing that may change something: its outcome would be
//! unknown, where it could have been fetched. The log keeps which changing calls could come again and
//! which answers were delivered, so that a keeper that starts anew does not make them twice either.
