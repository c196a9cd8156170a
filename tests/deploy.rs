//! What `deploy/` promises: images, compose files, manifests and the Debian package fit the program as it is.
//!
//! The program runs as its image runs it (an empty read-only root, user 65532, no privilege) where the test is root; the
//! image is built and run where Docker is. Where one of them is missing, the test says so and ends.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told what was left out")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use evenkeel::config::{self, Color, Source, model};
use serde_json::Value;
use support::eventually::DEADLINE;
use support::process::{PROGRAM, free_address};
use support::{Client, Origin, eventually, yaml};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A configuration of `deploy/`, with the token of the examples in the place of the one that is mounted.
fn load(name: &str, text: &str) -> model::Config {
    let token = root().join("deploy/compose/token");
    let token = token.to_str().unwrap();
    let text = ["/run/secrets/evenkeel-token", "/run/secrets/evenkeel/token"]
        .iter()
        .fold(text.to_owned(), |text, mounted| text.replace(mounted, token));
    let source = Source::Text { name: name.to_owned(), text };
    let environment = |name: &str| (name == "DC").then(|| "a".into());
    match config::load_with(&source, &environment) {
        Ok(loaded) => {
            assert!(loaded.warnings.is_empty(), "{name}: {}", loaded.warnings.render(Color::Plain, ""));
            loaded.config
        }
        Err(problems) => panic!("{}", problems.render(Color::Plain, name)),
    }
}

/// Whether a command is there; says so where it is not.
fn there(command: &str, arguments: &[&str]) -> bool {
    let works = Command::new(command).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let works = works.is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: `{command} {}` does not work here", arguments.join(" "));
    }
    works
}

#[track_caller]
fn done(command: &mut Command) -> String {
    let output: Output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

// === the image ===

/// Instructions of the Dockerfile: the word, and the rest of its lines.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let whole = lines.join("\n").replace("\\\n", " ");
    let said = whole.lines().filter(|line| !line.trim().is_empty());
    said.map(|line| line.split_once(' ').unwrap())
        .map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()))
        .collect()
}

/// The command of `HEALTHCHECK … CMD [...]`.
fn health_command(instructions: &[(String, String)]) -> Vec<String> {
    let (_, said) = instructions.iter().find(|(word, _)| word == "HEALTHCHECK").unwrap();
    serde_json::from_str(said.split_once("CMD ").unwrap().1).unwrap()
}

#[test]
fn what_the_dockerfile_copies_exists_and_what_it_says_holds() {
    let said = instructions(&read("deploy/Dockerfile"));
    let known = [
        "ARG",
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "LABEL",
        "USER",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    ];
    let ignored = read(".dockerignore");
    for (word, rest) in &said {
        assert!(known.contains(&word.as_str()), "{word}");
        if word == "FROM" {
            assert!(rest.starts_with("${"), "base images come in by build argument: {rest}");
        }
        let copied: Vec<&str> = rest.split(' ').collect();
        if word == "COPY" && !rest.starts_with("--from") {
            for source in &copied[..copied.len() - 1] {
                assert!(root().join(source).exists(), "{source}");
                assert!(ignored.lines().all(|line| line != *source), "{source} is kept out by .dockerignore");
            }
        }
    }
    // What the sources take in from beside them must be there when they are built.
    let copies = |path: &str| said.iter().any(|(word, rest)| word == "COPY" && rest.contains(path));
    for line in taken_in(&root().join("src")) {
        let path = line.trim_start_matches("../");
        assert!(!root().join(path).exists() || copies(path), "{line} is taken in, and not copied");
    }
    let one = |wanted: &str| &said.iter().find(|(word, _)| word == wanted).unwrap().1;
    assert_eq!((one("USER"), one("STOPSIGNAL")), (&"65532:65532".to_owned(), &"SIGTERM".to_owned()));
    assert_eq!(health_command(&said), ["/evenkeel", "health"]);
    assert_eq!(one("ENTRYPOINT"), "[\"/evenkeel\"]");
    assert!(one("EXPOSE").contains("8404"), "the admin port");
}

