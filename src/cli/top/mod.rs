//! `evenkeel top`: pools and backends as they are from second to second, and orders to them, in a terminal.
//!
//! What is known and looked at is in `model`, fed by `feed` and `keys`, and shown by `draw`: all of that but the feed is
//! pure. Here they are put together, with a terminal that is as it was before when this ends, however it ends.

mod columns;
mod draw;
mod feed;
mod keys;
mod model;
mod rows;
#[cfg(test)]
mod tests;
mod window;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use evenkeel::admin::events::EventView;
use ratatui::DefaultTerminal;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{Event, KeyEvent, KeyEventKind, read};
use ratatui::layout::Rect;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::client::AdminPort;
use super::form::Form;
use super::order::{self, Of, Owner};
use super::terminal::{Paint, say};
use super::{Ending, why};
use keys::Demand;
use model::{Focus, Model, News, Wish};
use rows::{PoolRow, Row};

/// Without news, so often what is shown is looked at again.
const TICK: Duration = Duration::from_secs(1);
/// For the two views that one frame needs: rates are of the time between them.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where nobody says how wide a frame may be.
const USUAL_WIDTH: u16 = 120;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print what it looks like now, as wide as $COLUMNS says, and end
    #[arg(long)]
    once: bool,
    /// Only backends with these words in their name, state or zone
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    filter: String,
    /// Who orders what is ordered here [default: your user name]
    #[arg(long, value_name = "NAME", env = "EVENKEEL_OWNER")]
    owner: Option<String>,
    #[command(flatten)]
    port: AdminPort,
}

/// What wakes this command.
enum Woken {
    News(News),
    Key(KeyEvent),
    /// The terminal has another size.
    Size,
    Said(Said),
    Tick,
    /// A signal, or the end of the terminal.
    End,
}

/// What has been asked for, and come.
enum Said {
    Why(Of, anyhow::Result<Vec<String>>),
    Order(String),
}

/// All that is shown, for programs.
#[derive(Serialize)]
struct Seen<'m> {
    version: &'m str,
    phase: &'m str,
    generation: u64,
    pools: &'m [PoolRow],
    backends: &'m [Row],
    events: Vec<&'m EventView>,
}

