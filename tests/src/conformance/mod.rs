//! What every runtime must pass: whole sessions over loopback with real sockets and files.
//!
//! A case is a function of a [`Runtime`], of which it uses nothing but `start`.
//! [`conformance!`](crate::conformance!) makes tests of the cases for one runtime: all of them, or
//! only the core, without which nobody could call it one. They stand in files by theme:
//!
//! | file | cases about |
//! |---|---|
//! | `smoke` | whether there is any sense in the others: with short limits, and to be run first |
//! | `transfer` | bytes: whole, in any cut, both families, a gibibyte |
//! | `connections` | peers that refuse, hang, vanish, and 200 at once |
//! | `datagrams` | bursts, the addresses that answers leave from, multicast |
//! | `disk` | disks that are full, locked, emptied |
//! | `operations` | that each thing asked for is answered once, in any order |
//! | `limits` | rates, and senders that are faster than they may be |
//! | `idle` | turns that are not taken, and those that are, in time |
//! | `foreign` | files of others, and changes behind the session's back |
//! | `floods` | datagrams, descriptors |
//! | `reuse` | files that another torrent has |
//! | `secure` | TLS on a connection that is open |
//! | `life` | handles, calls, resume data |
//! | `stop` | the end, and what is left of it |
//!
//! Cases that keep the machine busy, or measure it, stand in a module `alone` of their runtime's. How a case
//! shares the machine with others is in `harness`.

mod audit;
mod harness;
mod held;
mod sample;
mod scripted;
mod session;

pub mod connections;
pub mod datagrams;
pub mod disk;
pub mod floods;
pub mod foreign;
pub mod idle;
pub mod life;
pub mod limits;
pub mod operations;
pub mod reuse;
pub mod secure;
pub mod smoke;
pub mod stop;
pub mod transfer;

use bitswarm_runtime_common::{Client, ClientConfig, Notices, StartError};

/// How a session is started on a runtime.
pub type Start = fn(&ClientConfig) -> Result<(Client, Notices), StartError>;

/// A runtime, and which case it is to pass now.
#[derive(Clone, Copy, Debug)]
pub struct Runtime {
    /// The runtime's function of that name.
    pub start: Start,
    /// The path of the case's test.
    pub case: &'static str,
}

/// Makes tests of the cases for the runtime whose `start` is given, in a module of that name:
/// `conformance!(name, start)` of all of them, `conformance!(name, start, core)` of the core.
#[macro_export]
macro_rules! conformance {
    ($runtime:ident, $start:path) => {
        mod $runtime {
            $crate::conformance_core! { $start }
            $crate::conformance_rest! { $start }
            mod alone {
                $crate::conformance_core_alone! { $start }
                $crate::conformance_rest_alone! { $start }
            }
        }
    };
    ($runtime:ident, $start:path, core) => {
        mod $runtime {
            $crate::conformance_core! { $start }
            mod alone {
                $crate::conformance_core_alone! { $start }
            }
        }
    };
}

/// What is a runtime at all.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_core {
    ($start:path) => {
        $crate::conformance_cases! { $start;
            smoke: first_look
            transfer: both_families_are_served
            transfer: partial_writes_lose_nothing
            transfer: stream_may_come_in_any_cut
            transfer: reading_stops_for_the_disk_and_goes_on
            connections: refusing_and_silent_peers_do_not_stop_a_download
            connections: connections_come_from_the_address_that_was_chosen
            connections: everything_goes_through_the_device_that_was_chosen
            connections: names_are_not_looked_up_where_that_is_refused
            connections: peer_that_ends_its_stream_at_once_is_let_go
            connections: seed_vanishing_in_mid_block_is_made_up_for
            connections: leech_vanishing_in_mid_block_harms_nobody
            datagrams: burst_of_datagrams_is_answered_one_by_one
            disk: full_disk_is_told_and_recovers
            disk: read_only_directory_is_told_and_recovers
            disk: file_deleted_while_seeding_is_told_and_recovers
            foreign: file_of_somebody_else_is_refused_and_never_written
            foreign: linked_file_is_refused
            foreign: change_that_keeps_size_and_time_is_found_and_repaired
            operations: recorded_session_replays_to_the_same_fingerprint
            reuse: file_that_another_torrent_has_is_not_fetched
            reuse: copy_that_is_wrong_is_found_out
            life: session_that_starts_again_resumes_without_hashing
            life: torrent_is_paused_resumed_and_removed_with_its_files
            life: calls_after_the_end_say_so
            life: session_ends_by_itself_when_the_last_handle_is_dropped
            life: second_session_with_the_same_state_is_refused
        }
    };
}

/// Of that, what needs the machine to itself.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_core_alone {
    ($start:path) => {
        $crate::conformance_cases! { $start;
            transfer: file_goes_from_seed_to_leech_whole
        }
    };
}

/// What makes it a good one.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_rest {
    ($start:path) => {
        $crate::conformance_cases! { $start;
            connections: hanging_connects_end_in_time_and_make_room
            connections: listener_that_is_lost_is_told_of
            datagrams: answers_leave_from_the_address_that_was_asked
            datagrams: peers_in_the_local_network_find_each_other
            operations: completions_in_any_order_are_taken
            secure: tracker_is_asked_over_tls
            secure: certificate_that_is_not_trusted_is_refused
            limits: rates_are_within_five_percent_over_ten_seconds
            limits: fast_sender_is_not_read_and_memory_stays_bounded
            idle: session_with_nothing_to_do_takes_no_turns
            idle: finished_peers_that_stay_connected_cost_no_turns
        }
    };
}

/// Of that, what needs the machine to itself.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_rest_alone {
    ($start:path) => {
        $crate::conformance_cases! { $start;
            transfer: gibibyte_arrives_with_equal_hash
            connections: two_hundred_connections_are_served
            operations: every_operation_completes_exactly_once_under_stress
            idle: deadlines_are_met_and_never_early
            idle: calls_are_answered_at_once
            floods: datagrams_do_not_starve_a_transfer
            floods: exhausted_descriptors_are_survived_and_recovered_from
            stop: busy_sessions_end_within_a_second_and_leave_nothing
            stop: tracker_that_hangs_does_not_hold_up_the_end
        }
    };
}

/// One test for each case.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($start:path; $($theme:ident: $case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::$theme::$case($crate::conformance::Runtime {
                    start: $start,
                    case: concat!(module_path!(), "::", stringify!($case)),
                });
            }
        )*
    };
}