/// What `include_str!` and its neighbours name, in all files of a folder.
fn taken_in(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(taken_in(&path));
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            let named = text.split("include_").skip(1).filter_map(|rest| rest.split('"').nth(1));
            found.extend(named.map(str::to_owned));
        }
    }
    assert!(!found.is_empty() || folder != root().join("src"));
    found
}

/// A folder with the program and the libraries of a debug build, which a static one does without.
fn image_root() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let into = |from: &str, to: &str| {
        let to = folder.path().join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    into(PROGRAM, "/evenkeel");
    let libraries = Command::new("ldd").arg(PROGRAM).output().unwrap();
    for line in String::from_utf8(libraries.stdout).unwrap().lines() {
        if let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) {
            into(path, path);
        }
    }
    folder
}

fn image_config(listen: &str, admin: &str, backend: &str) -> String {
    format!(
        "[admin]\nbind = '{admin}'\n[listener.web]\nbind = '{listen}'\npool = 'p'\n\
         [pool.p]\nbackends = ['{backend}']\ncheck.home = {{ type = 'http', interval = '100ms' }}\n"
    )
}

/// A command in such a root that nobody can write to, as the user of the image, who may do nothing else.
fn as_the_image_does(folder: &Path, command: &[String]) -> Command {
    let mut inside = Command::new("unshare");
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" && \
                  exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid \
                  chroot --userspec=65532:65532 --groups= \"$0\" \"$@\"";
    inside.args(["--mount", "sh", "-c", script]).arg(folder).args(command);
    inside
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_program_serves_from_an_empty_read_only_root_without_any_privilege() {
    if !there("unshare", &["--mount", "true"]) || !there("setpriv", &["--version"]) {
        return;
    }
    let said = instructions(&read("deploy/Dockerfile"));
    let origin = Origin::http().reply("a").start();
    let folder = image_root();
    let (listen, admin) = (free_address(), free_address());
    let config = folder.path().join("etc/evenkeel");
    fs::create_dir_all(&config).unwrap();
    let text = image_config(&listen.to_string(), &admin.to_string(), &origin.addr().to_string());
    fs::write(config.join("evenkeel.toml"), text).unwrap();
    let command = ["/evenkeel", "run"].map(str::to_owned);
    let mut child = Ended(as_the_image_does(folder.path(), &command).spawn().unwrap());
    let health = || {
        let mut asked = as_the_image_does(folder.path(), &health_command(&said));
        asked.env("EVENKEEL_ADMIN", admin.to_string()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
    };
    eventually("the image's health check is good", DEADLINE, || health().success());
    let mut client = Client::connect(listen);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_response().text(), "a");
    let status = fs::read_to_string(format!("/proc/{}/status", child.0.id())).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert!(field("Uid:").starts_with("65532"), "{status}");
    assert_eq!((field("CapEff:"), field("NoNewPrivs:")), ("0000000000000000".to_owned(), "1".to_owned()));
    done(Command::new("kill").args(["-TERM", &child.0.id().to_string()]));
    drop(client);
    assert!(child.0.wait().unwrap().success(), "it ends in order");
    assert!(!health().success(), "and then its health check is bad");
}

/// The image as the Dockerfile makes it, but for the release build: its last stage, on the libraries of a debug build.
fn build_image(tag: &str) {
    let folder = image_root();
    fs::create_dir_all(folder.path().join("out")).unwrap();
    fs::rename(folder.path().join("evenkeel"), folder.path().join("out/evenkeel")).unwrap();
    fs::create_dir_all(folder.path().join("etc/ssl/certs")).unwrap();
    fs::write(folder.path().join("etc/ssl/certs/ca-certificates.crt"), "").unwrap();
    let libraries: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("lib"))
        .map(|name| format!("COPY {name} /{name}\n"))
        .collect();
    let text = read("deploy/Dockerfile");
    let last = &text[text.rfind("FROM ").unwrap()..];
    let derived = format!(
        "ARG BASE=scratch\nFROM scratch AS libraries\n{}\nFROM scratch AS build\nCOPY out /out\nCOPY etc /etc\n\n{last}",
        libraries.concat()
    );
    fs::write(folder.path().join("Dockerfile"), derived).unwrap();
    done(
        Command::new("docker")
            .args(["build", "--quiet", "--build-arg", "BASE=libraries", "--build-arg", "VERSION=test", "--tag", tag])
            .arg(folder.path()),
    );
}

