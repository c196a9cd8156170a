//! `[tracing]`: where traces go, and of which requests they tell.

use std::sync::Arc;

use super::super::model::{Parent, Tracing};
use super::super::section::{Choice, Section};
use super::super::units::Fault;
use super::super::vocabulary::TRACING;

/// The share of requests that is recorded where nothing is said.
const SAMPLE: f32 = 0.01;

/// The port of OTLP over HTTP where none is given, and its path for traces.
const PORT: u16 = 4318;
const PATH: &str = "/v1/traces";

const PARENT: Choice<Parent> = Choice {
    words: &[("honour", Parent::Honour), ("ignore", Parent::Ignore)],
    foreign: &[("honor", "honour"), ("parentbased", "honour"), ("respect", "honour"), ("drop", "ignore")],
    later: &[],
};

pub(super) fn tracing(top: &Section<'_>) -> Option<Arc<Tracing>> {
    let section = top.section("tracing", &TRACING)?;
    if !section.has("otlp") {
        section.missing("otlp", format!("write otlp = \"http://127.0.0.1:{PORT}{PATH}\", or take the section out"));
    }
    let collector = section.parsed("otlp", collector);
    let sample = section.share("sample").unwrap_or(SAMPLE);
    let parent = section.choice("parent", &PARENT).unwrap_or(Parent::Honour);
    let service = section.text("service_name").unwrap_or("evenkeel").into();
    // What is missing has been reported.
    let (written, host, port, path) = collector?;
    Some(Arc::new(Tracing { written, host, port, path, sample, parent, service }))
}

type Collector = (Arc<str>, Arc<str>, u16, Arc<str>);

fn collector(text: &str) -> Result<Collector, Fault> {
    let fault = |label: &str, help: String| {
        Fault::new("address", format!("`{text}` is not the address of a collector"), label).help(help)
    };
    let usual = format!("write \"http://127.0.0.1:{PORT}{PATH}\"");
    if text.starts_with("https://") {
        let problem = Fault::new("not-supported-yet", "a collector over https is not supported yet", "a later feature");
        return Err(problem.help("send traces to a collector on this machine, which can pass them on by TLS"));
    }
    let Some(rest) = text.strip_prefix("http://") else { return Err(fault("no URL", usual)) };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, digits)) if !digits.ends_with(']') => (host, digits.parse().ok().filter(|port| *port > 0)),
        _ => (authority, Some(PORT)),
    };
    let Some(port) = port else { return Err(fault("not a port", usual)) };
    if port == 4317 {
        return Err(fault("the port of gRPC", format!("collectors take HTTP on port {PORT}")));
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('@') {
        return Err(fault("which host?", usual));
    }
    let path = if path.is_empty() || path == "/" { PATH } else { path };
    Ok((text.into(), host.into(), port, path.into()))
}
