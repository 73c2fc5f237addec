//! Who attacks, where the walls are, and what is not protected.
//!
//! # What is worth protecting
//!
//! 1. The systems behind the tools: files beneath the operator's roots, servers that a rule names.
//! 2. The order of things: nothing happens that was not first decided and written down.
//! 3. The log: what it says, and that it says all of it.
//! 4. The operator's word: policy, mode, enrolled agents.
//! 5. The host: everything that is no root of the operator's.
//!
//! # Who attacks
//!
//! | attacker | holds | wants | stopped by |
//! |---|---|---|---|
//! | author of outside content (mail, web page, file) | the words an agent reads | that the agent reads, writes or sends for them | policy on every call, rehearsal, the list of hosts, the log |
//! | an agent gone wrong | one socket, its own process | more than its policy; another agent's name | front, admission, judgement, quotas |
//! | a hostile file or response body | bytes that a tool parses | the tool's process, then the host | the jail |
//! | a hostile server | one connection of one lease | another host, the private network, endless work | egress, the lease |
//! | another user of the host | their own uid | sockets, state, the log | owners and modes, peer uids, names never followed |
//! | a role that was taken over | its links and descriptors | its neighbours' powers | bounded frames, checks on both sides, capabilities, Landlock, seccomp |
//! | whoever gets a copy of the log | the files | to change what happened | hash chain, tree, signed checkpoint |
//!
//! # Walls
//!
//! A role believes nothing that comes over a link: its frame is bounded and parsed strictly, and
//! what it asks for must be what its sender may ask for.
//!
//! | taken over | can | cannot |
//! |---|---|---|
//! | front | ask as any agent of its plane; withhold answers; sign as its doors with their keys | decide, read a file, reach a network, act as another plane |
//! | jailed tool | use up its limits; lie in its result | open a name, make a socket, see another process, outlive its call |
//! | egress | use and lie about the leases that are open | make a lease, read the log, reach the keeper but by results |
//! | jailer | read and change files beneath the roots of its plane; limit its jails by nothing | make cgroups beyond its pool, touch another plane's, reach a network, read the log, decide |
//! | jailer of foreign jails | see what their manifests show; be its own jails' first process | see an operator's root, reach a network, decide |
//! | keeper | decide anything for its plane | reach a network by itself, act on another plane |
//! | supervisor | everything: it starts the roles | |
//!
//! # Not protected
//!
//! - Against root on the running host, and against a bug of the kernel that a jailed tool reaches
//!   through the few system calls it has.
//! - Against an operator who permits too much. `policy explain` says what a policy does, not
//!   whether it is wise.
//! - Side channels between processes of one machine.
//! - Whether an answer of a model is true.
//!
//! # Open
//!
//! Known, and not stopped by this version:
//!
//! - **Where a value came from is not tracked.** An agent that an injection has turned can do what
//!   its policy permits without a person. Until labels exist, policy has to assume the worst
//!   agent: permit reads, list few hosts, stay in rehearsal.
//! - **A permitted host can be told anything.** Path, query and body of a permitted request carry
//!   what the agent puts there.
//! - **A tunnel is sealed.** The proxy of a foreign jail holds TLS to the host that the manifest
//!   lists, by its address and by the name in the ClientHello, refuses names that are encrypted
//!   (ECH), and sees nothing within: not the `Host` of a request, not a TLS 1.2 renegotiation. A
//!   server that serves many names behind one certificate may be told another of its names there.
//! - **Memory that only a cgroup counts.** Where there is no memory controller, each process of a
//!   foreign jail is limited for itself in what it allocates, so a jail of many processes has many times
//!   that; and what the kernel keeps for it counts against nobody: page tables of much reserved address
//!   space, socket buffers of the usual size, pipes, file locks. Give Keepgate a cgroup where that
//!   matters.
//! - **Named pipes in a shown directory** can be read by a jail if their permission bits say so, and
//!   written where the jail may change the directory: who makes one there shares it with the jail.
//!   Into one that is shown read-only nothing is written: Landlock refuses it, and beneath `/tmp` or
//!   within a directory that may be changed, where Landlock's rule for that covers it, no view holds
//!   one when the jail is made. Whoever makes one *there* later opens a way to the jail.
//! - **A set-uid program that a jail may change** keeps its bit where its content is changed through
//!   a shared mapping: the kernel takes it away on write(2) and truncate(2) only. A jail sets no such
//!   bit itself. It matters where a directory in `rw` holds a set-uid or set-gid file of the
//!   directory's own owner (and, where root makes the jails, of its group; no other file can be
//!   changed) that another user can run: the jail's code then has the owner's rights in that user's
//!   hands. A directory of root's with such a file is refused when jails are made; of other owners
//!   nobody looks for them, since that means to stat every file: `find DIR -perm /6000`.
//! - **Groups of an ordinary user.** Without root a jail's programs stay in the supplementary groups
//!   of whoever starts it: a user namespace of an ordinary user cannot give them up
//!   (user_namespaces(7), "setgroups"). They count for files in the paths that are shown, and nowhere
//!   else. As root they are given up. `doctor` names it.
//! - **What is read-only within what may be changed** is kept by its place: the jail can neither
//!   change nor move it or a directory above it, as long as nobody outside replaces it while the jail
//!   runs. A file that is renamed over it there, as editors save, takes the mount on it away in every
//!   jail (mount_namespaces(7), since Linux 3.18), and the jail may change the new one; so no manifest
//!   lies in what its jail may change, but in a directory that is kept. A kept file with a second name
//!   (hard link) is refused; of files in a kept directory, second names in the writable part are not
//!   looked for.
//! - **Sockets that are made later.** With `loopback`, what is shown holds no socket when a jail is
//!   made. Who makes one there afterwards can be connected to, before Landlock's ABI 9.
//! - **A program of the class `native` is process 1 of its jail:** signals without a handler do not
//!   end it, as pid_namespaces(7) says; its limits do. The class is for code that was written for it,
//!   and each call would pay for another process; programs of the class `native-generic` are process 2
//!   beside one of nine bytes, and end as they do elsewhere.
//! - **A whole older state, put back.** A log with its own, older checkpoint verifies: nothing
//!   outside the machine counts how far it was. Keep the last size and root that `log verify`
//!   printed, or a copy of `checkpoint`, elsewhere.
//! - **The last ten seconds.** Entries after the newest checkpoint are chained and not yet signed;
//!   whoever can write the log's directory can cut them off.
//! - **The log's key is a file.** Whoever reads the keeper's state can sign another history with
//!   it. Give `log verify --key` the key you know; a copy signed with any other fails then.
//! - **What is stored is not encrypted.** Arguments, results and kept file contents lie in the
//!   keeper's state directory as they are.
//! - **Nothing hides an agent's own secrets.** Keepgate holds no keys yet, so it does not know what
//!   to mask in arguments and results. Headers that carry credentials are refused.
//! - **Nobody can approve.** What needs a person is refused as `needs_person`.
//! - **An answer that was written and not read.** That an answer was delivered means that the kernel
//!   took all of it for the agent. An agent that dies then, and makes the same call again, has it
//!   made again.
//! - **Locks and glances at shown files.** A program in a foreign jail may lock a file that it may read
//!   (`flock`, POSIX locks) and watch a directory (inotify): programs outside that lock the same file
//!   wait for it, it learns the names of what they open there, and two jails that are shown the same
//!   file can tell each other a bit by it. Show copies where that matters.
//! - **Inside TLS** nobody looks: the name that a foreign jail's connection was allowed for is that of
//!   the tunnel and of the handshake (SNI); what a request in it calls its `Host` is the server's to
//!   check.
//! - **Dumpable again.** A foreign program becomes dumpable by its own exec, as every program does; no
//!   core is written, and nobody outside its jail may trace it.
//! - **One user.** Started without root, all roles share one uid. Another program of that user can
//!   read the operator's token and the state. `status` says `separation: one user`, and a live
//!   request that cannot be taken back is forbidden.
//! - **Limits by process, not by group,** where the host delegates no cgroup with memory, pids and cpu
//!   controllers: each process of a jail is bounded by rlimits, and many add up. `status` names the
//!   degradation `no-cgroup-controllers` with its reason. The limits of jails that run at the same
//!   time add up in any case: bound them all by the unit (`MemoryMax=`).
//! - **A server's own word.** A declared dry run is believed: whether an argument has a tool rehearse,
//!   or a tool that is declared as a read changes nothing, only its server knows. So is what its tool
//!   says of an undo. Both are asked only where a person approved the manifest that declares them.
//! - **What vetting does not know.** Its rules find what is known to have been done to descriptions,
//!   names and schemas, not every way to mislead a model. A person reads what is approved.
//! - **A root that others can write.** A user who may write beneath a root can put a file there for
//!   an agent to read, or change one between two calls of an agent. What the keeper saw before a
//!   write is checked again when it is published, and no sooner.
