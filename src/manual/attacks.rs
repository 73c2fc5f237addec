//! Every known attack that concerns what exists, the stage that refuses it, and the tests that show
//! it. What is known and not stopped is in [`super::threat_model`], not here.
//!
//! Tests are named as their modules are: `it::files::…` is in `tests/it/files.rs`, everything else
//! below `src/`. `tests/it` checks that each of them exists.

/// A known attack.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// What it is called.
    pub name: &'static str,
    /// What the attacker does.
    pub what: &'static str,
    /// Who refuses it first; walls behind that one are not named.
    pub stage: Stage,
    /// Tests that show it.
    pub tests: &'static [&'static str],
}

/// Where an attack ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Reading `keepgate.toml`, or the checks before it is used.
    Configuration,
    /// Command line and admin socket.
    Operator,
    /// Starting roles, giving them links and sockets.
    Supervisor,
    /// Confinement of a role: uid, capabilities, descriptors, Landlock, seccomp.
    Confinement,
    /// Receiving a frame from another role.
    Frame,
    /// Reading an agent's lines.
    Front,
    /// From raw arguments to a call.
    Admission,
    /// Built-in rules and policy.
    Judgement,
    /// The order of the pipeline: mode, undo, intent before effect, outcome before answer.
    Pipeline,
    /// Opening and publishing files beneath a root.
    Jailer,
    /// Inside the jail of a tool.
    Jail,
    /// Leases, names, addresses, TLS, HTTP.
    Egress,
    /// Writing, opening and verifying the log.
    Log,
    /// Showing outside text.
    Screen,
}

/// The self-test shows these: a real jail tries every probe, and the same probe without a jail gets
/// through.
const JAIL: &[&str] = &[
    "it::manual::a_real_jail_lets_nothing_through",
    "it::manual::without_a_jail_the_probe_gets_through",
];

/// The same with something real outside to reach, in every class, as root and as an ordinary user;
/// `tests/probe` holds what is tried.
const ESCAPES: &[&str] = &[
    "it::jailer::escape::without_a_jail_the_program_reaches_what_is_outside",
    "it::jailer::escape::no_jail_of_root_lets_anything_out",
    "it::jailer::escape::no_jail_of_an_ordinary_user_lets_anything_out",
];

