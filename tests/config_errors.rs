//! What an operator reads when a configuration is wrong: input and exact output, one pair for each file in
//! `tests/golden/config`.
//!
//! `EVENKEEL_BLESS=1 cargo test --test config_errors` writes the output anew; look at the difference before keeping it.

use std::path::{Path, PathBuf};

use evenkeel::config::model::Protocol;
use evenkeel::config::{self, Color, Flags, Source};

const MARK: &str = "\n======== prints\n";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config")
}

fn environment(name: &str) -> Option<String> {
    match name {
        "BACKEND" => Some("10.0.0.1:99999".into()),
        "EMPTY" => Some(String::new()),
        "GOOD" => Some("10.0.0.1:80".into()),
        _ => None,
    }
}

/// What loading prints: problems, or warnings, or nothing to say.
fn printed(source: &Source) -> String {
    match config::load_with(source, &environment) {
        Ok(loaded) => loaded.warnings.render(Color::Plain, "the configuration is taken"),
        Err(problems) => problems.render(Color::Plain, "the running configuration stays"),
    }
}

#[test]
fn every_mistake_is_answered_as_in_the_golden_files() {
    let bless = std::env::var_os("EVENKEEL_BLESS").is_some();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(paths.len() > 30, "the golden files are missing");
    let mut wrong = Vec::new();
    for path in paths {
        let content = std::fs::read_to_string(&path).unwrap();
        let (input, expected) = content.split_once(MARK).unwrap_or((content.trim_end(), ""));
        let actual = printed(&Source::text(format!("{input}\n")));
        if bless {
            std::fs::write(&path, format!("{input}{MARK}{actual}")).unwrap();
        } else if actual != expected {
            wrong.push(format!("{}\n--- expected\n{expected}\n--- printed\n{actual}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_problem_is_also_said_to_programs() {
    let problems = config::load(&Source::text(
        "[listener.web]\nbind = \"0.0.0.0:80\"\npool = \"wbe\"\n\n[pool.web]\nbackends = [\"a:1\"]\n",
    ))
    .unwrap_err();
    let json = serde_json::to_value(problems.report()).unwrap();
    assert_eq!(json[0]["file"], "evenkeel.toml");
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&3.into(), &8.into()));
    assert_eq!((&json[0]["end_line"], &json[0]["end_column"]), (&3.into(), &13.into()));
    assert_eq!(json[0]["severity"], "error");
    assert_eq!(json[0]["code"], "unknown-pool");
    assert_eq!(json[0]["message"], "there is no pool `wbe`");
    assert_eq!(json[0]["help"], "did you mean `web`?");
    assert_eq!(json[0]["second"]["line"], 5);
}

#[test]
fn colours_are_for_terminals_only() {
    let problems = config::load(&Source::text("nonsense = 1\n")).unwrap_err();
    assert!(!problems.render(Color::Plain, "").contains('\u{1b}'));
    assert!(problems.render(Color::Terminal, "").contains('\u{1b}'));
}

fn text(problems: &config::Problems) -> String {
    problems.render(Color::Plain, "")
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nope.toml");
    let problems = config::load(&Source::Path(path.clone())).unwrap_err();
    let expected = format!(
        "error[no-file]: cannot read the configuration `{}`: there is no such file\n |\n \
         = help: name an existing file or folder; config/quickstart.toml is a small example\n\n1 error\n",
        path.display()
    );
    assert_eq!(text(&problems), expected);
    let problems = config::load(&Source::Path(folder.path().to_owned())).unwrap_err();
    assert!(text(&problems).contains("holds no `*.toml` file"), "{problems}");
}

#[test]
fn files_of_a_folder_are_merged_by_key_in_name_order() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).unwrap();
    write(
        "10-web.toml",
        "[listener.web]\nbind = \"127.0.0.1:0\"\n[[listener.web.route]]\npath = \"/a\"\npool = \"a\"\n",
    );
    write("20-a.toml", "[pool.a]\nbackends = [\"127.0.0.1:1\"]\n");
    write("30-b.toml", "[pool.b]\nbackends = [\"127.0.0.1:2\"]\n[[listener.web.route]]\npath = \"/b\"\npool = \"b\"\n");
    write("40-more.toml", "[pool.a.check.port]\ntype = \"tcp\"\n");
    write(".hidden.toml", "nonsense");
    write("notes.txt", "nonsense");
    let source = Source::Path(folder.path().to_owned());
    let loaded = config::load(&source).unwrap();
    assert_eq!(loaded.config.listeners[0].routes.len(), 2);
    assert_eq!(loaded.config.pools[0].checks.len(), 1);
    assert_eq!(loaded.files.len(), 5, "the folder and its four files: {:?}", loaded.files);

    let before = config::fingerprint(&loaded.files);
    assert_eq!(config::fingerprint(&loaded.files), before);
    write("50-new.toml", "");
    assert_ne!(config::fingerprint(&loaded.files), before, "a new file is a change");

    write("50-new.toml", "[pool.a]\nbackends = [\"127.0.0.1:3\"]\n");
    let problems = config::load(&source).unwrap_err();
    let shown = text(&problems).replace(&folder.path().display().to_string(), "conf");
    assert_eq!(
        shown,
        "error[duplicate]: `backends` is given in two files
 --> conf/50-new.toml:2:1
  |
2 | backends = [\"127.0.0.1:3\"]
  | ^^^^^^^^ given again here
  |
 ::: conf/20-a.toml:2:1
  |
2 | backends = [\"127.0.0.1:1\"]
  | -------- first given here
  |
  = help: keep one of the two

1 error
"
    );
}

#[test]
fn the_hash_follows_files_and_variables() {
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = (folder.path().join("evenkeel.toml"), folder.path().join("user"));
    let content = "[listener.db]\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"db\"\n[pool.db]\nbackends = [\"${DB}\"]\n\
                   check.login = { type = \"mysql\", user = \"${file:user}\" }\n";
    std::fs::write(&file, content).unwrap();
    std::fs::write(&secret, "probe\n").unwrap();
    let load = |db: &'static str| {
        config::load_with(&Source::Path(file.clone()), &|name| (name == "DB").then(|| db.to_owned())).unwrap()
    };
    let first = load("127.0.0.1:1");
    assert_eq!(first.hash.len(), 32);
    assert_eq!(first.hash, load("127.0.0.1:1").hash);
    assert_ne!(first.hash, load("127.0.0.1:2").hash);
    assert!(first.files.contains(&secret));
    std::fs::write(&secret, "other\n").unwrap();
    assert_ne!(first.hash, load("127.0.0.1:1").hash);
}

#[test]
fn what_a_file_holds_is_never_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evenkeel.toml");
    std::fs::write(folder.path().join("secret"), "hunter2").unwrap();
    std::fs::write(&file, "[listener.a]\nbind = \"${file:secret}\"\npool = \"a\"\n[pool.a]\nbackends = [\"a:1\"]\n")
        .unwrap();
    let problems = config::load(&Source::Path(file)).unwrap_err();
    assert!(!text(&problems).contains("hunter2"), "{problems}");
    assert!(!format!("{:?}", problems.report()).contains("hunter2"));
}

