//! `evenkeel top` in a terminal of the test's own: what it shows, what keys do, and that the terminal is as it was before.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{Termios, tcgetattr};
use support::eventually::DEADLINE;
use support::process::{PROGRAM, free_address, run};
use support::{Origin, Process, eventually};

const WIDTH: usize = 100;
const HEIGHT: usize = 20;
/// Leaves the screen that a program has for itself.
const LEAVE: &str = "\u{1b}[?1049l";

/// The program in a terminal.
struct Seen {
    child: Child,
    keys: File,
    said: Arc<Mutex<Vec<u8>>>,
    /// The program's side; held so that the terminal outlives the program.
    inside: File,
    before: Termios,
}

impl Seen {
    fn start(admin: SocketAddr) -> Self {
        let size = Winsize { ws_row: HEIGHT as u16, ws_col: WIDTH as u16, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).unwrap();
        let (outside, inside) = (File::from(pair.master), File::from(pair.slave));
        let before = tcgetattr(&inside).unwrap();
        let child = Command::new(PROGRAM)
            .args(["top", "--owner", "tester", "--admin", &admin.to_string()])
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(inside.try_clone().unwrap())
            .stdout(inside.try_clone().unwrap())
            .stderr(inside.try_clone().unwrap())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (hearing, mut ear) = (Arc::clone(&said), outside.try_clone().unwrap());
        // It ends with the test's process: the test holds the other side.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read) = ear.read(&mut bytes) {
                hearing.lock().unwrap().extend_from_slice(&bytes[..read]);
            }
        });
        Self { child, keys: outside, said, inside, before }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    fn lines(&self) -> Vec<String> {
        screen(&self.said())
    }

    #[track_caller]
    fn until_line(&self, what: &str, is_it: impl Fn(&str) -> bool) {
        eventually(what, DEADLINE, || self.lines().iter().any(|line| is_it(line)));
    }

    /// Waits for its end, after which the terminal is as it was.
    #[track_caller]
    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("it ends", DEADLINE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        eventually("the screen is left", DEADLINE, || self.said().contains(LEAVE));
        assert_eq!(tcgetattr(&self.inside).unwrap(), self.before, "the terminal reads lines again");
        let said = self.said();
        let (hidden, shown) = (said.rfind("\u{1b}[?25l"), said.rfind("\u{1b}[?25h"));
        assert!(shown > hidden, "the cursor is seen again");
        status.unwrap()
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a terminal shows after it was sent this: as much of its language as the program speaks.
fn screen(said: &str) -> Vec<String> {
    let mut cells = vec![vec![' '; WIDTH]; HEIGHT];
    let (mut x, mut y) = (0, 0);
    let mut letters = said.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' if letters.next_if_eq(&'[').is_some() => {
                let mut numbers = String::new();
                while let Some(part) = letters.next_if(|part| !part.is_ascii_alphabetic()) {
                    numbers.push(part);
                }
                match letters.next() {
                    Some('H') => {
                        let (row, column) = numbers.split_once(';').unwrap_or(("1", "1"));
                        (y, x) = (row.parse::<usize>().unwrap() - 1, column.parse::<usize>().unwrap() - 1);
                    }
                    Some('J') => cells = vec![vec![' '; WIDTH]; HEIGHT],
                    _ => {}
                }
            }
            letter if !letter.is_control() => {
                if let Some(cell) = cells.get_mut(y).and_then(|row| row.get_mut(x)) {
                    *cell = letter;
                }
                x += 1;
            }
            _ => {}
        }
    }
    cells.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned()).collect()
}

fn config(web: SocketAddr, admin: SocketAddr, a: &Origin, b: &Origin) -> String {
    format!(
        "[admin]\nbind = \"{admin}\"\n[listener.web]\nbind = \"{web}\"\npool = \"p\"\n\
         [pool.p]\nbackends = [{{ name = \"a\", address = \"{}\" }}, {{ name = \"b\", address = \"{}\" }}]\n\
         [pool.p.check.home]\ntype = \"http\"\ninterval = \"5s\"\ntimeout = \"5s\"\nrise = 1\nfall = 1\n",
        a.addr(),
        b.addr()
    )
}

#[test]
fn it_shows_what_changes_orders_what_is_confirmed_and_gives_the_terminal_back() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let admin = free_address();
    let process = Process::start(&config(free_address(), admin, &a, &b));
    let mut seen = Seen::start(admin);
    seen.until_line("both are up", |line| line.starts_with("evenkeel 2 of 2 up"));
    assert!(seen.said().contains("\u{1b}[38;5;2"), "up is green");

    seen.press("d");
    seen.until_line("it asks", |line| line.starts_with("drain p/a? y does it"));
    seen.press("n");
    seen.until_line("it has not", |line| line == "nothing was ordered");
    seen.press("jdy");
    seen.until_line("b drains", |line| line.starts_with("  b ") && line.contains("drain by tester"));
    seen.until_line("a does not", |line| line.starts_with("  a ") && line.contains(" up "));
    let ready = run(&["ready", "p/b", "--owner", "tester", "--admin", &process.admin().to_string()]);
    assert!(ready.status.success());
    seen.until_line("b is up again", |line| line.starts_with("  b ") && line.contains(" up "));

    seen.press("\r");
    seen.until_line("it says why", |line| line.starts_with("p/b is UP for"));
    seen.press("\u{1b}");
    seen.until_line("the table is there again", |line| line.starts_with("by pool"));
    seen.press("q");
    assert!(seen.ended().success());
}

#[test]
fn a_balancer_that_goes_and_comes_again_is_followed_and_a_signal_ends_it_in_order() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let (web, admin) = (free_address(), free_address());
    let config = config(web, admin, &a, &b);
    let first = Process::start(&config);
    let mut seen = Seen::start(admin);
    seen.until_line("both are up", |line| line.starts_with("evenkeel 2 of 2 up"));
    drop(first);
    seen.until_line("that is said", |line| line.starts_with("nothing answers at"));
    assert!(seen.lines().iter().any(|line| line.starts_with("  a ")), "what was known last is still there");
    let _second = Process::start(&config);
    seen.until_line("it is followed", |line| line.starts_with("another process answers now"));
    let kill = Command::new("kill").arg(seen.child.id().to_string()).status().unwrap();
    assert!(kill.success() && seen.ended().success());
}

#[test]
fn without_a_terminal_it_prints_one_frame_or_says_how() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let admin = free_address();
    let _process = Process::start(&config(free_address(), admin, &a, &b));
    let address = admin.to_string();
    let top = |arguments: &[&str]| {
        let arguments = [&["top", "--admin", &address], arguments].concat();
        Command::new(PROGRAM).args(arguments).env("COLUMNS", "40").output().unwrap()
    };
    let once = top(&["--once"]);
    let text = String::from_utf8(once.stdout).unwrap();
    assert!(once.status.success() && text.starts_with("evenkeel 2 of 2 up"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("p: 2 of 2 up")) && text.contains("\nEVENTS\n"), "{text}");
    assert!(!text.contains('\u{1b}') && text.lines().all(|line| line.chars().count() <= 40), "{text}");
    let filtered = String::from_utf8(top(&["--once", "--filter", "p/b"]).stdout).unwrap();
    assert!(filtered.contains("\n  b ") && !filtered.contains("\n  a "), "{filtered}");
    let refused = top(&[]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && said.contains("top --once"), "{said}");
}
