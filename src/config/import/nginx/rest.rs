//! What no other file of this folder reads: directives that mean nothing to ours are left out, all others are lost with a
//! reason. Words that are in neither list are lost, so that one of a later nginx, or of a module, is never left out silently.

use super::super::draft::Draft;
use super::location::OTHERS;
use super::words::Directive;

/// Read elsewhere, in whichever block.
const READ: &str = "\
    server location upstream http stream mail events listen server_name return rewrite if proxy_pass grpc_pass \
    allow deny proxy_set_header grpc_set_header add_header proxy_hide_header auth_basic auth_basic_user_file \
    error_page root ssl ssl_certificate ssl_certificate_key ssl_protocols ssl_client_certificate ssl_verify_client \
    ssl_crl client_max_body_size client_header_timeout client_body_timeout keepalive_timeout gzip http2 \
    set_real_ip_from real_ip_header proxy_connect_timeout proxy_read_timeout proxy_ssl_verify \
    proxy_ssl_trusted_certificate proxy_ssl_name proxy_ssl_certificate proxy_ssl_certificate_key proxy_timeout \
    proxy_responses proxy_protocol proxy_ssl ssl_preread";

/// About nginx itself: processes, buffers, caches, files that ours do not serve, forms of logs.
const HARMLESS: &str = "\
    user worker_processes worker_rlimit_nofile worker_connections worker_priority worker_cpu_affinity \
    worker_shutdown_timeout pid daemon master_process env load_module pcre_jit thread_pool lock_file multi_accept \
    use error_log log_format log_not_found log_subrequest sendfile sendfile_max_chunk aio directio tcp_nopush \
    tcp_nodelay types default_type charset index try_files alias autoindex etag if_modified_since \
    types_hash_max_size types_hash_bucket_size server_names_hash_max_size server_names_hash_bucket_size \
    variables_hash_max_size variables_hash_bucket_size map_hash_max_size map_hash_bucket_size \
    proxy_headers_hash_max_size proxy_headers_hash_bucket_size server_tokens server_name_in_redirect \
    port_in_redirect absolute_redirect keepalive_requests keepalive_disable keepalive_time \
    reset_timedout_connection lingering_close lingering_time lingering_timeout resolver resolver_timeout \
    client_body_buffer_size client_body_temp_path client_body_in_file_only client_header_buffer_size \
    connection_pool_size request_pool_size output_buffers postpone_output proxy_http_version proxy_buffering \
    proxy_buffers proxy_buffer_size proxy_busy_buffers_size proxy_request_buffering proxy_max_temp_file_size \
    proxy_temp_file_write_size proxy_temp_path proxy_redirect proxy_socket_keepalive proxy_ssl_server_name \
    proxy_ssl_session_reuse proxy_ssl_verify_depth proxy_headers ssl_session_cache ssl_session_timeout \
    ssl_session_tickets ssl_prefer_server_ciphers ssl_buffer_size ssl_verify_depth ssl_dhparam ssl_early_data \
    chunked_transfer_encoding preread_buffer_size preread_timeout real_ip_recursive ssl_handshake_timeout zone";

pub(super) fn read(draft: &mut Draft, block: &Directive) {
    for line in &block.inner {
        if let Some(why) = lost(line) {
            draft.lose(line.at, &line.shown(), why);
        }
        // `upstream` says itself what is lost, and the lines of a table of words are no directives.
        if !matches!(line.name(), "upstream" | "types" | "map" | "geo" | "split_clients" | "if" | "limit_except") {
            read(draft, line);
        }
    }
}

fn lost(line: &Directive) -> Option<&'static str> {
    let name = line.name();
    Some(match name {
        // What almost every file for WebSockets has: ours pass upgrades on by themselves.
        "map" if line.word(1) == "$http_upgrade" || line.word(1) == "$ssl_preread_server_name" => return None,
        "map" | "geo" | "split_clients" | "set" => "ours have no variables: write routes, or `split`",
        "limit_except" => "methods are a condition of routes: see `method` and `deny`",
        "limit_req_zone" | "limit_req_status" | "limit_req_log_level" => "see `rate`",
        "limit_conn_zone" | "limit_conn_status" => "see `connections_per_client`",
        "limit_rate" | "limit_rate_after" | "proxy_download_rate" | "proxy_upload_rate" => "ours slow nobody down",
        "proxy_intercept_errors" => "see `errors_of`",
        "ssl_ciphers" | "ssl_ecdh_curve" | "ssl_conf_command" => {
            "ours are safe as they are; see `ciphers` and `groups` of `tls`"
        }
        "ssl_stapling" | "ssl_stapling_verify" | "ssl_stapling_file" | "ssl_trusted_certificate" => {
            "see `ocsp` beside `cert`"
        }
        "ssl_session_ticket_key" => "see `tickets` of `tls`",
        "proxy_bind" => "see `source` of the pool",
        "send_timeout" | "proxy_send_timeout" => "ours have no such deadline; see `body_idle`",
        "underscores_in_headers" => "see `underscores`",
        "large_client_header_buffers" => "see `head` and `target` of [listener.NAME.limits]",
        "merge_slashes" => "see `normalize`",
        "ignore_invalid_headers" => "what two programs could read in two ways is refused, always",
        "health_check" | "match" => "see [pool.NAME.check.NAME]",
        _ if is_in(READ, name) || is_in(HARMLESS, name) || OTHERS.contains(&name) => return None,
        // Their location is answered by 404, and said to be.
        _ if ["fastcgi_", "uwsgi_", "scgi_", "memcached_", "gzip_", "open_file_cache"]
            .iter()
            .any(|known| name.starts_with(known)) =>
        {
            return None;
        }
        _ => "ours have nothing like it",
    })
}

fn is_in(words: &str, word: &str) -> bool {
    words.split_ascii_whitespace().any(|known| known == word)
}