pub(super) fn top(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let is_seen = std::io::stdout().is_terminal();
    if form == Form::Words && !arguments.once && !is_seen {
        bail!(
            "standard output is no terminal: `evenkeel top --once` prints what it looks like now, `--json` tells a program"
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let ending = runtime.block_on(async {
        if form == Form::Words && !arguments.once { live(arguments).await } else { told(arguments, form).await }
    });
    // Whoever still reads keys does so until the end of the process.
    runtime.shutdown_background();
    ending
}

/// What is seen, once or again and again, for whoever has no terminal.
async fn told(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let begun = Instant::now();
    let mut model = Model::new(&arguments.filter);
    let (mut message, mut views) = (feed::Message::default(), 0);
    let enough = "it has been seen";
    let hearing = arguments.port.listen("/api/v1/live", |line| {
        let Some(news) = message.line(line)? else { return Ok(()) };
        model.now = begun.elapsed().as_secs_f64();
        let is_view = matches!(news, News::View(_));
        model.take(news);
        views += usize::from(is_view);
        // A rate needs two views, and whatever has happened before has come before the second one.
        if !is_view || views < 2 {
            return Ok(());
        }
        match form {
            Form::Words => say(&frame(&model)),
            Form::Json => say(&format!("{}\n", serde_json::to_string(&seen(&model))?)),
        }
        if arguments.once {
            bail!(enough);
        }
        Ok(())
    });
    let heard = if arguments.once {
        timeout(PATIENCE, hearing).await.context("the balancer says nothing")?
    } else {
        hearing.await
    };
    match heard {
        Err(error) if error.to_string() == enough => Ok(Ending::Good),
        Err(error) => Err(error),
        Ok(answer) => {
            answer.good()?;
            bail!("the balancer has ended what it told")
        }
    }
}

fn seen(model: &Model) -> Seen<'_> {
    let view = model.view.as_ref();
    Seen {
        version: view.map_or("", |view| &view.version),
        phase: view.map_or("", |view| &view.phase),
        generation: view.map_or(0, |view| view.generation),
        pools: &model.pools,
        backends: &model.rows,
        events: model.events.iter().collect(),
    }
}

/// A frame as text, as high as it needs to be.
fn frame(model: &Model) -> String {
    let told = |name: &str| std::env::var(name).ok()?.parse::<u16>().ok().filter(|size| *size > 0);
    let size = ratatui::crossterm::terminal::size().ok().filter(|_| std::io::stdout().is_terminal());
    let width = size.map(|(width, _)| width).or_else(|| told("COLUMNS")).unwrap_or(USUAL_WIDTH);
    // Two lines above, a heading, the rows, and eight events with theirs, before the last line, which is for the keyboard.
    let height = u16::try_from(model.lines().len()).unwrap_or(u16::MAX - 64).saturating_add(3 + 24);
    let area = Rect::new(0, 0, width, height);
    let mut cells = Buffer::empty(area);
    draw::draw(model, area, &mut cells, Paint::Plain);
    let lines = (0..height - 1).map(|y| {
        let line: String = (0..width).filter_map(|x| cells.cell((x, y))).map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    let mut text = String::new();
    let mut empty = 0;
    for line in lines {
        // A gap is one line.
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty < 2 {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text.trim_end().to_owned() + "\n"
}

/// The terminal's own state, given back by drop.
struct Screen(DefaultTerminal);

impl Screen {
    fn take() -> anyhow::Result<Self> {
        // What panics gives the terminal back first, too.
        Ok(Self(ratatui::try_init().context("this terminal cannot be drawn on")?))
    }

    fn show(&mut self, model: &Model) -> anyhow::Result<()> {
        let paint = Paint::of_output();
        self.0
            .draw(|frame| draw::draw(model, frame.area(), frame.buffer_mut(), paint))
            .context("the terminal is gone")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone has nothing to be given back.
        let _ = ratatui::try_restore();
    }
}

/// Shows and obeys until somebody ends it.
async fn live(arguments: &Arguments) -> anyhow::Result<Ending> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let begun = Instant::now();
    let mut model = Model::new(&arguments.filter);
    let mut screen = Screen::take()?;
    let ((to, mut news), (pressed, mut keys), (sayer, mut said)) =
        (unbounded_channel(), unbounded_channel(), unbounded_channel());
    tokio::spawn(feed::follow(arguments.port.clone(), to));
    std::thread::spawn(move || listen_to_keys(&pressed));
    let asker = Asker { port: arguments.port.clone(), owner: Owner::name(arguments.owner.clone()), sayer };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        model.now = begun.elapsed().as_secs_f64();
        screen.show(&model)?;
        let woken = tokio::select! {
            Some(news) = news.recv() => Woken::News(news),
            key = keys.recv() => key.unwrap_or(Woken::End),
            Some(said) = said.recv() => Woken::Said(said),
            _ = tick.tick() => Woken::Tick,
            _ = terminate.recv() => Woken::End,
            _ = hangup.recv() => Woken::End,
            _ = interrupt.recv() => Woken::End,
        };
        model.now = begun.elapsed().as_secs_f64();
        match woken {
            Woken::End => return Ok(Ending::Good),
            Woken::Tick | Woken::Size => {}
            Woken::Said(said) => hear(&mut model, said),
            Woken::News(news) => asker.take(&mut model, news),
            Woken::Key(key) => match keys::press(&mut model, key) {
                Demand::None => {}
                Demand::Quit => return Ok(Ending::Good),
                Demand::Why(of) => asker.why(of),
                Demand::Order(wish) => asker.order(&mut model, wish),
            },
        }
    }
}

/// Whoever asks the balancer something beside the stream, and has it said when the answer has come.
struct Asker {
    port: AdminPort,
    owner: String,
    sayer: UnboundedSender<Said>,
}

impl Asker {
    /// Takes news; what is shown of a backend is asked for anew with each view.
    fn take(&self, model: &mut Model, news: News) {
        let is_view = matches!(news, News::View(_));
        model.take(news);
        if let (true, Focus::Why { of, .. }) = (is_view, &model.focus) {
            self.why(of.clone());
        }
    }

    fn why(&self, of: Of) {
        let (port, sayer) = (self.port.clone(), self.sayer.clone());
        tokio::spawn(async move {
            let lines = why::lines(&port, &of).await;
            // This command has ended.
            let _ = sayer.send(Said::Why(of, lines));
        });
    }

    fn order(&self, model: &mut Model, wish: Wish) {
        model.say(format!("asking for it: {} {}", wish.verb.words(), wish.of));
        let (port, sayer, owner) = (self.port.clone(), self.sayer.clone(), self.owner.clone());
        tokio::spawn(async move {
            let done = order::wished(&port, &wish.of, wish.verb, owner).await;
            // This command has ended.
            let _ = sayer.send(Said::Order(done.unwrap_or_else(|error| format!("{error:#}"))));
        });
    }
}

/// Keys as they are pressed, until the terminal is gone.
fn listen_to_keys(to: &UnboundedSender<Woken>) {
    loop {
        let woken = match read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Woken::Key(key),
            Ok(Event::Resize(..)) => Woken::Size,
            Ok(_) => continue,
            Err(_gone) => Woken::End,
        };
        let is_end = matches!(woken, Woken::End);
        if to.send(woken).is_err() || is_end {
            return;
        }
    }
}

fn hear(model: &mut Model, said: Said) {
    match said {
        Said::Order(words) => model.say(words),
        Said::Why(of, answer) => model.explain(&of, answer.unwrap_or_else(|error| vec![format!("{error:#}")])),
    }
}