/// All of them, by stage.
pub const ATTACKS: &[Attack] = &[
    // --- what an agent sends --------------------------------------------------------------------
    Attack {
        name: "parser differential: a key twice",
        what: "gives `path` twice, once escaped, so that the checker reads one and the tool another",
        stage: Stage::Front,
        tests: &[
            "wire::json::tests::what_is_unclear_is_refused_with_its_place",
            "front::message::tests::every_malformed_line_is_refused_precisely",
            "it::calls::what_is_no_call_gets_a_precise_error_and_nothing_dies",
        ],
    },
    Attack {
        name: "parser differential: numbers and surrogates",
        what: "sends numbers that readers round differently, or half a surrogate pair",
        stage: Stage::Front,
        tests: &[
            "wire::json::tests::what_is_unclear_is_refused_with_its_place",
            "wire::json::tests::a_written_value_is_read_back",
        ],
    },
    Attack {
        name: "deep or large message",
        what: "nests arrays or repeats members until the stack or the memory ends",
        stage: Stage::Front,
        tests: &[
            "wire::json::tests::limits_hold",
            "it::corpus::no_seed_upsets_a_parser",
        ],
    },
    Attack {
        name: "line without an end",
        what: "never sends a newline, so that the reader keeps everything",
        stage: Stage::Front,
        tests: &["wire::line::tests::a_long_line_is_told_at_once_and_passed_over"],
    },
    Attack {
        name: "slow reader",
        what: "asks for large results and never reads them, so that answers pile up",
        stage: Stage::Front,
        tests: &["front::tests::limits::who_never_begins_or_never_reads_is_closed"],
    },
    Attack {
        name: "connection and call flood",
        what: "opens connections and calls until descriptors or memory end",
        stage: Stage::Front,
        tests: &["front::tests::limits::there_is_an_end_to_connections_and_calls"],
    },
    Attack {
        name: "malformed flood",
        what: "sends nonsense to fill the log with notes about nonsense",
        stage: Stage::Front,
        tests: &["front::tests::refusals::notes_are_few_and_abuse_ends_the_connection"],
    },
    Attack {
        name: "identity by claim",
        what: "says in `clientInfo` that it is another agent",
        stage: Stage::Front,
        tests: &[
            "front::tests::refusals::another_uid_is_turned_away",
            "it::calls::another_uid_cannot_use_an_agents_socket",
        ],
    },
    Attack {
        name: "DNS rebinding of the loopback",
        what: "has a web page's name lead to the loopback, so that a browser asks in the page's stead",
        stage: Stage::Front,
        tests: &[
            "front::tests::door::a_name_that_was_made_to_lead_here_is_turned_away",
            "front::http::gate::tests::only_the_doors_own_names_are_let_in",
            "front::http::gate::tests::web_pages_of_other_sites_are_not",
            "front::tests::tls::names_count_here_too",
        ],
    },
    Attack {
        name: "a page of another site",
        what: "has the browser of somebody on this host send requests, or read what is answered",
        stage: Stage::Front,
        tests: &[
            "front::tests::pages::a_browser_that_asks_first_is_told_for_listed_origins_only",
            "front::tests::pages::a_page_of_a_listed_origin_reads_its_answers",
            "front::tests::tls::names_count_here_too",
        ],
    },
    Attack {
        name: "forged token or certificate",
        what: "shows no token, another's certificate without its key, or one that has ended",
        stage: Stage::Front,
        tests: &[
            "front::tests::door::a_request_needs_a_token_a_path_a_method_and_kinds",
            "front::tests::tls::nobody_else_is",
            "it::web::a_client_certificate_is_an_agent",
        ],
    },
    Attack {
        name: "headers that say something else than the body",
        what: "names a harmless method in `Mcp-Method` and another in the body, or each header twice",
        stage: Stage::Front,
        tests: &[
            "front::tests::http::the_body_decides_and_headers_that_say_otherwise_are_refused",
            "front::era::stateless::tests::headers_say_what_the_body_says",
        ],
    },
    Attack {
        name: "session hijacking",
        what: "uses another agent's `Mcp-Session-Id`, or answers what another conversation was asked",
        stage: Stage::Front,
        tests: &[
            "front::tests::http::a_session_is_its_agents_own_and_old_ones_make_room",
            "front::tests::news::a_server_asks_the_client_and_hears_what_it_says",
            "keeper::questions::tests::only_the_agent_that_was_asked_can_say",
        ],
    },
    Attack {
        name: "slow loris",
        what: "sends a request a byte at a time, or never reads an answer, on many connections",
        stage: Stage::Front,
        tests: &[
            "front::tests::door::there_is_an_end_to_heads_bodies_and_waiting",
            "front::tests::door::there_is_an_end_to_connections_bodies_and_calls",
            "front::tests::door::strangers_make_room_for_each_other_and_keep_nobody_out",
            "front::tests::door::an_agent_that_reads_nothing_is_let_go",
        ],
    },
    Attack {
        name: "an effect made twice",
        what: "makes a client lose an answer, so that it makes the same call again",
        stage: Stage::Pipeline,
        tests: &[
            "keeper::again::tests::an_outcome_is_given_again_until_it_was_delivered",
            "keeper::again::tests::the_same_call_waits_for_the_one_before_unless_nobody_waits_for_it",
            "keeper::questions::tests::what_changes_something_is_stopped_only_by_who_says_so",
            "it::connectors::deeds::a_write_whose_answer_was_lost_is_made_once",
            "it::connectors::deeds::a_write_is_not_made_again_unasked_by_a_keeper_that_starts_anew",
        ],
    },
    Attack {
        name: "use after revocation",
        what: "keeps its connection open and goes on when it is no longer enrolled",
        stage: Stage::Front,
        tests: &[
            "front::tests::refusals::a_revoked_agent_is_cut_off",
            "it::calls::a_revoked_agent_is_cut_off_now",
        ],
    },
    Attack {
        name: "hidden tool",
        what: "calls a tool that its list does not show",
        stage: Stage::Admission,
        tests: &["it::calls::an_agent_sees_only_its_tools"],
    },
    Attack {
        name: "smuggled argument",
        what: "adds members that the schema does not know, for a tool that reads them",
        stage: Stage::Admission,
        tests: &[
            "call::tests::every_mistake_is_named",
            "it::calls::what_is_no_call_gets_a_precise_error_and_nothing_dies",
        ],
    },
    Attack {
        name: "path traversal by words",
        what: "writes `..`, `.`, empty parts, NUL, control characters or an absolute path",
        stage: Stage::Admission,
        tests: &[
            "it::calls::what_cannot_be_read_fails_with_a_precise_class",
            "call::path::tests::what_could_lead_elsewhere_is_refused",
            "call::path::tests::no_accepted_path_climbs",
            "jailer::place::tests::only_plain_paths_have_a_place",
        ],
    },
    Attack {
        name: "quota exhaustion",
        what: "calls without end, or makes refusals without end, so that the log fills the disk",
        stage: Stage::Admission,
        tests: &[
            "it::log::too_many_calls_are_refused_without_filling_the_log",
            "audit::quota::tests::buckets_empty_refill_and_report_once_a_minute",
            "audit::quota::tests::the_plane_has_its_own_limit_and_a_clock_turned_back_gives_nothing",
        ],
    },
    Attack {
        name: "runaway agent",
        what: "calls one costly tool, or writes, again and again within its rate, until the bill or \
               the mess is large; has the keeper start again to get a fresh budget",
        stage: Stage::Admission,
        tests: &[
            "it::limits::a_run_has_its_calls_and_writes_whatever_becomes_of_the_keeper",
            "it::limits::a_connectors_tool_has_its_day_and_its_minute_and_who_may_not_see_it_does_not",
            "keeper::limits::tests::no_order_of_calls_gets_more_than_the_limits",
            "keeper::limits::tests::what_the_log_tells_was_used_stays_used",
            "keeper::limits::used::tests::a_run_and_a_day_count_from_nothing",
        ],
    },
    Attack {
        name: "refusals as noise",
        what: "calls beyond a limit without end, so that what matters is lost among refusals",
        stage: Stage::Admission,
        tests: &["keeper::limits::tests::what_is_refused_is_told_once_a_minute_with_how_often"],
    },
    Attack {
        name: "agent exchanged under its name",
        what: "changes an agent's own program, packages or lockfile, or adds a module beside it, so \
               that something else calls with its rights; puts the old file back before anybody looks",
        stage: Stage::Admission,
        tests: &[
            "it::runtimes::an_agent_that_is_not_what_was_pinned_calls_nothing_until_it_is_pinned_again",
            "it::runtimes::what_an_agent_could_write_or_nobody_configured_is_not_pinned",
            "catalog::runtime::tests::any_change_of_what_an_agent_is_made_of_is_told_by_its_name",
            "keeper::runtimes::tests::who_has_changed_calls_nothing_until_it_is_pinned_again",
            "keeper::runtimes::tests::whoever_is_not_looked_at_in_time_calls_nothing",
        ],
    },
    // --- decisions ------------------------------------------------------------------------------
    Attack {
        name: "prompt injection: exfiltration to a host of the injection's choice",
        what: "a mail makes the agent post what it read to a collector",
        stage: Stage::Judgement,
        tests: &[
            "it::sdk::the_official_python_sdk_makes_an_allowed_and_a_refused_call",
            "it::http::what_is_not_listed_never_reaches_the_network",
            "egress::turn::tests::no_rule_no_way_out",
        ],
    },
    Attack {
        name: "prompt injection: destruction",
        what: "a mail makes the agent overwrite a file",
        stage: Stage::Pipeline,
        tests: &[
            "it::files::a_new_install_rehearses_and_live_is_a_logged_command",
            "it::files::a_write_is_previewed_undone_and_redone",
            "it::files::a_root_that_is_not_writable_is_not_written",
        ],
    },
    Attack {
        name: "empty allow-list",
        what: "relies on an empty list meaning everything, as it did elsewhere",
        stage: Stage::Judgement,
        tests: &[
            "it::policy::nothing_is_permitted_that_no_rule_permits",
            "egress::turn::tests::no_rule_no_way_out",
        ],
    },
    Attack {
        name: "rule that never matches",
        what: "a forbidding rule misspells an argument and so forbids nothing",
        stage: Stage::Judgement,
        tests: &[
            "it::policy::a_bad_policy_leaves_the_old_one_in_force",
            "policy::tests::a_bad_policy_is_refused_by_line_and_column",
            "call::http::tests::a_rule_that_never_matches_is_no_rule",
        ],
    },
    Attack {
        name: "learning the policy from refusals",
        what: "asks and asks, to find from the answers which rule to go around",
        stage: Stage::Judgement,
        tests: &["it::calls::a_refusal_tells_the_agent_a_class_and_the_operator_the_rule"],
    },
    Attack {
        name: "approval by the agent",
        what: "approves for itself what needs a person",
        stage: Stage::Judgement,
        tests: &[
            "it::policy::what_needs_a_person_is_refused_as_pending",
            "it::http::an_effect_is_not_made_in_rehearsal_and_needs_a_person_when_live",
        ],
    },
    Attack {
        name: "policy that loosens the built-in rules",
        what: "permits in Cedar what a built-in rule refuses",
        stage: Stage::Judgement,
        tests: &["policy::tests::no_permit_overrides_a_built_in_refusal"],
    },
    Attack {
        name: "permission for another call",
        what: "uses the permission of one call, or of one definition of a tool, for another",
        stage: Stage::Judgement,
        tests: &[
            "policy::tests::a_grant_covers_its_own_call_only",
            "policy::tests::another_definition_of_a_tool_is_not_judged",
            "call::tests::a_call_is_its_canonical_bytes_and_its_tool",
        ],
    },
    Attack {
        name: "changed tool definition",
        what: "changes a tool's schema or description after it was vetted",
        stage: Stage::Admission,
        tests: &["catalog::tests::every_change_of_a_definition_changes_the_pin"],
    },
    Attack {
        name: "undo as a weapon",
        what: "changes a file between a write and its undo, so that the undo destroys the change",
        stage: Stage::Pipeline,
        tests: &[
            "it::files::undo_is_refused_when_the_world_has_changed",
            "undo::store::tests::content_comes_back_or_the_change_is_named",
        ],
    },
    Attack {
        name: "effect without a record",
        what: "has the keeper killed between decision and effect, or effect and outcome",
        stage: Stage::Pipeline,
        tests: &["it::crash::nothing_acknowledged_is_lost_and_no_effect_is_without_intent"],
    },
    // --- files ----------------------------------------------------------------------------------
    Attack {
        name: "confused deputy: symbolic link",
        what: "puts a link beneath a root that points at a file outside it",
        stage: Stage::Jailer,
        tests: &[
            "it::calls::what_cannot_be_read_fails_with_a_precise_class",
            "it::files::a_write_never_follows_a_link_or_replaces_a_pipe",
        ],
    },
    Attack {
        name: "pipe in place of a manifest or program",
        what: "puts a named pipe where `jail run` opens a file, so that it waits for ever",
        stage: Stage::Operator,
        tests: &[
            "jail::regular::tests::only_a_regular_file_is_opened_and_nothing_is_waited_for",
            "it::jail_run::profiles::nothing_but_a_regular_file_is_read_and_nothing_waited_for",
        ],
    },
    Attack {
        name: "confused deputy: pipe or device",
        what: "puts a named pipe where a file is expected, so that opening it waits for ever",
        stage: Stage::Jailer,
        tests: &["it::files::a_write_never_follows_a_link_or_replaces_a_pipe"],
    },
    Attack {
        name: "planted link in Keepgate's own directories",
        what: "puts a link where Keepgate is about to write a file of its own",
        stage: Stage::Operator,
        tests: &["sys::file::tests::a_planted_link_is_not_followed"],
    },
    Attack {
        name: "root around Keepgate's own state",
        what: "has a root configured that holds the log or the keys",
        stage: Stage::Configuration,
        tests: &["config::check::tests::roots_are_apart_from_keepgate_and_from_each_other"],
    },
    Attack {
        name: "files as root",
        what: "has a root opened with the powers of uid 0",
        stage: Stage::Configuration,
        tests: &["config::check::tests::a_root_that_is_roots_needs_a_word"],
    },
    // --- the jail -------------------------------------------------------------------------------
    Attack {
        name: "socket in a shown directory",
        what: "connects to a service's socket that a read-only directory happens to hold, and has it act outside (CVE-2026-47128 of nono)",
        stage: Stage::Jail,
        tests: &[
            "jail::foreign::sockets::tests::a_socket_is_found_however_deep_and_links_are_not_followed",
            "it::jail_run::profiles::a_socket_in_a_shown_directory_is_of_no_use",
        ],
    },
    Attack {
        name: "named pipe that is only to be read",
        what: "writes into another process' named pipe in a directory shown read-only, which no read-only mount prevents",
        stage: Stage::Jail,
        tests: &[
            "jail::foreign::pipes::tests::a_pipe_is_found_however_deep",
            "it::jail_run::nested::a_pipe_of_another_process_is_not_written_into",
        ],
    },
    Attack {
        name: "moved away and made anew",
        what: "renames a directory above one that is kept read-only, such as that above hooks of a repository, and makes another of that name",
        stage: Stage::Jail,
        tests: &[
            "it::jail_run::nested::what_is_kept_within_what_may_be_changed_stays_as_it_is_and_where_it_is",
            "it::jail_run::nested::an_ordinary_user_keeps_a_directory_within_another_too",
        ],
    },
    Attack {
        name: "kept by a link of the jail's own",
        what: "removes a symbolic link on the way to what is kept in what it may change, and makes a directory of that name, such as hooks of a repository",
        stage: Stage::Jail,
        tests: &["it::jail_run::nested::what_is_kept_is_not_where_a_link_of_the_jails_own_leads"],
    },
    Attack {
        name: "second name of a kept file",
        what: "changes a file that is kept from it by another name (hard link), where that may be changed",
        stage: Stage::Jail,
        tests: &[
            "jail::profile::tests::a_kept_file_has_one_name",
            "it::jail_run::nested::a_kept_file_with_another_name_is_refused",
        ],
    },
    Attack {
        name: "success with its output cut",
        what: "writes more output than it may and ends well before it is killed, so that what reads half of it takes that for all",
        stage: Stage::Jail,
        tests: &["it::jail_run::limits::a_success_whose_output_was_cut_is_none_and_is_told"],
    },
    Attack {
        name: "set-uid program changed through a mapping",
        what: "changes a set-uid program of root's in a directory it may change, through a mapping, so that it keeps its bit",
        stage: Stage::Jail,
        tests: &[
            "jail::foreign::set_uid::tests::a_file_that_lends_its_owners_rights_is_found_and_anothers_is_not",
            "it::jail_run::nested::a_set_uid_program_of_roots_is_not_changed",
        ],
    },
    Attack {
        name: "manifest within reach",
        what: "changes the manifest it was started from, for the next start, what a link to it leads to, or the file that an editor outside put in its place",
        stage: Stage::Jail,
        tests: &[
            "jail::profile::tests::a_manifest_is_kept_from_its_own_jail",
            "it::jail_run::nested::a_jail_does_not_change_its_own_manifest",
        ],
    },
    Attack {
        name: "path exchanged at set-up",
        what: "puts a symbolic link where a shown directory was, between the check and the mount (CVE-2026-87766 of bubblewrap)",
        stage: Stage::Jail,
        tests: &[
            "jail::foreign::opened::tests::no_link_on_the_way_is_followed_and_one_at_the_end_is_a_link",
            "it::jail_run::profiles::what_may_be_changed_is_not_where_a_link_leads",
        ],
    },
    Attack {
        name: "jail made ahead",
        what: "uses what a waiting process may beside a tool: receives, numbers and closes descriptors",
        stage: Stage::Jail,
        tests: &[
            "it::jailer::ahead::what_is_forbidden_is_forbidden_there_too",
            "it::jailer::ahead::one_serves_one_order_and_another_takes_its_place",
        ],
    },
    Attack {
        name: "network made ahead",
        what: "meets another jail, or what an earlier one left, in the network it is put into",
        stage: Stage::Jail,
        tests: &["it::jailer::foreign::each_jail_has_a_network_nobody_was_in"],
    },
    Attack {
        name: "flood of refused calls",
        what: "makes refused calls without end, each of which waits for the jailer's answer, to hold up other jails",
        stage: Stage::Jail,
        tests: &["it::jailer::observed::a_flood_of_refused_calls_is_told_up_to_a_number"],
    },
    Attack {
        name: "layer that silently does nothing",
        what: "runs where the kernel lacks a layer, or a set-up call said yes and did nothing",
        stage: Stage::Jail,
        tests: &[
            "jailer::self_test::tests::whatever_got_through_or_is_missing_makes_unfit",
            "jailer::self_test::tests::what_got_through_in_a_foreign_jail_makes_unfit_and_what_fails_there_does_not",
            "jail::landlock::tests::less_than_the_floor_must_be_accepted_by_name",
        ],
    },
    Attack {
        name: "jail escape: files outside",
        what: "reads, writes, links, renames or changes attributes of a file by name: probes `fs_*`, `cgroup_write`, `sys_read`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "jail escape: mounts and roots",
        what: "mounts, pivots, changes its root or opens by handle to get out: probes `fs_mount`, `fs_chroot`, `fs_open_by_handle`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "jail escape: proc as a way around",
        what: "reads another process's memory or environment, or its own root under another name: probes `proc_*`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "jail escape: execution",
        what: "executes a program by path, by descriptor, or from memory it made executable: probes `exec_*`, `mem_*`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "jail escape: descriptors",
        what: "sends, receives or multiplies descriptors, or gives one to another process: probes `fd_*`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "jail escape: terminal injection",
        what: "types into the operator's terminal, also with the high bits of the request set: probes `tty_*`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "jail escape: network sockets",
        what: "TCP, UDP, multipath TCP, Fast Open, raw, packet, netlink, vsock, crypto: probes `net_*`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "jail escape: unix sockets",
        what: "asks a daemon of the host for its powers, by path or abstract name: probes `unix_*`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "memory that no limit counts",
        what: "maps shared memory without a file, by /dev/zero or as a growing stack, or makes memory files, where there is no memory controller",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "jail escape: shared memory, queues, keys",
        what: "reaches other processes' System V or POSIX objects, or a user's keyring: probes `ipc_*`, `key_*`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "jail escape: other processes",
        what: "signals, traces, reads, re-prioritises another process: probes `sig_*`, `ptrace*`, `vm_*`, `pidfd_getfd`, `kcmp`, `prio*`, `affinity`, `sched_*`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "jail escape: fork bomb and raised limits",
        what: "makes processes without end, or lifts its own limits: probes `proc_fork`, `proc_clone3`, `prlimit_*`, `lim_*`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "jail escape: outliving the call",
        what: "starts processes in sessions of their own, or kills the jailer, so that something runs on after the call",
        stage: Stage::Jail,
        tests: &[
            "it::jailer::cgroups::nothing_in_a_jails_leaf_outlives_the_jail",
            "it::jailer::cgroups::the_kill_of_a_cgroup_ends_a_jail",
            "it::jailer::cgroups::a_killed_jailers_leaves_are_the_next_ones_to_remove",
            "it::cgroups::a_delegated_cgroup_is_divided_used_and_given_back",
        ],
    },
    Attack {
        name: "jail escape: a limit that does not hold",
        what: "profits from a limit that the kernel took and forgot, or that a used cgroup had for the last jail",
        stage: Stage::Jail,
        tests: &[
            "jail::cgroup::tests::pool::a_limit_that_was_taken_and_forgotten_is_noticed",
            "jail::cgroup::tests::pool::a_limit_that_cannot_be_set_later_keeps_the_jail_from_starting",
            "jail::cgroup::tests::pool::leaves_are_made_ahead_and_only_what_differs_is_written",
            "jail::cgroup::tests::pool::memory_that_a_jail_leaves_is_not_the_next_ones_loss",
        ],
    },
    Attack {
        name: "cgroups without end",
        what: "takes over a jailer and makes cgroups until the kernel's memory ends, or lifts what limits its plane",
        stage: Stage::Supervisor,
        tests: &[
            "jail::cgroup::tests::delegate::the_supervisor_moves_out_of_the_way_and_gives_a_jailer_its_own",
            "it::cgroups::a_delegated_cgroup_is_divided_used_and_given_back",
            "it::cgroups::a_jailers_subtree_has_an_end",
        ],
    },
    Attack {
        name: "jail escape: large kernel interfaces",
        what: "io_uring, bpf, perf, userfaultfd, modules, kexec, clocks: probes `sys_*`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "jail escape: new namespaces",
        what: "gets capabilities in a namespace of its own: probes `ns_*`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "jail escape: foreign system calls",
        what: "calls the kernel by the 32-bit or the x32 table, around the filter: probes `abi_*`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "jail escape: what was left on",
        what: "finds a capability, no filter, another identity or an environment in its own state: probes `st_*`, `env_*`",
        stage: Stage::Jail,
        tests: JAIL,
    },
    Attack {
        name: "foreign program: what it wrote is run",
        what: "writes a program into `/tmp`, shared memory, a memory file or a directory it may change, and runs it by name, by descriptor, by link, by the loader, or as machine code",
        stage: Stage::Jail,
        tests: ESCAPES,
    },
    Attack {
        name: "foreign program: something left for others to run",
        what: "leaves a set-uid file, a file with capabilities, a device node or a whiteout in a directory it may change",
        stage: Stage::Jail,
        tests: ESCAPES,
    },
    Attack {
        name: "foreign program: way out by a link",
        what: "follows a symbolic link that lies in a directory it may change, `..`, `/proc/1/root` or a file handle to what no view shows",
        stage: Stage::Jail,
        tests: ESCAPES,
    },
    Attack {
        name: "careless starter",
        what: "uses a descriptor, a secret in the environment or the terminal of whoever started Keepgate",
        stage: Stage::Jail,
        tests: ESCAPES,
    },
    Attack {
        name: "same user outside",
        what: "signals, traces, reads or re-prioritises a process of its own uid, its shared memory, queues and keys",
        stage: Stage::Jail,
        tests: ESCAPES,
    },
    Attack {
        name: "TCP that Landlock does not see",
        what: "connects by multipath TCP, Fast Open, an unspecified or a mapped address, or listens without a port",
        stage: Stage::Jail,
        tests: ESCAPES,
    },
    Attack {
        name: "orphan that does not want to end",
        what: "leaves a process of another session, or a thread, that ignores every signal",
        stage: Stage::Jail,
        tests: &["it::jailer::escape::nothing_outlives_its_jail"],
    },
    Attack {
        name: "wearing the jailer out",
        what: "is started again and again, so that descriptors, mounts, processes or groups pile up",
        stage: Stage::Jailer,
        tests: &["it::jailer::escape::a_jailer_holds_no_more_after_many_jails"],
    },
    // --- the network ----------------------------------------------------------------------------
    Attack {
        name: "one agent's connection for another",
        what: "gets a connection to a remote server that another agent has opened, and with it what the \
               server keeps with that",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::upstream::a_connection_is_used_again_by_its_own_agent_and_for_what_changes_nothing",
            "it::connectors::far::a_stateless_client_reaches_a_remote_server_with_its_arguments_in_headers",
        ],
    },
    Attack {
        name: "an effect made twice by a connection",
        what: "closes a connection as a request is written to it, so that a client makes it again",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::upstream::a_connection_is_used_again_by_its_own_agent_and_for_what_changes_nothing",
            "egress::tests::upstream::what_changes_nothing_is_asked_again_where_a_connection_ended_as_it_waited",
        ],
    },
    Attack {
        name: "header that says another argument",
        what: "has what stands before a remote server decide by `Mcp-Param-…` headers that are not what \
               the arguments say, holds a line break, or are marked where no argument has one place",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::upstream::arguments_are_said_in_headers_to_a_server_of_the_stateless_era_only",
            "keeper::mirrored::tests::arguments_have_their_headers_and_nothing_else_has",
            "keeper::mirrored::tests::a_schema_that_marks_what_it_may_not_is_refused",
        ],
    },
    Attack {
        name: "change that is told while nobody listens",
        what: "ends the stream on which it tells of changes, changes its tools, and tells it to nobody",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::upstream::a_stream_that_ends_is_asked_for_again_and_what_was_missed_is_listed_again",
            "egress::upstream::remote::tests::a_stream_that_ends_is_asked_for_again_the_later_the_less_it_lasted",
        ],
    },
    Attack {
        name: "metadata service",
        what: "asks 169.254.169.254 or its IPv6 twin for the machine's own credentials",
        stage: Stage::Egress,
        tests: &[
            "call::http::address::tests::metadata_has_to_be_listed_by_itself",
            "egress::tests::names::private_answers_are_refused_in_every_form",
        ],
    },
    Attack {
        name: "private network",
        what: "names an address inside, in decimal, octal, mapped or embedded form",
        stage: Stage::Egress,
        tests: &[
            "call::http::tests::what_two_readers_could_understand_differently_is_refused",
            "call::http::tests::a_mapped_address_is_the_ipv4_address",
            "call::http::address::tests::both_ends_of_every_reserved_network_are_refused",
        ],
    },
    Attack {
        name: "DNS rebinding",
        what: "answers the check with a public address and the connection with a private one",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::names::a_name_that_changes_its_address_gains_nothing",
            "egress::tests::names::a_name_is_resolved_once_and_its_address_dialled",
        ],
    },
    Attack {
        name: "many addresses, one of them private",
        what: "answers with public and private addresses and hopes for the second try",
        stage: Stage::Egress,
        tests: &["egress::tests::names::of_many_addresses_only_the_permitted_are_dialled"],
    },
    Attack {
        name: "exfiltration by look-up",
        what: "puts what it read into the labels of a name, for the name server to read",
        stage: Stage::Egress,
        tests: &["egress::tests::plain::what_no_rule_names_is_not_dialled"],
    },
    Attack {
        name: "name by another way",
        what: "uses the hosts file, a search domain or a local name to mean another host",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::names::neither_hosts_file_nor_search_domain_nor_local_name_is_a_way_in",
        ],
    },
    Attack {
        name: "host differential",
        what: "user info, backslash, NUL, trailing dot, IDN, encoded dots: two readers, two hosts",
        stage: Stage::Judgement,
        tests: &[
            "call::http::tests::what_two_readers_could_understand_differently_is_refused",
            "call::http::tests::anything_like_a_url_is_refused_or_read_in_one_way",
        ],
    },
    Attack {
        name: "path prefix without a boundary",
        what: "asks for `/v1-internal` or `/v1/%2e%2e/admin` where `/v1` is permitted",
        stage: Stage::Judgement,
        tests: &[
            "call::http::tests::a_rule_holds_whole_segments_only",
            "call::http::tests::what_two_readers_could_understand_differently_is_refused",
        ],
    },
    Attack {
        name: "redirect to another host",
        what: "a permitted server answers with the address of one that is not",
        stage: Stage::Egress,
        tests: &[
            "it::http::a_redirect_out_of_the_list_is_not_followed",
            "egress::tests::redirects::a_redirect_beyond_the_rules_is_refused_and_not_dialled",
            "egress::tests::redirects::a_redirect_within_the_rules_to_a_private_address_is_refused",
        ],
    },
    Attack {
        name: "redirect loop",
        what: "sends the client around until its time or memory ends",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::redirects::a_loop_ends",
            "egress::turn::tests::redirects_are_counted",
        ],
    },
    Attack {
        name: "redirect carries the body along",
        what: "has a body that was for one server sent to another",
        stage: Stage::Egress,
        tests: &["egress::tests::redirects::a_body_goes_where_the_standard_and_the_lease_say"],
    },
    Attack {
        name: "header smuggling",
        what: "sets Host, Content-Length, Transfer-Encoding, or a line break in a value",
        stage: Stage::Egress,
        tests: &[
            "call::http::header::tests::what_smuggles_is_refused_in_any_case",
            "call::http::header::tests::a_value_is_one_line",
            "egress::tests::plain::headers_that_smuggle_never_leave",
        ],
    },
    Attack {
        name: "other request than the judged one",
        what: "a tool that was taken over asks for another URL or sends another body",
        stage: Stage::Egress,
        tests: &[
            "egress::turn::tests::only_the_leased_request_comes_first_and_only_once",
            "egress::tests::ends::a_jail_gets_only_what_its_lease_is_for",
        ],
    },
    Attack {
        name: "use of a lease after its call",
        what: "keeps a connection beyond the end of the call, the keeper or the time",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::ends::a_revoked_lease_closes_its_connection",
            "egress::tests::ends::a_jail_that_dies_closes_its_connection",
            "egress::tests::ends::a_keeper_that_dies_takes_its_leases_along",
        ],
    },
    Attack {
        name: "way out by an empty list",
        what: "hopes that a jail whose manifest lists no destination may go anywhere",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::proxy::tunnels::an_empty_list_leads_nowhere",
            "egress::proxy::judge::tests::what_is_not_listed_is_refused_with_the_line_that_would_allow_it",
        ],
    },
    Attack {
        name: "proxy name differential",
        what: "asks the proxy for a listed name with NUL, dot, user info, percent sign, zone or odd \
               address in it, which its resolver reads as another",
        stage: Stage::Egress,
        tests: &[
            "egress::proxy::judge::tests::a_name_with_two_readings_is_refused",
            "egress::tests::proxy::tunnels::a_name_that_is_not_listed_is_never_looked_up",
        ],
    },
    Attack {
        name: "exfiltration by look-up through the proxy",
        what: "puts what it read into the labels of a name that the proxy is asked for",
        stage: Stage::Egress,
        tests: &["egress::tests::proxy::tunnels::a_name_that_is_not_listed_is_never_looked_up"],
    },
    Attack {
        name: "DNS rebinding of a listed name",
        what: "lets a listed name change to a private address between check and connection, or later",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::proxy::tunnels::a_name_is_looked_up_once_and_dialled_as_checked",
            "egress::tests::proxy::tunnels::private_addresses_are_refused_by_name_and_by_number",
        ],
    },
    Attack {
        name: "CONNECT to another port",
        what: "opens a tunnel to a listed host's mail, database or administration port",
        stage: Stage::Egress,
        tests: &["egress::tests::proxy::tunnels::another_port_of_a_listed_host_is_not_listed"],
    },
    Attack {
        name: "another protocol in a tunnel",
        what: "speaks SSH, mail or plain HTTP where the proxy expects TLS",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::proxy::tunnels::a_tunnel_is_tls_with_the_host_it_was_opened_to",
            "egress::proxy::records::tests::what_is_no_record_is_refused_at_its_first_byte",
        ],
    },
    Attack {
        name: "domain fronting by server name",
        what: "opens a tunnel to a listed host and names another one in its ClientHello: at once, \
               twice, in pieces, or hidden",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::proxy::tunnels::a_tunnel_is_tls_with_the_host_it_was_opened_to",
            "egress::tests::proxy::tunnels::a_hello_may_come_in_pieces",
            "egress::tests::proxy::clients::curl_goes_through_and_shows_why_not",
        ],
    },
    Attack {
        name: "domain fronting by a second ClientHello",
        what: "names the listed host first, and another once the server has asked for a new hello",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::proxy::tunnels::a_second_hello_is_held_to_the_same_name",
            "egress::proxy::records::tests::after_a_retry_the_next_handshake_message_is_a_hello_for_the_same_host",
            "egress::tests::proxy::tunnels::a_real_retry_goes_through",
        ],
    },
    Attack {
        name: "domain fronting by Host",
        what: "asks the proxy for a listed URL with another host in `Host`, or with two",
        stage: Stage::Egress,
        tests: &[
            "egress::proxy::judge::tests::host_and_target_are_one",
            "egress::tests::proxy::requests::a_request_that_is_read_in_two_ways_is_refused_and_not_dialled",
        ],
    },
    Attack {
        name: "request smuggling through the proxy",
        what: "gives a length twice or in two ways, folds a line or breaks a chunk, so that a second \
               request hides in the first",
        stage: Stage::Egress,
        tests: &[
            "egress::proxy::head::tests::what_two_readers_could_understand_differently_is_refused",
            "egress::tests::proxy::requests::a_request_that_is_read_in_two_ways_is_refused_and_not_dialled",
            "egress::tests::proxy::requests::chunks_that_are_none_end_the_request",
            "egress::tests::proxy::requests::what_follows_a_request_is_not_another",
        ],
    },
    Attack {
        name: "way around the proxy",
        what: "ignores the proxy's variables and connects by itself",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::proxy::clients::a_jail_in_its_own_network_gets_out_through_its_socket_only",
        ],
    },
    Attack {
        name: "proxy for others",
        what: "has egress accept on a socket that others than the jail can reach, or listen by itself",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::proxy::ends::only_a_listening_socket_on_loopback_makes_a_proxy",
            "it::jailer::confined::a_role_works_when_confined_and_does_nothing_else",
        ],
    },
    Attack {
        name: "endless use of the proxy",
        what: "moves more bytes, opens more connections or holds them longer than the manifest says",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::proxy::ends::no_byte_goes_beyond_the_limit_and_then_everything_is_closed",
            "egress::tests::proxy::ends::what_the_jail_sends_counts_as_well",
            "egress::tests::proxy::ends::time_is_up_for_everything_at_once",
            "egress::tests::proxy::ends::connections_beyond_the_limit_wait_for_their_turn",
            "egress::tests::proxy::ends::many_connections_are_told_in_one_packet",
            "egress::proxy::tests::a_silent_tunnel_is_closed_in_time",
            "egress::proxy::tests::half_a_head_is_refused_in_time",
        ],
    },
    Attack {
        name: "use of the proxy after its jail",
        what: "keeps a tunnel beyond the end of the ticket or the keeper",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::proxy::ends::a_revoked_proxy_closes_its_tunnels_and_listens_no_more",
            "egress::tests::proxy::ends::a_keeper_that_dies_takes_its_proxies_along",
        ],
    },
    Attack {
        name: "server in the middle",
        what: "shows a certificate of another authority, of another name, or a stolen public part",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::trust::another_server_is_not",
            "egress::tests::trust::a_pin_replaces_the_chain_and_nothing_else_fits_it",
            "egress::tests::trust::a_pinned_certificate_without_its_key_is_not_trusted",
        ],
    },
    Attack {
        name: "downgrade to no TLS",
        what: "answers an `https` request in clear",
        stage: Stage::Egress,
        tests: &["egress::tests::trust::no_tls_is_no_way_to_an_https_server"],
    },
    Attack {
        name: "endless or slow response",
        what: "sends a head or body without end, or one byte now and then",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::plain::a_head_too_long_is_a_fault",
            "egress::tests::plain::a_body_too_long_is_cut_and_the_server_is_left",
            "egress::tests::plain::a_slow_server_is_left_in_time",
        ],
    },
    Attack {
        name: "response that is read in two ways",
        what: "two lengths, length and chunks, or chunks that are none",
        stage: Stage::Egress,
        tests: &["egress::tests::plain::what_is_no_proper_response_is_a_fault"],
    },
    Attack {
        name: "hostile egress",
        what: "an egress that was taken over sends the tool lengths and words it must not",
        stage: Stage::Jail,
        tests: &[
            "tools::http::stream::tests::a_length_is_checked_before_memory_is_taken",
            "tools::http::stream::tests::what_egress_may_not_say_is_refused",
            "tools::http::tests::what_egress_says_out_of_turn_ends_the_request",
        ],
    },
    // --- MCP servers ----------------------------------------------------------------------------
    Attack {
        name: "server: a message that two readers take for two",
        what: "answers with a key twice, bytes that are no UTF-8, a batch, or what is no JSON-RPC",
        stage: Stage::Egress,
        tests: &[
            "egress::upstream::frames::tests::what_is_no_message_is_refused_in_words",
            "it::upstreams::hostile::whoever_breaks_the_rules_ends_alone_and_egress_does_not_grow",
            "it::corpus::no_seed_upsets_a_parser",
        ],
    },
    Attack {
        name: "server: a line without an end, or of 100 MB",
        what: "writes until its client has no memory left",
        stage: Stage::Egress,
        tests: &[
            "egress::upstream::tests::wrong::a_line_without_end_is_refused_before_it_is_kept",
            "egress::upstream::sse::tests::an_event_without_end_is_refused",
            "it::upstreams::hostile::whoever_breaks_the_rules_ends_alone_and_egress_does_not_grow",
        ],
    },
    Attack {
        name: "server: a storm of notifications, or of standard error",
        what: "keeps its client, and with it everybody's, busy with what nobody asked for",
        stage: Stage::Egress,
        tests: &[
            "egress::upstream::tests::wrong::a_storm_of_notifications_ends_it_and_little_is_passed_on",
            "it::upstreams::hostile::a_server_that_only_talks_to_its_standard_error_hangs_alone",
        ],
    },
    Attack {
        name: "server: lists without an end",
        what: "has one more page of tools, always, or one tool of many megabytes",
        stage: Stage::Egress,
        tests: &["egress::upstream::listing::tests::there_is_an_end_to_every_list"],
    },
    Attack {
        name: "server: an answer to another question",
        what: "answers what it was not asked, twice, or one question in place of another, so that one \
               call gets what another should",
        stage: Stage::Egress,
        tests: &[
            "egress::upstream::tests::wrong::answers_to_what_was_not_asked_end_it",
            "egress::tests::upstream::a_remote_server_that_breaks_the_rules_ends",
        ],
    },
    Attack {
        name: "server: asks the agent's model or user",
        what: "asks for sampling, input or directories, to have an agent or its user say what a prompt \
               could not",
        stage: Stage::Egress,
        tests: &[
            "egress::upstream::tests::good::a_server_asks_only_what_the_operator_allows_and_only_during_a_question",
            "egress::upstream::tests::wrong::what_it_asks_is_bounded",
            "it::upstreams::life::progress_and_questions_of_the_server_find_their_call",
        ],
    },
    Attack {
        name: "rug pull: other tools than the approved ones",
        what: "changes, adds or renames a tool after it was approved, at a start or while it runs",
        stage: Stage::Pipeline,
        tests: &[
            "keeper::upstreams::compare::tests::whatever_else_is_different_is_told",
            "it::upstreams::life::other_tools_than_the_approved_ones_are_never_called",
        ],
    },
    Attack {
        name: "one agent's server answers another agent",
        what: "keeps what it learned from one agent in memory and tells it to the next",
        stage: Stage::Pipeline,
        tests: &[
            "keeper::upstreams::tests::each_agent_pin_and_set_of_secrets_has_its_own",
            "it::upstreams::life::two_agents_never_share_a_process_and_one_agent_keeps_its_own",
        ],
    },
    Attack {
        name: "server: starts and crashes without end",
        what: "takes the machine with it by ending at each start, or one agent takes all places",
        stage: Stage::Pipeline,
        tests: &[
            "keeper::upstreams::backoff::tests::pauses_grow_and_have_an_end",
            "keeper::upstreams::tests::one_agent_cannot_have_all_servers_and_all_is_not_endless",
            "it::upstreams::life::what_does_not_start_says_why_and_rests",
        ],
    },
    Attack {
        name: "remote server that leads elsewhere",
        what: "redirects, or has a name that resolves into the operator's own network",
        stage: Stage::Egress,
        tests: &[
            "egress::tests::upstream::only_the_approved_address_is_dialled",
            "egress::tests::upstream::what_a_question_runs_into_is_told_and_others_go_on",
        ],
    },
    Attack {
        name: "headers out of a tool's name",
        what: "names a tool so that its name ends the header it is told in",
        stage: Stage::Egress,
        tests: &["egress::upstream::post::tests::whatever_a_name_holds_it_is_one_header"],
    },
    Attack {
        name: "an agent speaks for its gateway",
        what: "claims another client's name, capabilities or progress token in `_meta`",
        stage: Stage::Egress,
        tests: &[
            "egress::upstream::meta::tests::who_asks_is_never_the_agent",
            "egress::upstream::tests::good::a_call_goes_and_comes_byte_for_byte",
        ],
    },
    // --- roles ----------------------------------------------------------------------------------
    Attack {
        name: "role taken over: more power",
        what: "uses a capability, uid or descriptor that the role should not have",
        stage: Stage::Confinement,
        tests: &[
            "it::roles::every_role_has_its_own_uid_its_capabilities_and_no_more",
            "it::roles::no_role_holds_a_descriptor_it_does_not_need",
        ],
    },
    Attack {
        name: "role taken over: hostile frame",
        what: "sends a neighbour a packet with lying lengths, or one it can still change",
        stage: Stage::Frame,
        tests: &[
            "wire::frame::tests::what_is_no_frame_is_refused",
            "wire::frame::tests::an_unsealed_blob_is_refused",
        ],
    },
    Attack {
        name: "role taken over: message out of place",
        what: "says to a neighbour what only another role may say",
        stage: Stage::Frame,
        tests: &["front::tests::links::a_keeper_that_misbehaves_ends_the_role"],
    },
    Attack {
        name: "inherited secrets",
        what: "looks for keys and sockets in environment, arguments and open descriptors",
        stage: Stage::Supervisor,
        tests: &["sys::spawn::tests::a_child_has_what_it_was_given_and_its_end_is_told_once"],
    },
    Attack {
        name: "uid spoofing",
        what: "enrols an agent with the uid of root, of the operator or of a role",
        stage: Stage::Operator,
        tests: &["it::calls::roots_operators_and_roles_uids_cannot_be_agents"],
    },
    Attack {
        name: "socket takeover",
        what: "starts a second appliance on the same directory to get its sockets",
        stage: Stage::Supervisor,
        tests: &["it::roles::a_second_supervisor_is_refused"],
    },
    Attack {
        name: "killing a role",
        what: "crashes a role to leave calls without an answer or a plane without service",
        stage: Stage::Supervisor,
        tests: &[
            "it::roles::a_role_that_dies_is_started_again_and_calls_go_on",
            "it::roles::a_stopped_keeper_stops_its_plane_and_no_other",
            "front::tests::links::a_dead_keeper_is_said_and_a_new_one_serves",
        ],
    },
    Attack {
        name: "misleading the operator's program",
        what: "answers a command line with nonsense, or not at all, in place of the keeper",
        stage: Stage::Operator,
        tests: &[
            "cli::client::tests::a_keeper_that_dies_or_babbles_is_an_error",
            "cli::client::tests::a_silent_keeper_does_not_hold_up_status",
        ],
    },
    // --- the log --------------------------------------------------------------------------------
    Attack {
        name: "flipped byte",
        what: "changes one byte of an entry, a payload or a checkpoint",
        stage: Stage::Log,
        tests: &[
            "audit::tests::tamper::every_flipped_byte_is_named",
            "it::log::one_flipped_byte_is_named",
            "audit::note::tests::a_note_verifies_and_no_changed_byte_does",
        ],
    },
    Attack {
        name: "cut tail",
        what: "cuts the newest entries off, which leaves a valid chain",
        stage: Stage::Log,
        tests: &[
            "audit::tests::tamper::every_cut_below_the_checkpoint_is_named",
            "it::log::a_log_that_was_cut_is_not_served_again",
        ],
    },
    Attack {
        name: "removed, swapped or foreign segment",
        what: "takes a segment file away, exchanges two, or puts in one of another log",
        stage: Stage::Log,
        tests: &["audit::tests::tamper::missing_swapped_and_foreign_files_are_found"],
    },
    Attack {
        name: "log written anew",
        what: "writes another history from the first entry on and signs it with another key",
        stage: Stage::Log,
        tests: &["audit::tests::tamper::a_log_written_anew_with_another_key_does_not_pass"],
    },
    Attack {
        name: "missing checkpoint",
        what: "removes the checkpoint, so that nothing says how long the log was, or all but the first \
               entry with it, so that the log looks new",
        stage: Stage::Log,
        tests: &[
            "audit::tests::tamper::without_a_checkpoint_only_the_last_frames_may_look_torn",
            "audit::tests::vectors::both_verifiers_judge_every_vector_as_expected",
            "cli::log::verify::tests::the_verdict_comes_first",
        ],
    },
    Attack {
        name: "second spelling of an entry",
        what: "rewrites an entry with the same meaning and other bytes, or another meaning to some",
        stage: Stage::Log,
        tests: &[
            "audit::tests::canonical::other_spellings_are_refused",
            "audit::tests::canonical::what_passes_is_what_writing_again_gives",
            "audit::tests::vectors::both_verifiers_judge_every_vector_as_expected",
        ],
    },
    Attack {
        name: "log file replaced under the daemon",
        what: "deletes, replaces or truncates the segment that is being written",
        stage: Stage::Log,
        tests: &["audit::tests::life::a_deleted_replaced_or_changed_file_blocks"],
    },
    Attack {
        name: "second writer",
        what: "opens the same log twice, so that two chains grow from one entry",
        stage: Stage::Log,
        tests: &["audit::tests::life::there_is_one_writer_and_its_own_kinds_are_its_own"],
    },
    Attack {
        name: "torn write",
        what: "cuts the power while an entry is written, or passes damage off as a torn tail",
        stage: Stage::Log,
        tests: &[
            "audit::tests::crash::a_torn_tail_is_kept_and_reported",
            "audit::tests::crash::acknowledged_is_durable",
            "audit::tests::tamper::without_a_checkpoint_only_the_last_frames_may_look_torn",
        ],
    },
    Attack {
        name: "full or failing disk",
        what: "fills the disk, so that calls go on without a record",
        stage: Stage::Log,
        tests: &[
            "it::log::an_unwritable_log_refuses_calls_and_says_why",
            "audit::tests::life::a_full_or_failing_disk_blocks_for_good",
        ],
    },
    Attack {
        name: "disk that hangs",
        what: "makes the disk wait for ever, so that callers do",
        stage: Stage::Log,
        tests: &["audit::tests::life::a_disk_that_hangs_does_not_hang_its_callers"],
    },
    Attack {
        name: "forged index",
        what: "replaces the database that queries are answered from",
        stage: Stage::Log,
        tests: &[
            "it::log::the_index_is_rebuilt_and_the_key_changes_on_the_record",
            "audit::tests::life::the_index_answers_and_mends_itself",
        ],
    },
    Attack {
        name: "quiet change of key",
        what: "goes on with another key as if it had always been the log's",
        stage: Stage::Log,
        tests: &[
            "audit::tests::life::a_new_key_is_vouched_for_by_the_old_one",
            "audit::note::tests::keys_have_one_spelling",
        ],
    },
    Attack {
        name: "key in the log",
        what: "has a secret come back in a result, plain or encoded, and reads it in the log",
        stage: Stage::Log,
        tests: &[
            "audit::mask::tests::no_spelling_gets_through",
            "audit::mask::tests::json_strings_are_masked_and_nothing_is_shown",
            "front::message::tests::the_log_learns_no_payload",
        ],
    },
    Attack {
        name: "reading the log's key",
        what: "reads the key file as another user, or in an error or a debug text",
        stage: Stage::Log,
        tests: &["audit::sealer::tests::a_key_is_kept_private_and_comes_back"],
    },
    Attack {
        name: "clock turned back",
        what: "sets the clock back to get a fresh quota",
        stage: Stage::Log,
        tests: &[
            "audit::quota::tests::the_plane_has_its_own_limit_and_a_clock_turned_back_gives_nothing",
        ],
    },
    Attack {
        name: "free results",
        what: "has large results recorded that cost its quota nothing",
        stage: Stage::Log,
        tests: &["it::log::what_results_take_in_the_log_counts"],
    },
    Attack {
        name: "free refusals",
        what: "floods a plane that can carry out nothing (its log or its jail is unfit), so that \
               refusals fill the log or keep the keeper busy and cost no quota",
        stage: Stage::Log,
        tests: &[
            "keeper::admit::tests::calls_that_cannot_be_carried_out_are_counted_all_the_same",
            "it::log::an_unwritable_log_refuses_calls_and_says_why",
        ],
    },
    // --- jails run by hand ----------------------------------------------------------------------
    Attack {
        name: "manifest that shows the gate",
        what: "has a jail see Keepgate's own state, token or sockets, by name, from above, or by a link",
        stage: Stage::Operator,
        tests: &[
            "jail::profile::tests::keepgates_own_files_are_never_shown",
            "it::jail_run::profiles::the_installs_own_files_are_never_shown",
        ],
    },
    Attack {
        name: "link in a manifest",
        what: "makes a path of a manifest a symbolic link to elsewhere, to nothing, or in a circle",
        stage: Stage::Operator,
        tests: &[
            "jail::profile::tests::paths_that_are_not_there_or_not_files_are_named",
            "it::jail_run::profiles::a_circle_of_links_is_named",
        ],
    },
    Attack {
        name: "way out through a path",
        what: "has a socket, a pipe or a device shown, which leads out of any jail",
        stage: Stage::Operator,
        tests: &["jail::profile::tests::paths_that_are_not_there_or_not_files_are_named"],
    },
    Attack {
        name: "the caller's descriptors",
        what: "writes to the caller's terminal or files through its standard input",
        stage: Stage::Operator,
        tests: &["it::jail_run::streams::a_jail_never_has_the_callers_own_descriptors"],
    },
    Attack {
        name: "the caller's environment",
        what: "reads keys from the variables of whoever runs it",
        stage: Stage::Operator,
        tests: &[
            "it::jail_run::foreign::the_callers_environment_stays_outside_unless_named",
            "it::jail_run::native::a_native_program_has_no_environment",
        ],
    },
    Attack {
        name: "survivor",
        what: "leaves a process behind that outlives the program, the command or its death",
        stage: Stage::Operator,
        tests: &[
            "it::jail_run::limits::what_a_program_leaves_behind_dies_with_it",
            "it::jail_run::limits::a_signal_to_the_command_ends_the_jail",
            "it::jail_run::limits::a_command_that_is_killed_takes_its_jail_with_it",
        ],
    },
    Attack {
        name: "host name with two readings",
        what: "names a way out in another spelling, with a wildcard, or with a NUL, so that checks differ",
        stage: Stage::Operator,
        tests: &["jail::profile::tests::ways_out_are_as_egress_reads_them"],
    },
    Attack {
        name: "program replaced while it is looked at",
        what: "changes a static program between the look at it and its start",
        stage: Stage::Operator,
        tests: &["sys::sealed::tests::a_sealed_program_cannot_be_changed_and_has_a_limit"],
    },
    // --- connectors -----------------------------------------------------------------------------
    Attack {
        name: "one bad connector against all",
        what: "has a path of its own vanish, or puts there what no jail may show, so that no jail is \
               made for anybody any more",
        stage: Stage::Jailer,
        tests: &[
            "it::connectors::apart::a_connector_that_cannot_be_used_hurts_nobody_else_and_comes_back",
            "it::connectors::apart::what_comes_back_as_something_else_is_quarantined",
            "it::jailer::unusable::a_manifest_that_cannot_be_used_leaves_the_others_alone",
        ],
    },
    Attack {
        name: "rug pull by a tool",
        what: "was approved, and lists a changed, added, removed or renamed tool later",
        stage: Stage::Operator,
        tests: &[
            "catalog::connector::compare::tests::every_mutation_of_a_listing_is_told_by_its_member",
            "it::connectors::pulled::what_a_server_lists_anew_is_told_member_by_member",
            "it::connectors::rugs::whatever_is_pulled_answers_no_call_until_it_is_approved_anew",
        ],
    },
    Attack {
        name: "rug pull by a file",
        what: "was approved, and executes a changed, added, removed or otherwise linked file later",
        stage: Stage::Operator,
        tests: &[
            "catalog::connector::tree::tests::every_change_changes_the_digest",
            "it::connectors::pulled::every_change_of_a_file_is_told_and_bars_the_approval",
            "it::connectors::rugs::whatever_is_pulled_answers_no_call_until_it_is_approved_anew",
        ],
    },
    Attack {
        name: "files changed between the look and the start",
        what: "waits until a connector's files were hashed, and changes one before its server is started, or while the next start is due",
        stage: Stage::Jailer,
        tests: &[
            "catalog::connector::tree::tests::what_is_still_the_same_is_not_read_again",
            "catalog::connector::tree::tests::what_is_known_by_its_stamps_alone_is_no_younger_than_they_can_tell",
            "catalog::connector::tree::tests::a_tree_within_a_root_is_the_same_and_links_stay_in_there",
            "it::jailer::pins::what_is_changed_while_a_program_runs_ends_it",
            "it::connectors::rugs::whatever_is_pulled_answers_no_call_until_it_is_approved_anew",
        ],
    },
    Attack {
        name: "another folder in the place of a pinned one",
        what: "renames a connector's folder away and another one into its place, while jails keep the \
               old one and nothing in it changes",
        stage: Stage::Supervisor,
        tests: &[
            "it::connectors::apart::what_is_put_in_its_place_while_it_runs_is_quarantined",
            "supervisor::places::tests::only_another_thing_in_its_place_counts",
        ],
    },
    Attack {
        name: "a server that may change its own code",
        what: "has its program in a folder that it may write, and becomes something else at its next start",
        stage: Stage::Operator,
        tests: &[
            "catalog::connector::scan::tests::jails_that_show_too_much_are_found",
            "it::connectors::what_could_change_its_own_code_is_not_imported",
        ],
    },
    Attack {
        name: "code that a variable brings in",
        what: "has a program of a connector load what nothing pins, by `PYTHONPATH`, `NODE_OPTIONS`, \
               `LD_PRELOAD` or the like in its manifest",
        stage: Stage::Operator,
        tests: &["catalog::connector::scan::tests::jails_that_show_too_much_are_found"],
    },
    Attack {
        name: "a bundle that gives rights away",
        what: "is a bundle signed by a trusted key with set-id programs, or files that others may change",
        stage: Stage::Operator,
        tests: &[
            "catalog::connector::bundle::tests::modes_that_give_rights_away_are_refused_though_signed",
        ],
    },
    Attack {
        name: "files changed under a running server",
        what: "waits until a connector's server runs, and changes a file that it reads later",
        stage: Stage::Jailer,
        tests: &[
            "it::jailer::pins::what_is_changed_while_a_program_runs_ends_it",
            "it::connectors::rugs::whatever_is_pulled_answers_no_call_until_it_is_approved_anew",
        ],
    },
    Attack {
        name: "a server that spins",
        what: "uses all of a processor in one call, or between two, in a process that lasts",
        stage: Stage::Jailer,
        tests: &[
            "it::upstreams::budget::many_calls_may_use_more_than_one_and_one_that_spins_is_ended",
            "it::jailer::reserve::a_jail_that_lasts_and_spins_is_ended_by_its_processes_times",
            "it::jailer::reserve::a_jail_that_lasts_and_spins_is_ended_by_what_its_cgroup_counts",
            "jailer::reserve::tests::a_server_that_answers_lives_on_and_one_that_spins_does_not",
        ],
    },
    Attack {
        name: "words in a list of resources",
        what: "has a user's data listed as resources, with instructions in their names",
        stage: Stage::Operator,
        tests: &[
            "it::connectors::data::what_is_data_comes_and_goes_and_its_templates_are_compared",
        ],
    },
    Attack {
        name: "a tree that takes long to look at",
        what: "is a connector of so many or so large files that everybody else's calls wait while they \
               are hashed",
        stage: Stage::Jailer,
        tests: &["it::jailer::pins::a_large_tree_holds_up_nobody_elses_start"],
    },
    Attack {
        name: "files that somebody else may change at any time",
        what: "owns a pinned file, or may write it, and changes it after its last look, by a mapping of memory too",
        stage: Stage::Supervisor,
        tests: &[
            "catalog::connector::tree::tests::what_others_may_write_is_lent_to_them",
            "it::connectors::rugs::whatever_is_pulled_answers_no_call_until_it_is_approved_anew",
        ],
    },
    Attack {
        name: "a name that takes a plane's policy away",
        what: "lists a tool with a hyphen in its name, resources or prompts, of which no policy can be made",
        stage: Stage::Judgement,
        tests: &["policy::schema::tests::what_is_beside_tools_is_an_action_too"],
    },
    Attack {
        name: "undo that cannot be carried out",
        what: "has a tool run live by an undo that names no tool, a harmless one, or arguments that it does not take",
        stage: Stage::Judgement,
        tests: &[
            "catalog::connector::means::tests::an_undo_that_cannot_be_carried_out_is_none",
            "it::connectors::deeds::an_undo_that_lacks_something_says_what",
        ],
    },
    Attack {
        name: "undo of something else",
        what: "answers with an identifier of another type, or none, or means another thing by a name later, so that an undo reaches what the call did not make",
        stage: Stage::Operator,
        tests: &[
            "undo::counter::tests::the_same_call_and_result_make_the_same_undo_and_others_another",
            "it::connectors::deeds::an_undo_that_lacks_something_says_what",
            "it::connectors::deeds::a_connector_that_was_approved_anew_takes_nothing_back",
        ],
    },
    Attack {
        name: "undo twice",
        what: "has a call taken back again, after a restart or while that is under way, so that what came after it goes too",
        stage: Stage::Operator,
        tests: &[
            "it::connectors::deeds::what_a_tool_made_is_taken_back_once_by_the_tool_that_is_declared",
            "it::connectors::deeds::a_killed_keeper_takes_back_what_it_did_before",
            "it::connectors::deeds::two_who_undo_at_once_undo_once",
            "it::connectors::deeds::a_call_that_is_not_over_is_not_taken_back",
        ],
    },
    Attack {
        name: "rehearsal that is none",
        what: "turns off the argument that makes a call a rehearsal, or has it rehearsed by a tool that changes something",
        stage: Stage::Pipeline,
        tests: &[
            "it::connectors::deeds::rehearsals_are_what_is_declared_and_nothing_else_is_asked",
            "catalog::connector::means::tests::a_dry_run_that_might_do_it_is_none",
        ],
    },
    Attack {
        name: "amount that is no number",
        what: "passes a rule of high value with an amount that is missing, negative, a text, or written with an exponent",
        stage: Stage::Judgement,
        tests: &[
            "call::declared::tests::an_amount_that_cannot_be_read_is_high",
            "call::kind::tests::amounts_are_compared_to_the_last_digit",
            "it::connectors::deeds::high_value_needs_a_person_whatever_the_policy_says",
        ],
    },
    Attack {
        name: "second recipient in one value",
        what: "puts a list, a name, a header or a climbing path into a value that is one address or one path",
        stage: Stage::Admission,
        tests: &[
            "call::kind::tests::one_reading_of_each_kind_and_no_other",
            "it::connectors::deeds::values_are_of_their_kind_and_what_comes_back_has_labels",
        ],
    },
    Attack {
        name: "two readings of one tool",
        what: "lists a tool with a key twice, or two tools of one name, so that two readers see different tools",
        stage: Stage::Operator,
        tests: &[
            "catalog::connector::digest::tests::what_two_readers_could_understand_differently_is_refused",
        ],
    },
    Attack {
        name: "poisoned description",
        what: "hides orders to the model in a tool's description or schema: invisible letters, comments, far to the right",
        stage: Stage::Operator,
        tests: &[
            "catalog::connector::scan::tests::text_that_is_not_what_it_seems_is_found",
            "catalog::connector::scan::tests::what_hides_in_parameters_is_found_too",
        ],
    },
    Attack {
        name: "a server that finds its tools as it goes",
        what: "a session of Composio, or a server of it with more than it was made for: what its tools \
               do is chosen by whoever answers, call by call",
        stage: Stage::Operator,
        tests: &[
            "catalog::connector::composio::tests::what_finds_its_tools_or_its_users_as_it_goes_is_refused",
            "it::connectors::composio::what_has_no_fixed_tools_is_refused_before_it_is_asked",
            "it::connectors::composio::a_server_with_fixed_toolkits_is_pinned_called_and_quarantined_when_it_has_more",
        ],
    },
    Attack {
        name: "shadowed tool",
        what: "gives a tool or connector the name of another, or one that looks like it, or speaks of the other's tools",
        stage: Stage::Operator,
        tests: &["catalog::connector::scan::tests::names_of_others_are_found"],
    },
    Attack {
        name: "schema trap",
        what: "lists a schema that leads to another document, cannot be checked, or sends what nobody chose",
        stage: Stage::Operator,
        tests: &["catalog::connector::scan::tests::schema_traps_are_found"],
    },
    Attack {
        name: "mild hints",
        what: "claims in annotations that a tool changes nothing",
        stage: Stage::Operator,
        tests: &[
            "catalog::connector::scan::tests::declarations_are_compared_with_what_is_listed",
            "call::declared::tests::what_is_not_declared_is_the_worst",
        ],
    },
    Attack {
        name: "package that is not what was published",
        what: "puts other files into an installed package, or another package in its place",
        stage: Stage::Operator,
        tests: &[
            "it::connectors::registries::real_servers_serve_real_clients_until_a_file_changes",
        ],
    },
    Attack {
        name: "package name as an option",
        what: "has a `server.json` whose package name or version is read as an option, a path or a range",
        stage: Stage::Operator,
        tests: &[
            "cli::connector::source::tests::words_that_could_be_options_paths_or_ranges_are_no_packages",
        ],
    },
    Attack {
        name: "two faces",
        what: "lists honest tools at its first start and others later",
        stage: Stage::Operator,
        tests: &[
            "it::connectors::misbehaviour::a_server_that_says_something_else_each_time_is_found",
        ],
    },
    Attack {
        name: "server that breaks the rules",
        what: "floods, hangs, answers what nobody asked, or sends 100 MB, 10,000 levels or keys twice while it is vetted",
        stage: Stage::Operator,
        tests: &[
            "it::connectors::misbehaviour::whoever_breaks_the_rules_is_told",
            "cli::connector::session::tests::whoever_lies_floods_or_is_silent_is_told",
        ],
    },
    Attack {
        name: "forged bundle",
        what: "changes a byte of a bundle, signs it with another key, or has paths in it that lead elsewhere",
        stage: Stage::Operator,
        tests: &[
            "catalog::connector::bundle::tests::a_head_is_read_back_and_no_changed_byte_is",
            "catalog::connector::bundle::tests::paths_that_lead_out_are_refused_though_signed",
            "it::connectors::bundles::a_bundle_brings_a_connector_to_another_install",
        ],
    },
    Attack {
        name: "skill that puts itself before a model",
        what: "is a skill whose instructions or scripts go beyond what was looked at",
        stage: Stage::Operator,
        tests: &[
            "catalog::connector::skill::scripts::tests::scripts_are_tools_and_allowed_tools_only_narrows",
            "it::connectors::skills::a_skill_is_imported_vetted_and_pinned_whole",
            "it::connectors::skills::texts_beside_the_instructions_are_looked_at_too",
            "it::connectors::served::a_skill_that_nobody_approved_serves_nothing",
        ],
    },
    Attack {
        name: "skill that changes after its approval",
        what: "changes a script, its instructions or anything beside them once a skill is served",
        stage: Stage::Jailer,
        tests: &[
            "it::connectors::served::changed::what_changed_after_the_approval_is_neither_run_nor_served",
            "it::connectors::served::changed::scripts_that_run_end_when_their_skill_is_quarantined",
            "jailer::pins::read::tests::what_is_pinned_is_read_and_nothing_else",
        ],
    },
    Attack {
        name: "arguments that become a command",
        what: "gives a script options, quotes, line ends or substitutions for a shell or an interpreter",
        stage: Stage::Pipeline,
        tests: &[
            "catalog::connector::skill::scripts::tests::arguments_stay_what_they_are_and_within_bounds",
            "it::connectors::served::scripts::a_script_gets_its_arguments_as_they_are",
        ],
    },
    Attack {
        name: "script that reaches out",
        what: "has a script of a skill read the host, its neighbours or a network, write its own code, \
               or leave something for the next call",
        stage: Stage::Jail,
        tests: &[
            "it::connectors::served::scripts::a_script_reaches_nothing_beyond_its_jail",
            "it::connectors::served::scripts::a_script_goes_where_its_manifest_says_and_nowhere_else",
            "it::connectors::served::scripts::how_a_script_ends_is_what_the_agent_is_told",
        ],
    },
    Attack {
        name: "script without end",
        what: "has scripts run for ever, write without end, or take every jail there is",
        stage: Stage::Pipeline,
        tests: &[
            "it::connectors::served::scripts::how_a_script_ends_is_what_the_agent_is_told",
            "it::connectors::served::scripts::scripts_have_the_limits_of_their_manifest",
            "keeper::skills::places::tests::no_skill_and_no_agent_takes_all_places",
            "keeper::skills::result::tests::a_result_is_never_longer_than_it_may_be",
        ],
    },
    Attack {
        name: "resource that leads out of a skill",
        what: "asks for a file of a skill by a name with `..`, a link, or another way of writing it",
        stage: Stage::Admission,
        tests: &[
            "catalog::connector::skill::resources::tests::a_file_has_one_uri_and_no_uri_leads_out",
            "it::connectors::served::a_skill_is_listed_read_and_run_with_the_official_sdks",
        ],
    },
    Attack {
        name: "skill that gives itself tools",
        what: "names others' tools, or more than it may have, in `allowed-tools`",
        stage: Stage::Operator,
        tests: &[
            "it::connectors::skills::allowed_tools_takes_away_and_gives_nothing",
            "catalog::connector::skill::allowed::tests::a_word_names_the_scripts_that_its_command_would_run",
        ],
    },
    // --- screens --------------------------------------------------------------------------------
    Attack {
        name: "terminal escape",
        what: "puts control sequences or right-to-left marks into names that an operator reads",
        stage: Stage::Screen,
        tests: &[
            "wire::text::tests::nothing_outside_printable_ascii_gets_through",
            "cli::layout::tests::a_table_is_aligned_and_an_outline_is_escaped",
        ],
    },
    Attack {
        name: "enrolment by a taken-over role",
        what: "tells the supervisor of an agent whose name leads elsewhere, or that it may not name",
        stage: Stage::Supervisor,
        tests: &["it::roles::a_role_that_was_taken_over_gets_no_socket_made"],
    },
    Attack {
        name: "held lock",
        what: "locks the supervisor's lock file to keep it from starting again",
        stage: Stage::Supervisor,
        tests: &["it::roles::nobody_else_can_hold_the_lock"],
    },
    Attack {
        name: "all seats",
        what: "keeps so many calls open that no other agent is served",
        stage: Stage::Pipeline,
        tests: &["keeper::seats::tests::one_agent_cannot_take_all_seats"],
    },
    Attack {
        name: "a change swept away",
        what: "changes a file at the moment it is replaced, so that the only copy of what was written \
               ends under a scratch name and is tidied away",
        stage: Stage::Jailer,
        tests: &[
            "jailer::files::tests::what_cannot_be_put_back_is_named_and_stays",
            "jailer::scratch::tests::what_may_be_the_only_copy_is_never_swept",
            "keeper::act::tests::what_is_stuck_is_unknown_and_the_entry_says_where_it_is",
            "it::jailer::publish::nobodys_change_is_lost_in_a_race",
        ],
    },
    Attack {
        name: "a file with two names",
        what: "has one name of a file written so that the other silently keeps the old content",
        stage: Stage::Jailer,
        tests: &["it::files::a_file_with_a_second_name_is_not_written"],
    },
    // --- system calls of foreign jails ----------------------------------------------------------
    Attack {
        name: "arguments changed after the check",
        what: "has a path or an address looked at by who listens, and changes it before the kernel \
               reads it again",
        stage: Stage::Jail,
        tests: &[
            "sys::notify::tests::no_answer_lets_a_call_pass",
            "sys::notify::tests::a_childs_refused_call_is_told_and_answered",
        ],
    },
    Attack {
        name: "another process behind the number",
        what: "ends while its refused call is looked at, so that another process is read in its place",
        stage: Stage::Jail,
        tests: &["sys::notify::tests::a_caller_that_was_killed_waits_no_more"],
    },
    Attack {
        name: "set-uid file left behind",
        what: "leaves a set-uid or set-gid file in a directory of the host that it may write",
        stage: Stage::Jail,
        tests: &[
            "it::lists::the_foreign_list_refuses_what_is_known_to_lead_out",
            "it::lists::programs::what_a_program_is_refused_is_told_in_words",
        ],
    },
    Attack {
        name: "device node, whiteout",
        what: "makes a device node in a writable directory, or has a rename make one",
        stage: Stage::Jail,
        tests: &["it::lists::the_foreign_list_refuses_what_is_known_to_lead_out"],
    },
    Attack {
        name: "multipath TCP",
        what: "connects with a protocol that Landlock's rules on TCP do not cover",
        stage: Stage::Jail,
        tests: &[
            "it::lists::the_foreign_list_refuses_what_is_known_to_lead_out",
            "it::lists::programs::what_a_program_is_refused_is_told_in_words",
        ],
    },
    Attack {
        name: "TCP fast open",
        what: "connects by sending, where Landlock looks at connecting",
        stage: Stage::Jail,
        tests: &["it::lists::the_foreign_list_refuses_what_is_known_to_lead_out"],
    },
    Attack {
        name: "program without a name",
        what: "runs a program from a memory file that no mount and no ruleset has seen",
        stage: Stage::Jail,
        tests: &[
            "it::lists::the_foreign_list_refuses_what_is_known_to_lead_out",
            "it::lists::programs::what_a_program_is_refused_is_told_in_words",
        ],
    },
    Attack {
        name: "call that the list forgot",
        what: "makes a call that is newer than the list, or whose border the list's compiler got wrong",
        stage: Stage::Jail,
        tests: &[
            "it::lists::every_filter_says_what_its_list_says",
            "sys::fire::every_call_that_a_list_does_not_name_is_refused_by_the_kernel",
        ],
    },
    Attack {
        name: "advice from a jail",
        what: "is refused something whose name reads like a line of a manifest, for an operator to add",
        stage: Stage::Screen,
        tests: &[
            "jail::denied::report::tests::a_jail_writes_no_line_and_a_failure_is_no_denial",
            "jail::denied::tests::hostile_text_stays_in_its_quotes_and_in_its_bounds",
        ],
    },
    Attack {
        name: "denial flood",
        what: "is refused something else without end, so that the reports about it fill the memory",
        stage: Stage::Jail,
        tests: &["jail::denied::collect::tests::equal_ones_are_counted_and_there_is_an_end"],
    },
];