fn flags<'a>(listen: &'a [String], backends: &'a [String], check: &'a str) -> Flags<'a> {
    Flags { listen, backends, check: Some(check), ..Flags::default() }
}

#[test]
fn flags_make_the_same_configuration_as_a_file() {
    let listen = ["127.0.0.1:8080".to_owned()];
    let backends = ["127.0.0.1:9001".to_owned(), "127.0.0.1:9002".to_owned()];
    let loaded = config::from_flags(&flags(&listen, &backends, "http:/health")).unwrap();
    let file = "[listener.default]\nbind = \"127.0.0.1:8080\"\npool = \"default\"\n[pool.default]\n\
                backends = [\"127.0.0.1:9001\", \"127.0.0.1:9002\"]\ncheck.http = { type = \"http\", path = \"/health\" }\n";
    let same = config::load(&Source::text(file)).unwrap();
    assert_eq!(format!("{:?}", loaded.config), format!("{:?}", same.config));

    for (check, debug, protocol) in [
        ("tcp", "Tcp", Protocol::Http),
        ("http", "path: \"/\"", Protocol::Http),
        ("mysql:probe", "user: \"probe\"", Protocol::Tcp),
        ("apache", "server-status", Protocol::Http),
        ("postgres", "account: None", Protocol::Tcp),
        ("postgres:probe", "user: \"probe\"", Protocol::Tcp),
        ("redis", "Redis", Protocol::Tcp),
        ("smtp", "localhost", Protocol::Tcp),
        ("ldap", "Ldap", Protocol::Tcp),
    ] {
        let loaded = config::from_flags(&flags(&listen, &backends, check)).unwrap();
        assert!(format!("{:?}", loaded.config.pools[0].checks).contains(debug), "{check}");
        assert_eq!(loaded.config.listeners[0].protocol, protocol, "{check}");
    }
    assert!(text(&config::from_flags(&flags(&listen, &backends, "redis:x")).unwrap_err()).contains("nothing further"));
}

