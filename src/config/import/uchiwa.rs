//! Uchiwa's configuration, unchanged, into ours: `evenkeel import uchiwa FILE...`.
//!
//! Entries of one name are one datacenter with several Sensu APIs, so they become one pool. Each pool gets a listener
//! that Uchiwa can use in place of the APIs. Reads as Uchiwa does: keys in any case, unknown keys ignored, only the
//! first JSON value of a file, and lists of several files appended without what is there already.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::super::substitute::reason;
use super::ImportError;
use super::fields::Fields;
use super::quote::quoted;

/// What a file became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Our configuration, which loads.
    pub toml: String,
    /// What the operator should know: what could not be carried over, and what was decided.
    pub notes: Vec<String>,
}

/// Where a Sensu API listens where nothing is said.
const SENSU_PORT: u16 = 4567;

/// Where Uchiwa listens where nothing is said.
const UCHIWA_PORT: u16 = 3000;

/// Seconds that a request may take where nothing, or zero, is said.
const TIMEOUT_SECONDS: u64 = 10;

/// Before version 0.3 the timeout was in milliseconds: a larger number than this was meant so.
const TIMEOUT_SECONDS_MAX: u64 = 999;

/// One entry of `sensu`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Api {
    /// As messages call it: `sensu[0]`.
    place: String,
    name: String,
    address: String,
    local: bool,
    port: u16,
    how: Asked,
}

/// How an API is asked: everything that all backends of a pool share.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    path: String,
    tls: Tls,
    timeout_seconds: u64,
    /// The value of `Authorization`.
    authorization: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    Plain,
    Verified,
    Unverified,
}

/// Reads Uchiwa's files and turns them into ours. A folder stands for its `*.json` files in name order.
pub fn import_files(paths: &[PathBuf]) -> Result<Imported, ImportError> {
    let mut files = Vec::new();
    for path in paths {
        let named = |error: &std::io::Error| ImportError {
            file: path.display().to_string(),
            message: format!("cannot read it: {}", reason(error)),
            help: "name Uchiwa's configuration, usually /etc/sensu/uchiwa.json".into(),
        };
        let inner = if path.is_dir() { json_files(path).map_err(|error| named(&error))? } else { vec![path.clone()] };
        for file in inner {
            let text = std::fs::read_to_string(&file).map_err(|error| named(&error))?;
            files.push((file.display().to_string(), text));
        }
    }
    import(&files)
}

fn json_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let paths: std::io::Result<Vec<PathBuf>> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    Ok(paths)
}

/// Turns the texts of Uchiwa's files, the main one first and then those of its folders in name order, into ours.
pub fn import(files: &[(String, String)]) -> Result<Imported, ImportError> {
    let mut notes = Vec::new();
    let (mut entries, mut uchiwa, mut dashboard) = (Vec::<(String, Value)>::new(), Map::new(), None);
    for (file, text) in files {
        let object = first_value(file, text)?;
        append(&mut entries, file, &object)?;
        for (key, section) in &object {
            match (key.to_ascii_lowercase().as_str(), section) {
                ("uchiwa", Value::Object(section)) => uchiwa.extend(section.clone()),
                ("dashboard", Value::Object(section)) => dashboard = Some(section.clone()),
                _ => {}
            }
        }
    }
    if entries.is_empty() {
        let file = files.first().map_or("uchiwa", |(file, _)| file).to_owned();
        let help = "an Uchiwa file has \"sensu\": [{ \"name\": ..., \"host\": ... }]".into();
        return Err(ImportError { file, message: "there is no entry in `sensu`".into(), help });
    }
    let mut apis = Vec::new();
    for (place, (file, entry)) in entries.iter().enumerate() {
        apis.push(api(file, place, entry, &mut notes)?);
    }
    let own = dashboard.as_ref().unwrap_or(&uchiwa);
    let file = files.first().map_or("uchiwa", |(file, _)| file);
    let uchiwa_port = Fields { file, place: "uchiwa", object: own }.integer("port", 1..=65535)?;
    let uchiwa_port = uchiwa_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(UCHIWA_PORT);
    notes.extend(shared_keys(own));
    let pools = pools(apis, &mut notes);
    let toml = write(&pools, uchiwa_port, &mut notes);
    Ok(Imported { toml, notes })
}

