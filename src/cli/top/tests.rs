//! What is shown and what keys do, on terminals that exist in memory only.

use evenkeel::admin::events::EventsView;
use evenkeel::admin::view::Overview;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};
use serde_json::{Value, json};

use super::draw::draw;
use super::keys::{Demand, press};
use super::model::{Focus, Model, News, Wish};
use crate::cli::order::{Of, Verb};
use crate::cli::terminal::Paint;

fn backend(name: &str, state: &str, picks: u64, rest: &Value) -> Value {
    let mut backend = json!({
        "name": name, "address": "10.0.0.1:80", "resolved": null, "weight": 1, "backup": false, "zone": null,
        "state": state, "role": null, "gets_work": state == "up", "gets_reads": false, "share_percent": 100,
        "ejected": false, "flapping": false, "disagreement": null, "since_seconds": 200.0, "in_flight": 2,
        "idle_connections": 0, "cut": 0, "latency_seconds": 0.0012, "picks": picks, "responses": {}, "failures": 0,
        "received_bytes": 0, "sent_bytes": 0, "overrides": [],
        "checks": [{ "name": "home", "state": state, "reason": if state == "up" { "HTTP 200" } else { "connect: refused" },
                     "duration_seconds": 0.0, "age_seconds": 0.0 }],
    });
    for (key, value) in rest.as_object().unwrap() {
        backend[key] = value.clone();
    }
    backend
}

fn pool(name: &str, took: &[u64], backends: &[Value]) -> Value {
    let up = backends.iter().filter(|backend| backend["state"] == "up").count();
    json!({
        "name": name, "mode": "active-active", "follows": null, "active": null, "alarms": [], "balance": "round-robin",
        "healthy_when": "home", "backends_up": up, "responses": {}, "failed": {}, "took": took, "retries": 0,
        "waiting": 0, "backends": backends,
    })
}

fn view(uptime: f64, pools: &[Value]) -> Box<Overview> {
    let view = json!({
        "version": "1.2.3", "phase": "ready", "generation": 3, "uptime_seconds": uptime, "awaiting": null,
        "bounds_seconds": [0.001, 0.01], "dormant": [], "orders_warning": null, "pools": pools,
        "listeners": [{ "name": "web", "binds": [], "protocol": "http", "connections": 4, "responses": {} }],
    });
    Box::new(serde_json::from_value(view).unwrap())
}

/// Two pools; `later` is one second after it, with ten requests more and one error at p1.
fn pools(later: bool) -> Vec<Value> {
    let more = u64::from(later);
    let down = json!({ "zone": "dc-b", "failures": more, "since_seconds": 4.0 });
    vec![
        pool(
            "portal",
            &[5 + 10 * more],
            &[
                backend("p1", "up", 100 + 10 * more, &json!({ "zone": "dc-a", "role": "active" })),
                backend("p2", "down", 7, &down),
            ],
        ),
        pool("vault", &[], &[backend("v1", "up", 0, &json!({ "in_flight": 9 }))]),
    ]
}

fn events(fresh: bool, run: &str, kinds: &[&str]) -> News {
    let event = |(at, kind): (usize, &&str)| {
        json!({ "number": at + 1, "at": "2025-07-01T12:00:00.5Z", "kind": kind, "pool": "portal", "backend": "p2",
                "message": format!("{kind}: connect \u{1b}[2Jrefused") })
    };
    let events: Vec<_> = kinds.iter().enumerate().map(event).collect();
    let view = json!({ "events": events, "run": run, "last": kinds.len(), "missed": 0 });
    News::Events { fresh, events: serde_json::from_value::<EventsView>(view).unwrap() }
}

fn model() -> Model {
    let mut model = Model::default();
    model.take(events(true, "a", &["down"]));
    model.take(News::View(view(60.0, &pools(false))));
    model.now = 1.0;
    model.take(News::View(view(61.0, &pools(true))));
    model
}

fn shown(model: &Model, width: u16, height: u16, paint: Paint) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(model, frame.area(), frame.buffer_mut(), paint)).unwrap();
    terminal
}