#[test]
fn a_wrong_flag_is_underlined_on_the_command_line() {
    let listen = ["127.0.0.1:8080".to_owned()];
    let backends = ["127.0.0.1:99999".to_owned()];
    let problems = config::from_flags(&flags(&listen, &backends, "htp:/health")).unwrap_err();
    let text_of = text(&problems);
    // Which types there are is not what this is about.
    let (before, types) = text_of.split_once("it takes ").unwrap();
    let after = types.split_once('\n').unwrap().1;
    assert_eq!(
        format!("{before}it takes ...\n{after}"),
        "error[port]: port 99999 is out of range
 --> command line:1:35
  |
1 | --listen 127.0.0.1:8080 --backend 127.0.0.1:99999 --check htp:/health
  |                                   ^^^^^^^^^^^^^^^ ports go from 1 to 65535
  |
  = help: write the port that the server listens on, from 1 to 65535

error[unknown-word]: `type` knows no `htp`
 --> command line:1:59
  |
1 | --listen 127.0.0.1:8080 --backend 127.0.0.1:99999 --check htp:/health
  |                                                           ^^^ not one of its words
  |
  = help: did you mean \"http\"? it takes ...

2 errors
"
    );
    let problems = config::from_flags(&Flags { listen: &listen, ..Flags::default() }).unwrap_err();
    assert!(text(&problems).contains("there is no --backend"), "{problems}");
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

#[test]
fn no_mutilated_file_makes_loading_or_printing_panic() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/reference.toml");
    let reference: Vec<char> = std::fs::read_to_string(path).unwrap().chars().collect();
    let pieces = [
        "\"", "'", "[", "]", "[[", "{", "}", "=", ",", ".", "\n", "\r\n", "ä", "日", "\u{0}", "${", "}", "\\", "#",
        "0", "-", "and ",
    ];
    let mut dice = Dice(1);
    let rounds = std::env::var("EVENKEEL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(300);
    for _ in 0..rounds {
        let mut text = reference.clone();
        for _ in 0..=dice.roll(4) {
            let at = dice.roll(text.len());
            match dice.roll(3) {
                0 => drop(text.splice(at..at, pieces[dice.roll(pieces.len())].chars())),
                1 => drop(text.drain(at..(at + 1 + dice.roll(20)).min(text.len()))),
                _ => text[at] = pieces[dice.roll(pieces.len())].chars().next().unwrap(),
            }
        }
        let printed = printed(&Source::text(text.into_iter().collect::<String>()));
        assert!(!printed.is_empty());
    }
}
