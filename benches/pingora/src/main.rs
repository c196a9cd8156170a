//! A small proxy on Pingora, set up for the same work as the other peers of `compare`.
//!
//! Arguments: address for HTTP, address for TLS, certificate and key (PEM), then the backends. One thread serves; the
//! same four headers are added, connections to the backends are kept and shared, and both are checked every two seconds.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::http::RequestHeader;
use pingora::lb::health_check::HttpHealthCheck;
use pingora::lb::{LoadBalancer, selection::RoundRobin};
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::{Error, HttpPeer, ProxyHttp, Result, Server, Session, background_service, http_proxy_service};
use pingora::server::configuration::ServerConf;

struct Balancer {
    pool: Arc<LoadBalancer<RoundRobin>>,
    /// Of this process; each request has it mixed with a number of its own.
    ids: u128,
}

#[async_trait]
impl ProxyHttp for Balancer {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        let backend = self.pool.select(b"", 16).ok_or_else(|| Error::new_str("no backend is up"))?;
        Ok(Box::new(HttpPeer::new(backend, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        (): &mut (),
    ) -> Result<()> {
        let client =
            session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip().to_string());
        let proto = if session.digest().is_some_and(|digest| digest.ssl_digest.is_some()) { "https" } else { "http" };
        let host = request.headers.get("host").cloned();
        request.insert_header("X-Forwarded-For", client.unwrap_or_default())?;
        request.insert_header("X-Forwarded-Proto", proto)?;
        if let Some(host) = host.or_else(|| request.uri.authority()?.as_str().parse().ok()) {
            request.insert_header("X-Forwarded-Host", host)?;
        }
        // As many digits as the other peers write, from a generator that is as cheap.
        request.insert_header("X-Request-ID", format!("{:032x}", self.ids ^ u128::from(rand::random::<u64>())))?;
        Ok(())
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [http, https, cert, key, backends @ ..] = arguments.as_slice() else {
        eprintln!("usage: evenkeel-bench-pingora HTTP HTTPS CERT KEY BACKEND...");
        return;
    };
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 1024, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();

    let mut pool = LoadBalancer::try_from_iter(backends).expect("backends are addresses");
    let mut check = HttpHealthCheck::new("localhost", false);
    check.req.set_uri("/health".parse().expect("it is a path"));
    pool.set_health_check(Box::new(check));
    pool.health_check_frequency = Some(Duration::from_secs(2));
    let checks = background_service("checks", pool);

    let balancer = Balancer { pool: checks.task(), ids: rand::random() };
    let mut proxy = http_proxy_service(&server.configuration, balancer);
    proxy.add_tcp(http);
    let mut tls = TlsSettings::intermediate(cert, key).expect("certificate and key can be read");
    tls.enable_h2();
    proxy.add_tls_with_settings(https, None, tls);
    server.add_service(proxy);
    server.add_service(checks);
    server.run_forever();
}
