//! `evenkeel demo`: three backends, a listener and the admin port in one process, and three things to try.
//!
//! The backends are real: they listen on ports of their own, and stopping one closes its port and its connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use evenkeel::config::{self, Source};
use evenkeel::server::{Server, Start};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::form::Form;
use super::{Ending, serve};
use serde_json::json;

const NAMES: [&str; 3] = ["red", "green", "blue"];

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the balancer accepts; another free port is taken when this one is in use
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

/// The three backends and the switch that stops and starts them.
struct Stage {
    backends: Vec<SocketAddr>,
    switch: SocketAddr,
}

pub(super) fn demo(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let stage = set_up()?;
    let (listen, admin) = (free(arguments.listen), free(SocketAddr::from(([127, 0, 0, 1], 8404))));
    let text = configuration(&stage, listen, admin);
    let read: Arc<serve::Read> =
        Arc::new(move || config::load(&Source::Text { name: "demo".into(), text: text.clone() }));
    serve::until_stopped(
        read,
        || Ok(Start::default()),
        |server| form.say(&places(&stage, server), || tour(&stage, server)),
        form,
    )
}

/// The address, or one with a free port when its own is in use.
fn free(address: SocketAddr) -> SocketAddr {
    match std::net::TcpListener::bind(address) {
        Ok(_) => address,
        Err(_) => SocketAddr::new(address.ip(), 0),
    }
}

fn configuration(stage: &Stage, listen: SocketAddr, admin: SocketAddr) -> String {
    let backends: Vec<String> = NAMES
        .iter()
        .zip(&stage.backends)
        .map(|(name, address)| format!("  {{ name = \"{name}\", address = \"{address}\" }},\n"))
        .collect();
    format!(
        "[admin]\nbind = \"{admin}\"\n\n[shutdown]\ndrain = \"2s\"\n\n\
         [listener.web]\nbind = \"{listen}\"\npool = \"demo\"\n\n\
         [pool.demo]\nbackends = [\n{}]\n\n\
         [pool.demo.check.health]\ntype = \"http\"\npath = \"/health\"\ninterval = \"1s\"\nfall = 2\nrise = 2\n",
        backends.concat()
    )
}

/// Where everything is, for programs.
fn places(stage: &Stage, server: &Server) -> serde_json::Value {
    let mut places = serve::places(server);
    let at = |(name, address): (&&str, &SocketAddr)| json!({ "name": name, "address": address.to_string() });
    places["backends"] = NAMES.iter().zip(&stage.backends).map(at).collect();
    places["switch"] = json!(stage.switch.to_string());
    places
}

fn tour(stage: &Stage, server: &Server) -> String {
    let web = server.addresses.first().map_or_else(String::new, |(_, address)| address.to_string());
    let admin = server.admin.as_ref().map_or_else(String::new, ToString::to_string);
    let switch = stage.switch;
    let mut text = format!("\nEvenkeel balances http://{web} over three backends:\n");
    for (name, address) in NAMES.iter().zip(&stage.backends) {
        text.extend([format!("  {name:<6} http://{address}\n")]);
    }
    text + &format!(
        "Admin port: http://{admin} (a page for your browser; metrics, health, API)\n\n\
         Three things to try, in another terminal:\n\n\
         1. Watch requests spread:\n\
         \x20  for i in $(seq 9); do curl -s http://{web}/; done\n\n\
         2. Stop a backend while requests flow, and see none fail:\n\
         \x20  curl -s -X POST http://{switch}/stop/green\n\
         \x20  for i in $(seq 300); do curl -s -o /dev/null -w '%{{http_code}}\\n' http://{web}/; done | sort | uniq -c\n\
         \x20  evenkeel status --admin {admin}      # or: curl -s http://{admin}/api/v1/pools\n\n\
         3. See it come back:\n\
         \x20  curl -s -X POST http://{switch}/start/green\n\
         \x20  for i in $(seq 9); do curl -s http://{web}/; done\n\n\
         Ctrl-C ends it.\n\n"
    )
}

/// Starts the backends and the switch on a thread of their own.
fn set_up() -> anyhow::Result<Stage> {
    let (told, tell) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("demo-backends".into()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return told.send(Err(error.into())).unwrap_or(()),
        };
        runtime.block_on(async {
            let ready = play().await;
            let playing = ready.is_ok();
            // Whoever asked waits for exactly this.
            let _ = told.send(ready);
            if playing {
                std::future::pending::<()>().await;
            }
        });
    })?;
    tell.recv().context("the demo's backends did not start")?
}

async fn play() -> anyhow::Result<Stage> {
    let mut backends = Vec::new();
    let mut running = Vec::new();
    for (index, name) in NAMES.into_iter().enumerate() {
        let listener = listen(9001 + u16::try_from(index)?).await?;
        let address = listener.local_addr()?;
        let (on, told) = watch::channel(true);
        tokio::spawn(backend(name, address, listener, told));
        backends.push(address);
        running.push((name, on));
    }
    let listener = listen(9000).await?;
    let switch = listener.local_addr()?;
    tokio::spawn(switchboard(listener, Arc::new(Mutex::new(running))));
    Ok(Stage { backends, switch })
}

/// At this port, or at a free one when it is in use.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => Ok(listener),
        Err(_in_use) => TcpListener::bind(("127.0.0.1", 0)).await,
    }
}

/// A backend: serves while it is on, is gone while it is off.
async fn backend(name: &'static str, address: SocketAddr, first: TcpListener, mut on: watch::Receiver<bool>) {
    let mut listener = Some(first);
    loop {
        if let Some(listener) = listener.take() {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(name, &request)) });
                        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                    }
                    changed = on.wait_for(|on| !on) => {
                        if changed.is_err() { return; }
                        break;
                    }
                }
            }
            // Dropping them closes the port and every connection, as the end of a process would.
        }
        if on.wait_for(|on| *on).await.is_err() {
            return;
        }
        // The port may still be taken for a moment: it is tried again until it is free.
        listener = TcpListener::bind(address).await.ok();
        if listener.is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn answer(name: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let text = match request.uri().path() {
        "/health" => "ok\n".to_owned(),
        path => format!("{name} answers {path}\n"),
    };
    Response::new(Full::new(text.into()))
}

type Running = Arc<Mutex<Vec<(&'static str, watch::Sender<bool>)>>>;

/// `POST /stop/NAME` and `POST /start/NAME`.
async fn switchboard(listener: TcpListener, running: Running) {
    while let Ok((stream, _)) = listener.accept().await {
        let running = Arc::clone(&running);
        let service = service_fn(move |request| {
            let running = Arc::clone(&running);
            async move { Ok::<_, Infallible>(switch(&running, &request)) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn switch(running: &Running, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let wish = [("/stop/", false), ("/start/", true)]
        .into_iter()
        .find_map(|(prefix, on)| path.strip_prefix(prefix).map(|name| (name, on)));
    let running = running.lock().unwrap_or_else(PoisonError::into_inner);
    let found = wish.and_then(|(name, on)| running.iter().find(|(known, _)| *known == name).map(|found| (found, on)));
    let (status, text) = match found {
        Some(((name, backend), on)) => {
            // It has ended with the program.
            let _ = backend.send(on);
            (StatusCode::OK, format!("{name} is {}\n", if on { "started" } else { "stopped" }))
        }
        None => (StatusCode::NOT_FOUND, format!("POST /stop/NAME or /start/NAME; names: {}\n", NAMES.join(", "))),
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}