/// The first JSON value of a text; what follows it is ignored, as Uchiwa does.
fn first_value(file: &str, text: &str) -> Result<Map<String, Value>, ImportError> {
    let fault = |message: String, help: &str| ImportError { file: file.to_owned(), message, help: help.to_owned() };
    match serde_json::Deserializer::from_str(text).into_iter::<Value>().next() {
        Some(Ok(Value::Object(object))) => Ok(object),
        Some(Ok(_)) => Err(fault("the file does not hold a JSON object".into(), "it should start with `{`")),
        Some(Err(error)) => Err(fault(format!("not valid JSON: {error}"), "Uchiwa would not read it either")),
        None => Err(fault("the file is empty".into(), "name an Uchiwa configuration")),
    }
}

/// Adds the entries of a file that no earlier file holds alike. Two alike within the first file are both kept.
fn append(entries: &mut Vec<(String, Value)>, file: &str, object: &Map<String, Value>) -> Result<(), ImportError> {
    let fields = Fields { file, place: "", object };
    let Some(found) = fields.get("sensu") else { return Ok(()) };
    let Value::Array(list) = found else { return Err(fields.wrong("sensu", "a list", found)) };
    let first = entries.is_empty();
    for entry in list {
        if first || !entries.iter().any(|(_, known)| known == entry) {
            entries.push((file.to_owned(), entry.clone()));
        }
    }
    Ok(())
}

fn api(file: &str, index: usize, entry: &Value, notes: &mut Vec<String>) -> Result<Api, ImportError> {
    let place = format!("sensu[{index}]");
    let Value::Object(object) = entry else {
        let message = format!("`{place}` is not an object");
        return Err(ImportError {
            file: file.to_owned(),
            message,
            help: "write { \"name\": ..., \"host\": ... }".into(),
        });
    };
    let fields = Fields { file, place: &place, object };
    let name = name(fields.text("name")?, index, &place, notes);
    let port = fields.integer("port", 1..=65535)?.and_then(|port| u16::try_from(port).ok()).unwrap_or(SENSU_PORT);
    let (address, local) = address(&fields, port, notes)?;
    let (ssl, insecure) = (fields.boolean("ssl")?, fields.boolean("insecure")?);
    let tls = match (ssl, insecure) {
        (false, _) => Tls::Plain,
        (true, false) => Tls::Verified,
        (true, true) => Tls::Unverified,
    };
    let (user, password) = (fields.text("user")?, fields.text("pass")?);
    let both = !user.is_empty() && !password.is_empty();
    if user.is_empty() != password.is_empty() {
        notes.push(format!(
            "{place} has only one of `user` and `pass`: Uchiwa then sends no credentials, and neither does the check"
        ));
    }
    let how = Asked {
        path: path(&fields, notes)?,
        tls,
        timeout_seconds: timeout(&fields, notes)?,
        authorization: both.then(|| format!("Basic {}", BASE64.encode(format!("{user}:{password}")))),
    };
    Ok(Api { place, name, address, local, port, how })
}

/// The name of a pool: as Uchiwa cleans it, then as our names must be.
fn name(text: &str, index: usize, place: &str, notes: &mut Vec<String>) -> String {
    let cleaned: String = text.chars().filter(|letter| !":/;?".contains(*letter)).collect();
    let ours = |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' };
    let name: String = cleaned.chars().map(ours).take(64).collect();
    let name = name.trim_start_matches(|letter: char| !letter.is_ascii_alphanumeric()).to_owned();
    if name.is_empty() {
        let given = format!("sensu-{index}");
        notes
            .push(format!("{place} has no usable name: its pool is called `{given}` (Uchiwa would draw a random one)"));
        return given;
    }
    if name != text {
        notes.push(format!("{place}: the name `{}` became `{name}`", text.escape_debug()));
    }
    name
}

