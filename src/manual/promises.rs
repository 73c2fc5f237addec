//! What is promised, by number. Behind each stand the tests that would notice if it broke.
//!
//! # The log
//!
//! **1. What is not in the log does not happen.** The intent of a call is on disk before its effect
//! begins, its outcome before the agent learns it, and a process killed at any moment changes
//! neither.
//! Shown by `it::calls::a_permitted_read_is_answered_and_recorded_before_and_after`,
//! `it::crash::nothing_acknowledged_is_lost_and_no_effect_is_without_intent`,
//! `audit::tests::crash::acknowledged_is_durable`; that the last would notice, by
//! `audit::tests::crash::a_disk_that_lies_is_noticed`.
//!
//! **2. No log, no call.** A log that cannot be written refuses every call within a second, and
//! `status` says why.
//! Shown by `it::log::an_unwritable_log_refuses_calls_and_says_why`,
//! `audit::tests::life::a_full_or_failing_disk_blocks_for_good`,
//! `audit::tests::life::a_disk_that_hangs_does_not_hang_its_callers`.
//!
//! **3. A change to what a checkpoint covers is found and named**, with segment, offset and number.
//! Shown by `audit::tests::tamper::every_flipped_byte_is_named`,
//! `audit::tests::tamper::every_cut_below_the_checkpoint_is_named`,
//! `audit::tests::tamper::missing_swapped_and_foreign_files_are_found`,
//! `it::log::one_flipped_byte_is_named`.
//!
//! **4. Anybody can verify**: offline, on a plain copy made while the daemon writes, as another
//! user, and with a second program that shares no code.
//! Shown by `it::log::a_copy_made_while_the_daemon_writes_verifies_as_another_user`,
//! `audit::tests::vectors::both_verifiers_judge_every_vector_as_expected`,
//! `audit::tests::vectors::both_verifiers_agree_on_flips`.
//!
//! **5. An agent cannot fill the log.** Calls beyond its quota are refused and recorded once a
//! minute.
//! Shown by `it::log::too_many_calls_are_refused_without_filling_the_log`,
//! `audit::quota::tests::buckets_empty_refill_and_report_once_a_minute`.
//!
//! # Decisions
//!
//! **6. What no rule permits is refused.**
//! Shown by `it::policy::nothing_is_permitted_that_no_rule_permits`.
//!
//! **7. A bad policy changes nothing.** A rule on a tool or argument that does not exist is an error
//! with its line, and the policy in force stays.
//! Shown by `it::policy::a_bad_policy_leaves_the_old_one_in_force`.
//!
//! **8. What needs a person does not happen without one.**
//! Shown by `it::policy::what_needs_a_person_is_refused_as_pending`,
//! `it::http::an_effect_is_not_made_in_rehearsal_and_needs_a_person_when_live`.
//!
//! **9. The agent learns a class, the operator the rule.**
//! Shown by `it::calls::a_refusal_tells_the_agent_a_class_and_the_operator_the_rule`.
//!
//! **10. An agent is who the kernel says is connected**, sees only its tools, and is cut off when it
//! is revoked.
//! Shown by `it::calls::another_uid_cannot_use_an_agents_socket`,
//! `it::calls::an_agent_sees_only_its_tools`, `it::calls::a_revoked_agent_is_cut_off_now`,
//! `it::calls::roots_operators_and_roles_uids_cannot_be_agents`.
//!
//! # Effects
//!
//! **11. A new install rehearses.** Effects are shown, not made, until the operator says `mode
//! live`, which is in the log.
//! Shown by `it::files::a_new_install_rehearses_and_live_is_a_logged_command`.
//!
//! **12. A written file can be put back**, unless somebody has changed it since; then nothing is
//! touched.
//! Shown by `it::files::a_write_is_previewed_undone_and_redone`,
//! `it::files::undo_removes_a_file_that_was_not_there`,
//! `it::files::undo_is_refused_when_the_world_has_changed`.
//!
//! What a connector's tool did is taken back by the tool that its manifest names, once, or not at all
//! where anything of that is unclear; without such a tool no effect runs but by a person.
//! Shown by `it::connectors::deeds::what_a_tool_made_is_taken_back_once_by_the_tool_that_is_declared`,
//! `it::connectors::deeds::a_killed_keeper_takes_back_what_it_did_before`,
//! `it::connectors::deeds::scripts::a_script_is_rehearsed_and_taken_back_by_others`.
//!
//! **13. A file tool stays beneath the operator's roots** and follows no link.
//! Shown by `it::calls::what_cannot_be_read_fails_with_a_precise_class`,
//! `it::files::a_write_never_follows_a_link_or_replaces_a_pipe`,
//! `it::files::a_root_that_is_not_writable_is_not_written`.
//!
//! **14. A request leaves only for what a rule names**: scheme, host, port, method and path, on
//! every redirect anew, to an address that was checked and no other. The proxy of a foreign jail
//! leads only to the hosts and ports of its manifest, in the same way, and TLS within only to the
//! host it was asked for.
//! Shown by `it::http::what_is_not_listed_never_reaches_the_network`,
//! `egress::tests::plain::what_no_rule_names_is_not_dialled`,
//! `egress::tests::redirects::a_redirect_beyond_the_rules_is_refused_and_not_dialled`,
//! `egress::tests::names::a_name_is_resolved_once_and_its_address_dialled`,
//! `egress::tests::names::private_answers_are_refused_in_every_form`,
//! `egress::tests::proxy::tunnels::an_empty_list_leads_nowhere`,
//! `egress::tests::proxy::tunnels::a_name_is_looked_up_once_and_dialled_as_checked`,
//! `egress::tests::proxy::tunnels::a_tunnel_is_tls_with_the_host_it_was_opened_to`.
//!
//! # Walls
//!
//! **15. A tool runs in a jail that was tried.** No service before a real jail has been attacked from
//! inside and nothing got through.
//! Shown by `it::manual::a_real_jail_lets_nothing_through`,
//! `it::manual::without_a_jail_the_probe_gets_through`,
//! `jailer::self_test::tests::whatever_got_through_or_is_missing_makes_unfit`.
//!
//! **16. Each role has its own uid, the capabilities it needs and no descriptor more**; only egress
//! can have a network socket.
//! Shown by `it::roles::every_role_has_its_own_uid_its_capabilities_and_no_more`,
//! `it::roles::no_role_holds_a_descriptor_it_does_not_need`.
//!
//! **17. A role that dies is started again; a plane that fails fails alone.**
//! Shown by `it::roles::a_role_that_dies_is_started_again_and_calls_go_on`,
//! `it::roles::a_stopped_keeper_stops_its_plane_and_no_other`.
//!
//! **18. No bytes from outside make a parser fail**, and what two readers could understand
//! differently is refused.
//! Shown by `it::corpus::no_seed_upsets_a_parser`,
//! `it::calls::what_is_no_call_gets_a_precise_error_and_nothing_dies`,
//! `wire::json::tests::what_is_unclear_is_refused_with_its_place`,
//! `call::http::tests::what_two_readers_could_understand_differently_is_refused`.
//!
//! **19. What an agent wrote cannot pose as Keepgate's words** on a terminal or in a report: outside
//! text is escaped wherever it is shown.
//! Shown by `wire::text::tests::nothing_outside_printable_ascii_gets_through`,
//! `cli::layout::tests::a_table_is_aligned_and_an_outline_is_escaped`.
//!
//! **20. The official Python SDK works as it is.**
//! Shown by `it::sdk::the_official_python_sdk_makes_an_allowed_and_a_refused_call`.
