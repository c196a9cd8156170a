//! The families of HAProxy's own exporter for which we have facts, for boards and alerts that were made for it.
//!
//! Names, kinds and labels are HAProxy's (`proxy` and `server`; a test compares them with the real exporter); the help
//! texts say what our numbers are. Its averages over the last 1024 connections, and its maxima since the start, are no
//! facts that we have.

use super::family::families;

families! {
    PROCESS_BUILD_INFO: Gauge "haproxy_process_build_info" "The version of evenkeel, as a label; always 1.";
    PROCESS_START_TIME: Gauge "haproxy_process_start_time_seconds" "When the program started, seconds since 1970.";
    PROCESS_UPTIME: Gauge "haproxy_process_uptime_seconds" "How long the program has run.";
    PROCESS_THREADS: Gauge "haproxy_process_nbthread" "Threads of the data path.";
    PROCESS_MAX_CONNECTIONS: Gauge "haproxy_process_max_connections" "Client connections that there may be at once.";
    PROCESS_CONNECTIONS: Gauge "haproxy_process_current_connections" "Client connections open now.";
    PROCESS_CONNECTIONS_TOTAL: Counter "haproxy_process_connections_total" "Client connections accepted.";
    PROCESS_REQUESTS: Counter "haproxy_process_requests_total" "Requests answered.";
    PROCESS_STOPPING: Gauge "haproxy_process_stopping" "1 while the program stops, else 0.";

    FRONTEND_STATUS: Gauge "haproxy_frontend_status" "Whether the listener accepts, by state.";
    FRONTEND_SESSIONS: Gauge "haproxy_frontend_current_sessions" "Client connections open now.";
    FRONTEND_LIMIT: Gauge "haproxy_frontend_limit_sessions" "Client connections that there may be at once.";
    FRONTEND_SESSIONS_TOTAL: Counter "haproxy_frontend_sessions_total" "Client connections accepted.";
    FRONTEND_CONNECTIONS: Counter "haproxy_frontend_connections_total" "Client connections accepted.";
    FRONTEND_BYTES_IN: Counter "haproxy_frontend_bytes_in_total" "Bytes received from clients.";
    FRONTEND_BYTES_OUT: Counter "haproxy_frontend_bytes_out_total" "Bytes sent to clients.";
    FRONTEND_REQUESTS: Counter "haproxy_frontend_http_requests_total" "Requests answered.";
    FRONTEND_RESPONSES: Counter "haproxy_frontend_http_responses_total" "Requests answered, by the status class of the answer.";
    FRONTEND_ERRORS: Counter "haproxy_frontend_request_errors_total" "Requests refused by the balancer itself.";

    BACKEND_STATUS: Gauge "haproxy_backend_status" "Whether anybody of the pool gets work, by state.";
    BACKEND_AGGREGATED: Gauge "haproxy_backend_agg_server_status" "Backends of the pool, by state.";
    BACKEND_ACTIVE: Gauge "haproxy_backend_active_servers" "Backends of the pool that are up, without backups.";
    BACKEND_BACKUP: Gauge "haproxy_backend_backup_servers" "Backups of the pool that are up.";
    BACKEND_WEIGHT: Gauge "haproxy_backend_weight" "Sum of the weights of those that are up.";
    BACKEND_SESSIONS: Gauge "haproxy_backend_current_sessions" "Requests, tunnels and TCP connections under way.";
    BACKEND_QUEUE: Gauge "haproxy_backend_current_queue" "Requests that wait now.";
    BACKEND_SESSIONS_TOTAL: Counter "haproxy_backend_sessions_total" "Requests and TCP connections given to backends.";
    BACKEND_BALANCED: Counter "haproxy_backend_loadbalanced_total" "Requests and TCP connections given to backends.";
    BACKEND_BYTES_IN: Counter "haproxy_backend_bytes_in_total" "Bytes received from clients.";
    BACKEND_BYTES_OUT: Counter "haproxy_backend_bytes_out_total" "Bytes sent to clients.";
    BACKEND_REQUESTS: Counter "haproxy_backend_http_requests_total" "Requests answered.";
    BACKEND_RESPONSES: Counter "haproxy_backend_http_responses_total" "Requests answered, by the status class of the answer.";
    BACKEND_CONNECT_ERRORS: Counter "haproxy_backend_connection_errors_total" "Connections to backends that could not be opened.";
    BACKEND_RESPONSE_ERRORS: Counter "haproxy_backend_response_errors_total" "Attempts that failed after the connection stood.";
    BACKEND_RETRIES: Counter "haproxy_backend_retry_warnings_total" "Further attempts made after one that failed.";
    BACKEND_ATTEMPTS: Counter "haproxy_backend_connection_attempts_total" "Connections to backends that were begun.";
    BACKEND_REUSED: Counter "haproxy_backend_connection_reuses_total" "Requests that went over an idle connection.";
    BACKEND_CLIENT_ABORTS: Counter "haproxy_backend_client_aborts_total" "Requests and connections that ended because the client went away.";
    BACKEND_SERVER_ABORTS: Counter "haproxy_backend_server_aborts_total" "Answers that broke off, and connections that the backend reset.";
    BACKEND_UP_DOWN: Counter "haproxy_backend_check_up_down_total" "Times that backends of the pool went down.";

    SERVER_STATUS: Gauge "haproxy_server_status" "The verdict on the backend, by state.";
    SERVER_CHECK_STATUS: Gauge "haproxy_server_check_status" "What the last probe of its checks said, by HAProxy's words.";
    SERVER_CHECK_DURATION: Gauge "haproxy_server_check_duration_seconds" "How long the last probe took.";
    SERVER_CHECK_FAILURES: Counter "haproxy_server_check_failures_total" "Probes that failed.";
    SERVER_UP_DOWN: Counter "haproxy_server_check_up_down_total" "Times that the backend went down.";
    SERVER_LAST_CHANGE: Gauge "haproxy_server_check_last_change_seconds" "How long the verdict has stood.";
    SERVER_WEIGHT: Gauge "haproxy_server_weight" "The weight that the backend has now.";
    SERVER_CONFIGURED_WEIGHT: Gauge "haproxy_server_uweight" "The weight that the configuration gives to the backend.";
    SERVER_SESSIONS: Gauge "haproxy_server_current_sessions" "Requests, tunnels and TCP connections under way.";
    SERVER_LIMIT: Gauge "haproxy_server_limit_sessions" "How much it may have under way at once; absent where there is no limit.";
    SERVER_SESSIONS_TOTAL: Counter "haproxy_server_sessions_total" "Requests and TCP connections given to it.";
    SERVER_BALANCED: Counter "haproxy_server_loadbalanced_total" "Requests and TCP connections given to it.";
    SERVER_BYTES_IN: Counter "haproxy_server_bytes_in_total" "Bytes sent to it.";
    SERVER_BYTES_OUT: Counter "haproxy_server_bytes_out_total" "Bytes received from it.";
    SERVER_RESPONSES: Counter "haproxy_server_http_responses_total" "Answers that it gave, by status class.";
    SERVER_CONNECT_ERRORS: Counter "haproxy_server_connection_errors_total" "Connections to it that could not be opened.";
    SERVER_RESPONSE_ERRORS: Counter "haproxy_server_response_errors_total" "Attempts that failed after the connection stood.";
    SERVER_ATTEMPTS: Counter "haproxy_server_connection_attempts_total" "Connections to it that were begun.";
    SERVER_REUSED: Counter "haproxy_server_connection_reuses_total" "Requests that went over an idle connection.";
    SERVER_IDLE: Gauge "haproxy_server_idle_connections_current" "Connections to it on which nothing is under way.";
    SERVER_USED: Gauge "haproxy_server_used_connections_current" "Connections to it on which something is under way.";
}