fn address(fields: &Fields<'_>, port: u16, notes: &mut Vec<String>) -> Result<(String, bool), ImportError> {
    let host = fields.text("host")?;
    let fault =
        |message: String, help: &str| Err(ImportError { file: fields.file.to_owned(), message, help: help.to_owned() });
    let place = fields.place;
    if host.is_empty() {
        return fault(format!("`{place}` has no `host`"), "Uchiwa refuses this too: name the host of the Sensu API");
    }
    let address = if host.parse::<std::net::Ipv6Addr>().is_ok() {
        notes.push(format!(
            "{place}: the IPv6 address `{host}` stands without brackets, which Uchiwa cannot use; brackets were added"
        ));
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    match super::super::address::backend(&address) {
        Ok(parsed) => {
            let local = match &parsed {
                super::super::model::Address::Socket(address) => {
                    address.ip().is_loopback() || address.ip().is_unspecified()
                }
                super::super::model::Address::Name(name, _) => name.eq_ignore_ascii_case("localhost"),
                super::super::model::Address::Unix(_) => true,
            };
            Ok((address, local))
        }
        Err(problem) => fault(
            format!("`{place}.host` is `{}`: {}", host.escape_debug(), problem.label),
            "give a host name or an IP address; the port, `ssl` and `path` are keys of their own",
        ),
    }
}

fn path(fields: &Fields<'_>, notes: &mut Vec<String>) -> Result<String, ImportError> {
    let written = fields.text("path")?;
    if written.is_empty() {
        return Ok(String::new());
    }
    // Uchiwa appends it as it stands, so that only "/prefix" works; a slip is mended rather than carried over.
    let path = format!("/{}", written.trim_matches('/'));
    let path = if path == "/" { String::new() } else { path };
    if path != written {
        notes.push(format!("{}: the path `{}` was read as `{path}`", fields.place, written.escape_debug()));
    }
    match super::super::address::path(&format!("{path}/health")) {
        Ok(_) => Ok(path),
        Err(problem) => Err(ImportError {
            file: fields.file.to_owned(),
            message: format!("`{}.path` is `{}`: {}", fields.place, written.escape_debug(), problem.label),
            help: "write a plain prefix such as \"/site1\"".into(),
        }),
    }
}

fn timeout(fields: &Fields<'_>, notes: &mut Vec<String>) -> Result<u64, ImportError> {
    let number = fields.integer("timeout", 1..=86_400_000)?.unwrap_or(TIMEOUT_SECONDS);
    if number <= TIMEOUT_SECONDS_MAX {
        return Ok(number);
    }
    let seconds = number.div_ceil(1000);
    notes.push(format!(
        "{}: the timeout {number} was read as milliseconds, {seconds}s, as before Uchiwa 0.3",
        fields.place
    ));
    Ok(seconds)
}

/// What several instances of Uchiwa need.
fn shared_keys(own: &Map<String, Value>) -> Option<String> {
    let fields = Fields { file: "", place: "uchiwa", object: own };
    let Some(Value::Object(auth)) = fields.get("auth") else { return None };
    let auth = Fields { file: "", place: "uchiwa.auth", object: auth };
    let both = auth.get("privatekey").is_some() && auth.get("publickey").is_some();
    (!both).then(|| {
        "uchiwa.auth has no `privatekey` and `publickey`: several instances of Uchiwa behind one listener need the same \
         keys, or a login on one is unknown to the other"
            .into()
    })
}

/// Entries of one name, in the order of their first appearance.
fn pools(apis: Vec<Api>, notes: &mut Vec<String>) -> Vec<(String, Vec<Api>)> {
    let mut pools: Vec<(String, Vec<Api>)> = Vec::new();
    for api in apis {
        let Some((name, pool)) = pools.iter_mut().find(|(name, _)| *name == api.name) else {
            pools.push((api.name.clone(), vec![api]));
            continue;
        };
        if pool.iter().any(|known| known.address == api.address) {
            notes.push(format!("{}: `{}` is in pool `{name}` already; it is there once", api.place, api.address));
            continue;
        }
        if pool[0].how != api.how {
            notes.push(format!(
                "{} differs from {} in path, ssl, insecure, timeout or credentials: the check and the deadlines of pool \
                 `{name}` are those of {}; give it a pool of its own if that does not fit",
                api.place, pool[0].place, pool[0].place
            ));
        }
        pool.push(api);
    }
    pools
}

/// A pool's name as a key: quoted where a dot would divide it.
fn key(name: &str) -> String {
    if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() }
}