/// A container and its image, which go with it.
struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        for arguments in [["rm", "--force", &self.0], ["rmi", "--force", &self.0]] {
            let _ = Command::new("docker").args(arguments).output();
        }
    }
}

#[test]
fn the_image_runs_without_capabilities_on_a_read_only_root_where_docker_is() {
    if !there("docker", &["info"]) {
        return;
    }
    let said = instructions(&read("deploy/Dockerfile"));
    let container = Container(format!("evenkeel-test-{}", std::process::id()));
    let name = container.0.as_str();
    build_image(name);
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Its own admin port answers for the backend: nothing else is in there.
    let text = image_config("127.0.0.1:80", "127.0.0.1:8404", "127.0.0.1:8404")
        .replace("type = 'http'", "type = 'http', path = '/livez'");
    fs::write(folder.path().join("evenkeel.toml"), text).unwrap();
    let mount = format!("{}:/etc/evenkeel:ro", folder.path().display());
    done(Command::new("docker").args([
        "run",
        "--detach",
        "--name",
        name,
        "--network",
        "none",
        "--read-only",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--volume",
        &mount,
        name,
    ]));
    let exec = |command: &[String]| Command::new("docker").args(["exec", name]).args(command).output().unwrap();
    let mut last = String::new();
    eventually("the health check in the container is good", Duration::from_secs(60), || {
        let output = exec(&health_command(&said));
        last = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success()
    });
    let status = exec(&["/evenkeel", "status"].map(str::to_owned));
    assert!(String::from_utf8_lossy(&status.stdout).contains("up"), "{status:?} {last}");
    let facts: Value = serde_json::from_str(&done(Command::new("docker").args(["inspect", name]))).unwrap();
    let config = &facts[0]["Config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(config["Healthcheck"]["Test"], serde_json::json!(["CMD", "/evenkeel", "health"]));
    assert_eq!(config["Labels"]["org.opencontainers.image.version"], "test");
    done(Command::new("docker").args(["stop", "--time", "40", name]));
    let facts: Value = serde_json::from_str(&done(Command::new("docker").args(["inspect", name]))).unwrap();
    assert_eq!(facts[0]["State"]["ExitCode"], 0, "it ends in order, not by force");
}

// === compose ===

const COMPOSED: [&str; 3] = ["deploy/compose", "deploy/compose/grafana", "deploy/compose/two-datacenters"];

fn seconds(text: &str) -> Duration {
    config::duration(text).unwrap()
}

/// Longer than a stop in order may take.
fn outlasts(config: &model::Config, grace: Duration, who: &str) {
    let needed = config.shutdown.lead + config.shutdown.drain;
    assert!(grace > needed, "{who}: {grace:?} is not longer than {needed:?}");
}

#[test]
fn compose_files_mount_what_exists_and_fit_the_configurations_beside_them() {
    for folder in COMPOSED {
        let file = yaml::documents(&read(&format!("{folder}/compose.yaml"))).remove(0);
        let services = file["services"].as_object().unwrap();
        let mut balancers = 0;
        for (name, service) in services {
            let who = format!("{folder}: {name}");
            assert!(service.get("image").is_some() != service.get("build").is_some(), "{who}");
            for mount in service["volumes"].as_array().into_iter().flatten() {
                let source = mount.as_str().unwrap().split(':').next().unwrap();
                let volume = file["volumes"].get(source).is_some();
                assert!(volume || root().join(folder).join(source).exists(), "{who}: {source}");
            }
            let depends = &service["depends_on"];
            let listed = depends.as_array().into_iter().flatten().map(|name| name.as_str().unwrap().to_owned());
            for other in listed.chain(depends.as_object().into_iter().flatten().map(|(name, _)| name.clone())) {
                assert!(services.contains_key(&other), "{who} depends on {other}");
            }
            if service.get("build").is_some() {
                balancers += 1;
                balancer(folder, &who, service, services);
            }
        }
        assert!(balancers > 0, "{folder}");
    }
}

fn balancer(folder: &str, who: &str, service: &Value, services: &serde_json::Map<String, Value>) {
    let build = &service["build"];
    let context = root().join(folder).join(build["context"].as_str().unwrap());
    assert!(context.join(build["dockerfile"].as_str().unwrap()).exists(), "{who}");
    assert_eq!(service["read_only"], true, "{who}");
    assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{who}");
    assert_eq!(service["security_opt"], serde_json::json!(["no-new-privileges:true"]), "{who}");
    let mounts = service["volumes"].as_array().unwrap();
    let own = mounts.iter().find_map(|mount| mount.as_str()?.strip_suffix(":/etc/evenkeel/evenkeel.toml:ro")).unwrap();
    let config = load(who, &read(&format!("{folder}/{own}")));
    outlasts(&config, seconds(service["stop_grace_period"].as_str().unwrap()), who);
    let bound: Vec<u16> = config
        .listeners
        .iter()
        .flat_map(|listener| &listener.binds)
        .filter_map(|site| Some(site.ip()?.port()))
        .collect();
    for port in service["ports"].as_array().into_iter().flatten() {
        let inside = port.as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        assert!(bound.contains(&inside), "{who}: nobody listens on {inside}");
    }
    for member in config.pools.iter().flat_map(|pool| &pool.members) {
        let model::Address::Name(name, _) = &member.address else { panic!("{who}: backends are services") };
        assert!(services.contains_key(&**name), "{who}: no service {name}");
    }
}

#[test]
fn compose_itself_reads_the_compose_files_where_it_is() {
    if !there("docker-compose", &["version"]) {
        return;
    }
    for folder in COMPOSED {
        done(Command::new("docker-compose").args(["config", "--quiet"]).current_dir(root().join(folder)));
    }
}

#[test]
fn the_tier_outside_asks_what_the_tier_inside_answers() {
    let outer = load("outer", &read("deploy/compose/two-datacenters/outer.toml"));
    let inner = load("inner", &read("deploy/compose/two-datacenters/inner.toml"));
    let file = yaml::documents(&read("deploy/compose/two-datacenters/compose.yaml")).remove(0);
    let check = &outer.pools[0].checks[0];
    let admin = inner.admin.bind.as_ref().and_then(model::Site::ip).unwrap();
    assert!(format!("{check:?}").contains(&format!("{}", admin.port())), "{check:?}");
    assert!(format!("{check:?}").contains(&format!("/readyz?pool={}", inner.pools[0].name)), "{check:?}");
    for member in &outer.pools[0].members {
        assert_eq!(member.address.port(), inner.listeners[0].binds[0].ip().map(|address| address.port()));
    }
    let edge = file["networks"]["edge"]["ipam"]["config"][0]["subnet"].as_str().unwrap();
    assert_eq!(inner.listeners[0].trusted_proxies, [edge.parse().unwrap()]);
    // What takes the tier outside to notice must be less than the time in which the tier inside still accepts.
    let noticed = check.timing.interval * check.timing.fall.get() + check.timing.timeout;
    assert!(noticed < inner.shutdown.lead, "{noticed:?}");
}

// === Kubernetes ===

fn kind<'a>(manifests: &'a [Value], wanted: &str) -> &'a Value {
    manifests.iter().find(|manifest| manifest["kind"] == wanted).unwrap()
}