fn lines(model: &Model, width: u16, height: u16) -> Vec<String> {
    let terminal = shown(model, width, height, Paint::Plain);
    let cells = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| cells[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

fn key(model: &mut Model, code: KeyCode) -> Demand {
    press(model, KeyEvent::new(code, KeyModifiers::NONE))
}

fn typed(model: &mut Model, text: &str) -> Vec<Demand> {
    text.chars().map(|letter| key(model, KeyCode::Char(letter))).collect()
}

fn of(pool: &str, backend: &str) -> Of {
    Of { pool: pool.into(), backend: backend.into() }
}

#[test]
fn a_wide_terminal_shows_everything() {
    let expected = "\
evenkeel 2 of 3 up, 10 req/s, 1.0 err/s, 4 connections, ready, configuration 3, version 1.2.3, for 1m 1s

BACKEND  STATE  ROLE    ZONE  REQ/S  ERR/S  NOW    TIME     FOR  WHY
portal: 1 of 2 up, round-robin, 10 req/s, 1.0 err/s, p50 0.5 ms, p99 1.0 ms
  p1     up     active  dc-a     10    0.0    2  1.2 ms  3m 20s  home: HTTP 200
  p2     down           dc-b    0.0    1.0    2  1.2 ms      4s  home: connect: refused
vault: 1 of 1 up, round-robin, 0.0 req/s, 0.0 err/s
  v1     up                     0.0    0.0    9  1.2 ms  3m 20s  home: HTTP 200






EVENTS
12:00:00 portal/p2 down: connect \\u{1b}[2Jrefused
by pool  s sort  / filter  enter why  d m r w order  ? help  q quit";
    assert_eq!(lines(&model(), 120, 17).join("\n"), expected);
}

#[test]
fn any_size_will_do_and_the_state_stays() {
    let model = model();
    for width in 1..=130 {
        for height in [1, 2, 3, 4, 8, 14, 24, 60] {
            assert_eq!(lines(&model, width, height).len(), usize::from(height));
        }
    }
    let narrow = lines(&model, 80, 24);
    assert_eq!(narrow[2], "BACKEND  STATE  ROLE    ZONE  REQ/S  ERR/S  NOW    TIME     FOR  WHY");
    assert!(narrow[5].contains("down") && narrow[5].ends_with('…'), "{narrow:?}");
    let narrower = lines(&model, 60, 24);
    assert_eq!(narrower[2], "BACKEND  STATE  REQ/S  ERR/S    TIME     FOR  WHY");
    let narrowest = lines(&model, 24, 10);
    assert_eq!(narrowest[2], "BACKEND  STATE     FOR");
    assert_eq!(narrowest[5], "  p2     down       4s");
}

#[test]
fn colours_are_for_those_who_want_them_and_the_selection_for_all() {
    let model = model();
    for (paint, colour) in [(Paint::Plain, Color::Reset), (Paint::Colour, Color::Red)] {
        let terminal = shown(&model, 120, 20, paint);
        let cells = terminal.backend().buffer();
        let down = &cells[(9, 5)];
        assert_eq!((down.symbol(), down.fg), ("d", colour));
        assert!(cells[(0, 4)].modifier.contains(Modifier::REVERSED), "the first backend is selected");
        assert!(!cells[(0, 5)].modifier.contains(Modifier::REVERSED));
    }
}

#[test]
fn orders_are_asked_for_once_more() {
    let mut model = model();
    key(&mut model, KeyCode::Down);
    assert_eq!(model.selected, Some(of("portal", "p2")));
    for (keys, verb) in [("d", Verb::Drain), ("m", Verb::Maintenance), ("r", Verb::Ready)] {
        assert_eq!(typed(&mut model, keys), [Demand::None]);
        let asked = lines(&model, 80, 24)[23].clone();
        assert!(asked.contains("portal/p2? y does it"), "{asked}");
        assert_eq!(typed(&mut model, "n"), [Demand::None]);
        assert_eq!(typed(&mut model, keys), [Demand::None]);
        assert_eq!(key(&mut model, KeyCode::Char('y')), Demand::Order(Wish { of: of("portal", "p2"), verb }));
    }
    typed(&mut model, "w5x");
    key(&mut model, KeyCode::Backspace);
    typed(&mut model, "25");
    assert!(lines(&model, 80, 24)[23].starts_with("percent of the weight of portal/p2: 25_"));
    key(&mut model, KeyCode::Enter);
    let wish = Wish { of: of("portal", "p2"), verb: Verb::Weight(25) };
    assert_eq!(key(&mut model, KeyCode::Char('y')), Demand::Order(wish));
    typed(&mut model, "w");
    key(&mut model, KeyCode::Enter);
    assert_eq!(model.focus, Focus::Table, "no number is no order");
}

#[test]
fn keys_move_sort_and_filter() {
    let mut model = model();
    let first = |model: &Model| model.listed()[0].to_string();
    typed(&mut model, "G");
    assert_eq!(model.selected, Some(of("vault", "v1")));
    typed(&mut model, "jgk");
    assert_eq!(model.selected, Some(of("portal", "p1")));
    for (sort, top) in [
        ("state", "portal/p2"),
        ("requests", "portal/p1"),
        ("errors", "portal/p2"),
        ("in flight", "vault/v1"),
        ("latency", "portal/p1"),
        ("last change", "portal/p2"),
    ] {
        typed(&mut model, "s");
        assert_eq!((model.sort.word(), first(&model).as_str()), (sort, top));
    }
    typed(&mut model, "S");
    assert_ne!(first(&model), "portal/p2", "backwards");
    assert_eq!(model.selected, Some(of("portal", "p1")), "it goes where its backend goes");
    typed(&mut model, "s");
    assert_eq!((model.sort.word(), model.backwards), ("pool", false));

    typed(&mut model, "/DC-b");
    assert_eq!(model.listed(), [of("portal", "p2")]);
    assert_eq!(model.selected, Some(of("portal", "p2")));
    typed(&mut model, "q");
    assert_eq!(model.listed(), [], "q is a letter here");
    assert_eq!(model.selected, None);
    assert!(lines(&model, 80, 24)[3].starts_with("no backend has these words"));
    assert_eq!(typed(&mut model, "\u{8}"), [Demand::None]);
    key(&mut model, KeyCode::Esc);
    assert_eq!((model.listed().len(), &model.focus), (3, &Focus::Table));
    assert_eq!(typed(&mut model, "q"), [Demand::Quit]);
    let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    model.focus = Focus::Filter;
    assert_eq!(press(&mut model, control), Demand::Quit);
}

#[test]
fn why_is_shown_as_long_as_it_is_looked_at() {
    let mut model = model();
    assert_eq!(key(&mut model, KeyCode::Enter), Demand::Why(of("portal", "p1")));
    model.explain(&of("portal", "p2"), vec!["of another one".into()]);
    model.explain(&of("portal", "p1"), (0..50).map(|line| format!("line {line}")).collect());
    assert_eq!(lines(&model, 80, 24)[2], "line 0");
    typed(&mut model, "jj");
    assert_eq!(lines(&model, 80, 24)[2], "line 2");
    model.explain(&of("portal", "p1"), vec!["short".into()]);
    assert_eq!(lines(&model, 80, 24)[2], "short", "there is nothing further down");
    key(&mut model, KeyCode::Esc);
    model.explain(&of("portal", "p1"), vec!["too late".into()]);
    assert_eq!(model.focus, Focus::Table);
    typed(&mut model, "?");
    assert!(lines(&model, 80, 24)[3].starts_with("enter"));
    key(&mut model, KeyCode::Esc);
    assert_eq!(model.focus, Focus::Table);
}

#[test]
fn a_balancer_that_is_gone_or_another_one_is_said() {
    let mut model = model();
    model.take(News::Lost("nothing answers at 127.0.0.1:8404".into()));
    assert_eq!(lines(&model, 80, 24)[1], "nothing answers at 127.0.0.1:8404; asking until it answers");
    assert!(lines(&model, 80, 24)[4].contains("p1"), "what was known last stays");
    model.now = 3.0;
    model.take(News::View(view(63.0, &pools(true))));
    assert_eq!(lines(&model, 80, 24)[1], "it answers again");
    key(&mut model, KeyCode::Esc);
    assert_eq!(lines(&model, 80, 24)[1], "");
    model.now = 9.0;
    assert_eq!(lines(&model, 80, 24)[1], "nothing was heard for 6 s");

    model.take(News::View(view(69.0, &pools(true))));
    model.now = 29.0;
    model.take(News::View(view(89.0, &pools(true))));
    assert_eq!(lines(&model, 80, 24)[1], "", "what was said is said for a while");

    let mut newer = view(0.5, &pools(false));
    newer.version = "1.3.0".into();
    model.take(events(true, "b", &["started", "up"]));
    model.take(News::View(newer));
    assert_eq!(lines(&model, 80, 24)[1], "another process answers now: version 1.3.0, 1.2.3 before");
    assert_eq!(model.rows[0].requests_per_second, None, "its counters are others");
    assert_eq!(model.events.len(), 2, "and its events, too");
    model.take(events(false, "b", &["down"]));
    assert_eq!(model.events.len(), 3);
}
