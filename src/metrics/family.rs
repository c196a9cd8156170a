//! Every metric family of the program: name, kind and the sentence that Prometheus shows with it.
//!
//! Read by the admin port when it is scraped, and by the documentation test. Names follow Prometheus' own rules: base
//! units, `_total` for counts that only grow, one unit a family. [`ALL`] holds every family exactly once.

/// What a family's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the program starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets, seconds.
    Histogram,
}

/// One metric family.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What its numbers are.
    pub kind: Kind,
    /// What it says, for people.
    pub help: &'static str,
}

/// Declares families and lists them all.
macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: $crate::metrics::family::Family =
            $crate::metrics::family::Family { name: $name, kind: $crate::metrics::family::Kind::$kind, help: $help };)*
        /// Every family of these.
        pub const ALL: &[&$crate::metrics::family::Family] = &[$(&$constant),*];
    };
}
pub(super) use families;

families! {
    BUILD_INFO: Gauge "evenkeel_build_info" "The program's version, as a label; always 1.";
    START_TIME: Gauge "evenkeel_start_time_seconds" "When the program started, seconds since 1970.";
    READY: Gauge "evenkeel_ready" "1 while the program is ready for work, else 0.";
    GENERATION: Gauge "evenkeel_config_generation" "Number of the configuration in force; with a state file the count goes on over restarts.";
    RELOADS: Counter "evenkeel_config_reloads_total" "Reloads, by result: ok or refused.";
    LAST_RELOAD_SUCCESS: Gauge "evenkeel_config_last_reload_success" "1 when the last reload took effect or there was none, 0 when it was refused.";
    LAST_RELOAD_TIME: Gauge "evenkeel_config_last_reload_timestamp_seconds" "When a reload last took effect, seconds since 1970; 0 before the first.";
    LAST_RELOAD_DURATION: Gauge "evenkeel_config_last_reload_duration_seconds" "How long the last reload took.";

    STATE_WRITES: Counter "evenkeel_state_file_writes_total" "Times that the state file was to be written, by result: ok or failed.";
    LOG_DROPPED: Counter "evenkeel_access_log_dropped_total" "Lines of access logs dropped because whoever takes them is too slow or gone.";

    SPANS: Counter "evenkeel_spans_total" "Spans of traces, by result: exported, or dropped because the collector is too slow or gone.";

    LISTENER_OPEN: Gauge "evenkeel_listener_open_connections" "Client connections open now.";
    LISTENER_CONNECTIONS: Counter "evenkeel_listener_connections_total" "Client connections accepted.";
    LISTENER_REQUESTS: Counter "evenkeel_listener_requests_total" "Requests answered, by the status class of the answer.";
    LISTENER_REJECTED: Counter "evenkeel_listener_rejected_total" "Requests refused by the balancer itself, by reason.";
    LISTENER_DROPPED_FIELDS: Counter "evenkeel_listener_dropped_fields_total" "Header fields of requests left out because their names have underscores.";
    LISTENER_HANDSHAKES: Counter "evenkeel_listener_tls_handshakes_total" "TLS handshakes with clients, by result: ok, failed, late, or what was wrong with the certificate of the client.";
    HTTP2_FLOODS: Counter "evenkeel_http2_floods_total" "Connections of HTTP/2 that were closed because of what their client sent, by its kind.";
    LISTENER_MIRRORED: Counter "evenkeel_listener_mirrored_total" "Copies of requests for other pools (mirror), by result: answered, or why there was no answer.";
    LISTENER_CERTIFICATE: Gauge "evenkeel_listener_certificate_expiry_timestamp_seconds" "When a certificate that the listener shows expires, seconds since 1970, by its file.";
    LISTENER_FLOWS: Gauge "evenkeel_listener_open_flows" "Flows of a UDP listener open now.";
    LISTENER_FLOWS_BEGUN: Counter "evenkeel_listener_flows_total" "Flows of a UDP listener begun.";
    LISTENER_FLOWS_ENDED: Counter "evenkeel_listener_flows_ended_total" "Flows of a UDP listener ended, by how: answered, idle, unanswered, displaced or closed.";
    LISTENER_DATAGRAMS: Counter "evenkeel_listener_datagrams_total" "Datagrams of a UDP listener, by direction: received from clients or sent to them.";
    LISTENER_DROPPED: Counter "evenkeel_listener_dropped_total" "Datagrams of a UDP listener that went nowhere, by reason.";
    LISTENER_RECEIVED: Counter "evenkeel_listener_received_bytes_total" "Bytes received from clients.";
    LISTENER_SENT: Counter "evenkeel_listener_sent_bytes_total" "Bytes sent to clients.";

    POOL_BACKENDS: Gauge "evenkeel_pool_backends" "Backends of the pool, whatever their state.";
    POOL_BACKENDS_UP: Gauge "evenkeel_pool_backends_up" "Backends of the pool that are up.";
    POOL_ALARM: Gauge "evenkeel_pool_alarm" "1 while somebody should look at the pool, else 0, by what it is about.";
    POOL_LEADER: Gauge "evenkeel_pool_leader" "The backend that has the work of a pool where one of several has it, as a label; always 1, and absent while nobody has it.";
    POOL_LEADER_CHANGES: Counter "evenkeel_pool_leader_changes_total" "Times that another backend got the work of such a pool, or nobody had it any more.";
    POOL_REQUESTS: Counter "evenkeel_pool_requests_total" "Requests answered for the pool, by the status class of the answer.";
    POOL_FAILED: Counter "evenkeel_pool_failed_total" "Requests, connections and datagrams of the pool that failed, by cause.";
    POOL_RETRIES: Counter "evenkeel_pool_retries_total" "Further attempts made after one that failed.";
    POOL_RETRIES_DENIED: Counter "evenkeel_pool_retries_denied_total" "Further attempts that the retry budget did not allow.";
    POOL_HELD: Counter "evenkeel_pool_held_total" "Requests that waited because no backend could serve.";
    POOL_STICKY: Counter "evenkeel_pool_sticky_total" "Requests and TCP connections of a pool with `sticky`, by result: kept at its backend, new to all, or moved to another; absent for other pools.";
    POOL_WAITING: Gauge "evenkeel_pool_waiting" "Requests that wait now, for a backend that serves or for a place at one that is full.";
    POOL_QUEUED: Counter "evenkeel_pool_queued_total" "Requests that waited because every backend that could serve was at its `connections_max`.";
    POOL_QUEUE: Histogram "evenkeel_pool_queue_duration_seconds" "Time that requests waited for a backend or for a place at one; those that did not wait are not in it.";
    POOL_IN_FLIGHT: Gauge "evenkeel_pool_in_flight" "Requests, tunnels and TCP connections under way at the pool's backends.";
    POOL_CONNECT: Histogram "evenkeel_pool_connect_duration_seconds" "Time to open a connection to a backend.";
    POOL_RESPONSE: Histogram "evenkeel_pool_response_duration_seconds" "Time from the request sent to the head of the answer.";
    POOL_REQUEST: Histogram "evenkeel_pool_request_duration_seconds" "Time from the head of a request to the end of the backend's answer: with waiting, connecting, further attempts, and the body on its way to the client.";
    POOL_PROBE: Histogram "evenkeel_pool_probe_duration_seconds" "Time a probe took, over all backends and checks of the pool.";
    POOL_RECEIVED: Counter "evenkeel_pool_received_bytes_total" "Bytes received from the pool's clients.";
    POOL_SENT: Counter "evenkeel_pool_sent_bytes_total" "Bytes sent to the pool's clients.";

    INCIDENTS: Counter "evenkeel_incidents_total" "Failures of backends that were up, by origin: failure, or drill; pools appear with their first.";
    INCIDENTS_OPEN: Gauge "evenkeel_incidents_open" "Failures of backends of the pool that go on.";
    INCIDENT_DETECTION: Histogram "evenkeel_incident_detection_seconds" "Time from the first request or probe that failed until the backend was down.";
    INCIDENT_ROTATION: Histogram "evenkeel_incident_out_of_rotation_seconds" "Time from the first request or probe that failed until no request was given to the backend any more.";
    INCIDENT_DURATION: Histogram "evenkeel_incident_duration_seconds" "Time from the first request or probe that failed until the backend was up again.";
    INCIDENT_REQUESTS: Counter "evenkeel_incident_requests_total" "Requests and connections that incidents have cost, by result: failed for the client, retried elsewhere, or held until somebody could serve.";
    INCIDENT_CUT: Counter "evenkeel_incident_connections_cut_total" "Connections, tunnels and answers that incidents have broken off.";

    BACKEND_INFO: Gauge "evenkeel_backend_info" "The backend's address, as a label; always 1.";
    BACKEND_UP: Gauge "evenkeel_backend_up" "1 when the verdict on the backend is up, else 0.";
    BACKEND_STATE: Gauge "evenkeel_backend_state" "The verdict on the backend, as a label; always 1.";
    BACKEND_ROLE: Gauge "evenkeel_backend_role" "The role that the backend's checks tell, as a label: active, standby or read; always 1, and absent where they tell none.";
    BACKEND_EJECTED: Gauge "evenkeel_backend_ejected" "Why the backend is out for a while although its checks are fine, as a label: traffic or flapping; always 1, and absent while it is not.";
    BACKEND_EJECTIONS: Counter "evenkeel_backend_ejections_total" "Times that the backend was taken out for a while although its checks were fine, by reason: traffic or flapping.";
    BACKEND_DISAGREEMENT: Gauge "evenkeel_backend_disagreement" "How probes and traffic contradict each other, as a label: `probe_fails` or `traffic_fails`; always 1, and absent while they agree.";
    BACKEND_CHANGED: Gauge "evenkeel_backend_last_change_timestamp_seconds" "When the verdict last changed, seconds since 1970.";
    BACKEND_TRANSITIONS: Counter "evenkeel_backend_transitions_total" "Changes of the verdict, by what it became.";
    BACKEND_WEIGHT: Gauge "evenkeel_backend_weight" "Share of the work that the configuration gives to the backend.";
    BACKEND_SHARE: Gauge "evenkeel_backend_share_ratio" "The part of its configured weight that the backend has now: less while it starts slowly, or where a check, an agent or an operator says so.";
    BACKEND_IN_FLIGHT: Gauge "evenkeel_backend_in_flight" "Requests, tunnels and TCP connections under way at the backend.";
    BACKEND_CONNECTIONS_MAX: Gauge "evenkeel_backend_connections_max" "How much the backend may have in flight at once, by `connections_max` or by what a check or an agent says; absent where there is no limit.";
    BACKEND_TUNNELS: Gauge "evenkeel_backend_tunnels" "Tunnels open at the backend, where `tunnels_max` limits them.";
    BACKEND_LATENCY: Gauge "evenkeel_backend_latency_seconds" "Response time of the recent past, peaks remembered; 0 before the first answer.";
    BACKEND_REQUESTS: Counter "evenkeel_backend_requests_total" "Answers given by the backend, by status class; 1xx, 3xx and other appear with their first answer.";
    BACKEND_PICKS: Counter "evenkeel_backend_picks_total" "Requests and TCP connections given to the backend.";
    BACKEND_CONNECTS: Counter "evenkeel_backend_connects_total" "Connections opened to the backend.";
    BACKEND_CONNECT_FAILURES: Counter "evenkeel_backend_connect_failures_total" "Connections to the backend that could not be opened.";
    BACKEND_REUSED: Counter "evenkeel_backend_reused_total" "Requests that went over an idle connection.";
    BACKEND_FAILURES: Counter "evenkeel_backend_failures_total" "Attempts that failed after the connection stood.";
    BACKEND_IDLE: Gauge "evenkeel_backend_idle_connections" "Connections to the backend on which nothing is under way.";
    BACKEND_CUT: Counter "evenkeel_backend_cut_total" "TCP connections, tunnels and requests that the balancer ended because the backend's role was lost or the time of its drain was over.";
    BACKEND_ORDERED: Gauge "evenkeel_backend_ordered" "What operators have ordered of the backend, as a label: drain, maintenance, weight, promote or demote; always 1.";
    BACKEND_DRILL: Gauge "evenkeel_backend_drill" "The fault that a drill puts in the way to the backend, as a label: refuse, blackhole, slow or errors; always 1, and absent while there is none.";
    BACKEND_RECEIVED: Counter "evenkeel_backend_received_bytes_total" "Bytes received from the backend.";
    BACKEND_SENT: Counter "evenkeel_backend_sent_bytes_total" "Bytes sent to the backend.";

    BACKEND_PROBES: Counter "evenkeel_backend_probes_total" "Probes of the backend, by result: good, or the layer that failed; layers appear with their first failure.";
    CHECK_UP: Gauge "evenkeel_check_up" "1 when the check is up for the backend, else 0.";
    CHECK_DURATION: Gauge "evenkeel_check_duration_seconds" "How long the last probe of the check took.";
    CHECK_CERTIFICATE: Gauge "evenkeel_check_certificate_expiry_timestamp_seconds" "When the first certificate of the chain that the backend showed to the check expires, seconds since 1970; absent without TLS.";
    CHECK_REASON: Gauge "evenkeel_check_down_reason" "The layer at which a check that is not up fails, as a label; always 1.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_say_what_they_are() {
        let mut names: Vec<_> = ALL.iter().map(|family| family.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for family in ALL {
            assert!(family.name.starts_with("evenkeel_"), "{}", family.name);
            assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"), "{}", family.name);
            // OpenMetrics names a counter by its stem, which no other family may have then.
            assert!(!family.name.strip_suffix("_total").is_some_and(|stem| names.contains(&stem)), "{}", family.name);
            assert!(family.help.ends_with('.'), "{}", family.help);
            // What the two text formats would want escaped, each in its own way.
            assert!(!family.help.contains(['\\', '"', '\n']), "{}", family.help);
        }
    }
}