#[test]
fn the_manifests_fit_the_configuration_that_they_carry() {
    let manifests = yaml::documents(&read("deploy/kubernetes/evenkeel.yaml"));
    for (wanted, version) in
        [("ConfigMap", "v1"), ("Deployment", "apps/v1"), ("Service", "v1"), ("PodDisruptionBudget", "policy/v1")]
    {
        assert_eq!(kind(&manifests, wanted)["apiVersion"], version);
    }
    let config = load("evenkeel.toml", kind(&manifests, "ConfigMap")["data"]["evenkeel.toml"].as_str().unwrap());
    let deployment = &kind(&manifests, "Deployment")["spec"];
    let pod = &deployment["template"]["spec"];
    let container = &pod["containers"][0];
    outlasts(&config, Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().unwrap()), "the pod");
    let named = |name: &str| {
        let ports = container["ports"].as_array().unwrap();
        ports.iter().find(|port| port["name"] == name).unwrap()["containerPort"].as_u64().unwrap()
    };
    let port = |site: &model::Site| u64::from(site.ip().unwrap().port());
    assert_eq!(named("web"), port(&config.listeners[0].binds[0]));
    assert_eq!(named("admin"), port(config.admin.bind.as_ref().unwrap()));
    assert_eq!(kind(&manifests, "Service")["spec"]["ports"][0]["targetPort"], "web");
    for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/livez"), ("startupProbe", "/livez")] {
        assert_eq!(container[probe]["httpGet"], serde_json::json!({ "path": path, "port": "admin" }));
    }
    // The pod leaves the endpoints while the balancer still accepts.
    let ready = &container["readinessProbe"];
    let noticed = ready["periodSeconds"].as_u64().unwrap() * ready["failureThreshold"].as_u64().unwrap();
    assert!(Duration::from_secs(noticed + ready["timeoutSeconds"].as_u64().unwrap()) < config.shutdown.lead);
    let labels = &deployment["template"]["metadata"]["labels"];
    for selector in [
        &deployment["selector"]["matchLabels"],
        &kind(&manifests, "Service")["spec"]["selector"],
        &kind(&manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ] {
        assert_eq!(selector, labels);
    }
    assert!(kind(&manifests, "PodDisruptionBudget")["spec"]["minAvailable"].as_u64() < deployment["replicas"].as_u64());
}