fn write(pools: &[(String, Vec<Api>)], uchiwa_port: u16, notes: &mut Vec<String>) -> String {
    let mut toml = String::from(
        "# Made from an Uchiwa configuration by `evenkeel import uchiwa`.\n\
         # Each datacenter is a pool with a listener of its own on this machine, from port 4567 on: give Uchiwa one entry\n\
         # for each datacenter, with that address as `host` and `port`. Credentials stay in Uchiwa's file: it sends them.\n",
    );
    // What already listens on this machine.
    let mut taken: HashSet<u16> =
        pools.iter().flat_map(|(_, apis)| apis).filter(|api| api.local).map(|api| api.port).collect();
    taken.extend([uchiwa_port, 8404]);
    let mut next = SENSU_PORT;
    for (name, apis) in pools {
        while taken.contains(&next) {
            next = next.checked_add(1).unwrap_or(1024);
        }
        taken.insert(next);
        notes.push(format!(
            "datacenter `{name}`: give Uchiwa host 127.0.0.1 and port {next} in place of its {} entries",
            apis.len()
        ));
        write_pool(&mut toml, name, apis, next, notes);
    }
    toml
}

fn write_pool(toml: &mut String, name: &str, apis: &[Api], port: u16, notes: &mut Vec<String>) {
    let (key, how) = (key(name), &apis[0].how);
    let backends: Vec<String> = apis.iter().map(|api| format!("  {},\n", quoted(&api.address))).collect();
    let _infallible = write!(
        toml,
        "\n[listener.{key}]\nbind = \"127.0.0.1:{port}\"\npool = {pool}\n\n[pool.{key}]\n\
         balance = \"random\"  # as Uchiwa itself chooses\nbackends = [\n{}]\n",
        backends.concat(),
        pool = quoted(name),
    );
    match how.tls {
        Tls::Plain => {}
        Tls::Verified => toml.push_str("tls = true  # `ssl`\n"),
        Tls::Unverified => toml.push_str("tls = { verify = false }  # `insecure`\n"),
    }
    let _infallible = write!(
        toml,
        "\n[pool.{key}.timeouts]\nresponse = \"{}s\"  # Uchiwa's `timeout`, there for the whole request\n\n\
         [pool.{key}.check.api]\ntype = \"http\"\n\
         # 204 when Redis and the transport answer, 412 when not. Uchiwa asks /info, which says 200 all the same.\n\
         path = {}\nstatus = \"200-299\"\ninterval = \"2s\"\ntimeout = \"{}s\"\n",
        how.timeout_seconds,
        quoted(&format!("{}/health", how.path)),
        how.timeout_seconds.min(2),
    );
    if let Some(authorization) = &how.authorization {
        let _infallible =
            writeln!(toml, "headers = {{ Authorization = {} }}  # `user` and `pass`", quoted(authorization));
        notes.push(format!(
            "pool `{name}`: the check carries the credentials of Uchiwa's file; keep this file as safe as that one"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{CheckKind, Config, HttpCheck, Verify};
    use crate::config::{Source, load};

    fn files(texts: &[&str]) -> Vec<(String, String)> {
        texts.iter().enumerate().map(|(index, text)| (format!("{index}.json"), (*text).to_owned())).collect()
    }

    fn imported(texts: &[&str]) -> (Config, Vec<String>) {
        let imported = import(&files(texts)).unwrap();
        let loaded = load(&Source::text(imported.toml.clone()))
            .unwrap_or_else(|problems| panic!("{}\n{problems}", imported.toml));
        // What Uchiwa's file says is not to be verified is warned of, and nothing else.
        let warnings = loaded.warnings.to_string();
        let mut kinds = warnings.lines().filter(|line| line.starts_with("warning"));
        assert!(kinds.all(|line| line.starts_with("warning[unverified]")), "{warnings}");
        (loaded.config, imported.notes)
    }

    fn check(config: &Config, pool: usize) -> HttpCheck {
        match &config.pools[pool].checks[0].kind {
            CheckKind::Http(check) => check.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn refused(text: &str) -> String {
        import(&files(&[text])).unwrap_err().to_string()
    }

    #[test]
    fn entries_of_one_name_become_one_pool() {
        let (config, _) = imported(&[r#"{ "sensu": [
            { "name": "us-east-1", "host": "10.0.0.1", "port": 4567 },
            { "name": "eu", "host": "sensu.example.com" },
            { "name": "us-east-1", "host": "10.0.0.2", "port": 0 } ] }"#]);
        let names: Vec<&str> = config.pools.iter().map(|pool| &*pool.name).collect();
        assert_eq!(names, ["us-east-1", "eu"]);
        let members: Vec<&str> = config.pools[0].members.iter().map(|member| &*member.name).collect();
        assert_eq!(members, ["10.0.0.1:4567", "10.0.0.2:4567"]);
        assert_eq!(&*config.pools[1].members[0].name, "sensu.example.com:4567");
        assert_eq!(config.pools[0].timeouts.response.as_secs(), 10);
        assert_eq!(&*check(&config, 0).request.path, "/health");
        let binds: Vec<String> = config.listeners.iter().map(|listener| listener.binds[0].to_string()).collect();
        assert_eq!(binds, ["127.0.0.1:4567", "127.0.0.1:4568"]);
    }

    #[test]
    fn keys_are_read_in_any_case_and_unknown_ones_ignored() {
        let (config, _) = imported(&[
            r#"{ "SENSU": [{ "Name": "a", "HOST": "h", "Port": 1234, "color": 1, "path": null }], "x": {} } trailing {"#,
        ]);
        assert_eq!(&*config.pools[0].members[0].name, "h:1234");
    }

    #[test]
    fn credentials_count_only_together() {
        let (config, notes) = imported(&[r#"{ "sensu": [
            { "name": "a", "host": "h", "user": "u", "pass": "p${X}\"" },
            { "name": "b", "host": "h", "user": "u" } ] }"#]);
        assert_eq!(&*check(&config, 0).request.headers[0].1, "Basic dTpwJHtYfSI=");
        assert!(check(&config, 1).request.headers.is_empty());
        assert!(notes.iter().any(|note| note.contains("only one of")), "{notes:?}");
    }

    #[test]
    fn path_ssl_insecure_and_timeout_are_carried_over() {
        let (config, _) = imported(&[r#"{ "sensu": [
            { "name": "a", "host": "h", "path": "/site2", "ssl": true, "timeout": 3 },
            { "name": "b", "host": "h", "path": "site3/", "ssl": true, "insecure": true, "timeout": 5000 },
            { "name": "c", "host": "h", "insecure": true, "timeout": 0 } ] }"#]);
        assert_eq!(&*check(&config, 0).request.path, "/site2/health");
        assert_eq!(check(&config, 0).request.tls.unwrap().verify, Verify::System);
        assert_eq!(check(&config, 1).request.tls.unwrap().verify, Verify::Nothing);
        assert_eq!(&*check(&config, 1).request.path, "/site3/health");
        assert!(check(&config, 2).request.tls.is_none());
        let timeouts: Vec<u64> = config.pools.iter().map(|pool| pool.timeouts.response.as_secs()).collect();
        assert_eq!(timeouts, [3, 5, 10]);
        let over_tls: Vec<bool> = config.pools.iter().map(|pool| pool.tls.is_some()).collect();
        assert_eq!(over_tls, [true, true, false], "requests go as the check does");
    }

    #[test]
    fn names_are_cleaned_as_uchiwa_does_and_given_where_absent() {
        let (config, notes) = imported(&[
            r#"{ "sensu": [{ "name": "a:/;?b", "host": "h" }, { "host": "h" }, { "name": "ab", "host": "i" },
            { "name": "New York", "host": "h" }, { "name": "dc.1", "host": "h" }] }"#,
        ]);
        let names: Vec<&str> = config.pools.iter().map(|pool| &*pool.name).collect();
        assert_eq!(names, ["ab", "sensu-1", "New-York", "dc.1"]);
        assert_eq!(config.pools[0].members.len(), 2);
        assert!(notes.iter().any(|note| note.contains("`New York` became `New-York`")));
    }

    #[test]
    fn ipv6_stands_in_brackets() {
        let (config, notes) = imported(&[
            r#"{ "sensu": [{ "name": "a", "host": "[2001:db8::1]" }, { "name": "a", "host": "2001:db8::2" }] }"#,
        ]);
        assert_eq!(&*config.pools[0].members[0].name, "[2001:db8::1]:4567");
        assert_eq!(&*config.pools[0].members[1].name, "[2001:db8::2]:4567");
        assert!(notes.iter().any(|note| note.contains("brackets were added")));
    }

    #[test]
    fn files_of_a_folder_are_appended_without_what_is_there() {
        let (config, _) = imported(&[
            r#"{ "sensu": [{ "name": "a", "host": "h1" }, { "name": "b", "host": "h2" }] }"#,
            r#"{ "sensu": [{ "name": "a", "host": "h1" }, { "name": "a", "host": "h3" }] }"#,
            r#"{ "uchiwa": { "port": 3001 } }"#,
        ]);
        assert_eq!(config.pools[0].members.len(), 2);
        assert_eq!(config.pools[1].members.len(), 1);
    }

    #[test]
    fn the_same_address_twice_in_a_pool_is_there_once() {
        let (config, notes) =
            imported(&[r#"{ "sensu": [{ "name": "a", "host": "h" }, { "name": "a", "host": "h" }] }"#]);
        assert_eq!(config.pools[0].members.len(), 1);
        assert!(notes.iter().any(|note| note.contains("it is there once")));
    }

    #[test]
    fn listeners_keep_clear_of_what_listens_on_this_machine() {
        let (config, _) =
            imported(&[r#"{ "sensu": [{ "name": "a", "host": "localhost" }, { "name": "b", "host": "h" }],
            "uchiwa": { "port": 4568 }, "dashboard": { "port": 4569 } }"#]);
        let ports: Vec<u16> = config.listeners.iter().map(|listener| listener.binds[0].ip().unwrap().port()).collect();
        assert_eq!(ports, [4568, 4570], "4567 is the API's, 4569 the dashboard's, which replaces `uchiwa`");
    }

    #[test]
    fn a_folder_stands_for_its_files_in_name_order() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, host: &str| {
            let text = format!(r#"{{ "sensu": [{{ "name": "a", "host": "{host}" }}] }}"#);
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        write("main.json", "h1");
        std::fs::create_dir(folder.path().join("more")).unwrap();
        write("more/2.json", "h3");
        write("more/1.json", "h2");
        write("more/notes.txt", "h4");
        let toml = import_files(&[folder.path().join("main.json"), folder.path().join("more")]).unwrap().toml;
        assert!(toml.contains("  \"h1:4567\",\n  \"h2:4567\",\n  \"h3:4567\",\n]"), "{toml}");
        let error = import_files(&[folder.path().join("nope.json")]).unwrap_err().to_string();
        assert!(error.contains("there is no such file"), "{error}");
    }

    #[test]
    fn missing_shared_keys_are_noted() {
        let one = r#"{ "sensu": [{ "name": "a", "host": "h" }], "uchiwa": { "auth": { "privatekey": "/k" } } }"#;
        assert!(imported(&[one]).1.iter().any(|note| note.contains("`publickey`")));
    }

    #[test]
    fn what_uchiwa_refuses_is_refused() {
        assert_eq!(
            refused(r#"{ "sensu": [{ "name": "a" }] }"#),
            "0.json: `sensu[0]` has no `host`; Uchiwa refuses this too: name the host of the Sensu API"
        );
        assert_eq!(
            refused(r#"{ "sensu": [{ "name": "a", "host": "h", "port": "4567" }] }"#),
            "0.json: `sensu[0].port` is text; it should be a whole number up to 65535; Uchiwa refuses this too"
        );
        for text in ["", "[]", "{", "{}", r#"{ "sensu": {} }"#, r#"{ "sensu": [1] }"#, r#"{ "sensu": [] }"#] {
            refused(text);
        }
        assert!(refused(r#"{ "sensu": [{ "host": "http://h" }] }"#).contains("without scheme and path"));
        assert!(refused(r#"{ "sensu": [{ "host": "h", "port": 99999 }] }"#).contains("65535"));
        assert!(refused(r#"{ "sensu": [{ "host": "h", "path": "/a b" }] }"#).contains("plain prefix"));
    }
}