#[test]
fn the_pod_keeps_to_the_restricted_standard_and_mounts_what_it_names() {
    let manifests = yaml::documents(&read("deploy/kubernetes/evenkeel.yaml"));
    let pod = &kind(&manifests, "Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65532, "the user of the image");
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let own = &container["securityContext"];
    assert_eq!(own["allowPrivilegeEscalation"], false);
    assert_eq!(own["readOnlyRootFilesystem"], true);
    assert_eq!(own["capabilities"], serde_json::json!({ "drop": ["ALL"] }));
    let volumes: Vec<&Value> = pod["volumes"].as_array().unwrap().iter().map(|volume| &volume["name"]).collect();
    let mounts = container["volumeMounts"].as_array().unwrap();
    assert_eq!(volumes, mounts.iter().map(|mount| &mount["name"]).collect::<Vec<_>>());
    let below = |path: &str| mounts.iter().any(|mount| path.starts_with(mount["mountPath"].as_str().unwrap()));
    let text = kind(&manifests, "ConfigMap")["data"]["evenkeel.toml"].as_str().unwrap();
    let token = text.split("token_file = \"").nth(1).unwrap().split('"').next().unwrap();
    let state = text.split("state_file = \"").nth(1).unwrap().split('"').next().unwrap();
    let config = container["args"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(below(token) && below(state) && below(config), "{token}, {state}, {config}");
    let told = container["env"].as_array().unwrap().iter().find(|one| one["name"] == "EVENKEEL_TOKEN_FILE").unwrap();
    assert_eq!(told["value"], token);
}

// === the Debian package ===

#[test]
fn the_debian_package_installs_keeps_what_was_edited_and_leaves_nothing() {
    if !there("dpkg-deb", &["--version"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let built = done(
        Command::new(root().join("deploy/debian/build")).args(["--binary", PROGRAM, "--output"]).arg(folder.path()),
    );
    let package = built.lines().last().unwrap();
    assert!(package.contains(&format!("/evenkeel_{}_", env!("CARGO_PKG_VERSION"))), "{package}");
    let listed = done(Command::new("dpkg-deb").args(["--contents", package]));
    for file in [
        "./usr/bin/evenkeel",
        "./etc/evenkeel/evenkeel.toml",
        "./usr/lib/systemd/system/evenkeel.service",
        "./usr/share/doc/evenkeel/copyright",
        "./usr/share/doc/evenkeel/changelog.gz",
        "./usr/share/doc/evenkeel/reference.toml",
        "./usr/share/man/man1/evenkeel.1.gz",
        "./usr/share/man/man1/evenkeel-status.1.gz",
        "./usr/share/man/man1/evenkeel-import-nginx.1.gz",
        "./usr/share/bash-completion/completions/evenkeel",
        "./usr/share/zsh/vendor-completions/_evenkeel",
        "./usr/share/fish/vendor_completions.d/evenkeel.fish",
    ] {
        let line = listed
            .lines()
            .find(|line| line.ends_with(&format!(" {file}")))
            .unwrap_or_else(|| panic!("no {file} in\n{listed}"));
        assert!(line.contains(" root/root "), "{line}");
        let rights = if file.ends_with("bin/evenkeel") {
            "-rwxr-xr-x"
        } else if file.starts_with("./etc") {
            "-rw-r-----"
        } else {
            "-rw-r--r--"
        };
        assert!(line.starts_with(rights), "{line}");
    }
    let out = folder.path().join("out");
    done(Command::new("dpkg-deb").args(["--raw-extract", package]).arg(&out));
    let page = done(Command::new("gzip").args(["-dc"]).arg(out.join("usr/share/man/man1/evenkeel-status.1.gz")));
    assert!(page.contains(".SH NAME\nevenkeel\\-status \\- "), "{page}");
    let conffiles = fs::read_to_string(out.join("DEBIAN/conffiles")).unwrap();
    assert_eq!(conffiles, "/etc/evenkeel/evenkeel.toml\n");
    let unit = fs::read_to_string(out.join("usr/lib/systemd/system/evenkeel.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/evenkeel ") && !unit.contains("/usr/local"), "{unit}");
    done(Command::new("md5sum").args(["--check", "--quiet", "DEBIAN/md5sums"]).current_dir(&out));
    let checked =
        done(Command::new(out.join("usr/bin/evenkeel")).arg("check").arg(out.join("etc/evenkeel/evenkeel.toml")));
    assert!(checked.contains("is good"), "{checked}");
    installed(folder.path(), package);
}

/// In a root of its own, which only root may do.
fn installed(folder: &Path, package: &str) {
    if !there("unshare", &["--mount", "true"]) {
        return;
    }
    let system = folder.join("system");
    for inner in ["etc", "var/lib/dpkg/info", "var/lib/dpkg/updates"] {
        fs::create_dir_all(system.join(inner)).unwrap();
    }
    for file in ["etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "var/lib/dpkg/status"] {
        fs::write(system.join(file), "").unwrap();
    }
    let dpkg = |arguments: &[&str]| {
        let mut command = Command::new("dpkg");
        command.arg(format!("--root={}", system.display())).args(["--force-script-chrootless", "--force-depends"]);
        done(command.args(arguments))
    };
    dpkg(&["--install", package]);
    let users = fs::read_to_string(system.join("etc/passwd")).unwrap();
    assert!(users.starts_with("evenkeel:") && users.trim_end().ends_with("/usr/sbin/nologin"), "{users}");
    let config = system.join("etc/evenkeel/evenkeel.toml");
    let edited = fs::read_to_string(&config).unwrap() + "# edited\n";
    fs::write(&config, &edited).unwrap();
    dpkg(&["--install", package]);
    assert_eq!(fs::read_to_string(&config).unwrap(), edited, "an upgrade keeps what was edited");
    assert_eq!(fs::read_to_string(system.join("etc/passwd")).unwrap(), users, "and makes no second user");
    dpkg(&["--remove", "evenkeel"]);
    assert!(config.exists() && !system.join("usr/bin/evenkeel").exists());
    fs::create_dir_all(system.join("var/lib/evenkeel")).unwrap();
    dpkg(&["--purge", "evenkeel"]);
    assert!(!config.exists() && !system.join("var/lib/evenkeel").exists());
}
