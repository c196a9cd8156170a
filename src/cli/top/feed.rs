//! News from a balancer, for as long as somebody wants them: its stream of views and events, again and again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use evenkeel::admin::events::EventsView;
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

use super::model::News;
use crate::cli::client::AdminPort;

/// Between two attempts at a balancer that is gone.
const AGAIN: Duration = Duration::from_secs(1);
/// A line on which nothing has come for so long is given up: views come each second, or in twenty times the time that
/// one takes to be made.
const SILENCE: Duration = Duration::from_secs(30);

/// Tells until nobody listens.
pub(super) async fn follow(port: AdminPort, to: UnboundedSender<News>) {
    while !to.is_closed() {
        match once(&port, &to).await {
            // It ends by itself now and then, and when the balancer is exchanged.
            Ok(true) => {}
            Ok(false) => sleep(AGAIN).await,
            Err(error) => {
                // Nobody listens: the condition above finds that.
                let _ = to.send(News::Lost(format!("{error:#}")));
                sleep(AGAIN).await;
            }
        }
    }
}

/// One stream; whether anything has come.
async fn once(port: &AdminPort, to: &UnboundedSender<News>) -> anyhow::Result<bool> {
    let heard = Mutex::new((Instant::now(), false));
    let mut message = Message::default();
    let listening = port.listen("/api/v1/live", |line| {
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), true);
        if let Some(news) = message.line(line)? {
            to.send(news).context("nobody listens")?;
        }
        Ok(())
    });
    let silence = async {
        loop {
            let (last, _) = *heard.lock().unwrap_or_else(PoisonError::into_inner);
            match SILENCE.checked_sub(last.elapsed()) {
                Some(left) => sleep(left).await,
                None => break,
            }
        }
    };
    tokio::select! {
        answer = listening => { answer?.good()?; }
        () = silence => bail!("nothing has come for {} seconds", SILENCE.as_secs()),
    }
    let (_, any) = *heard.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(any)
}

/// A message that is being heard (server-sent events, as `admin::live` makes them).
#[derive(Debug, Default)]
pub(super) struct Message {
    kind: String,
}

impl Message {
    /// A line; the news that end with it.
    pub(super) fn line(&mut self, line: &str) -> anyhow::Result<Option<News>> {
        #[derive(Deserialize)]
        struct Events {
            fresh: bool,
            #[serde(flatten)]
            events: EventsView,
        }

        if let Some(kind) = line.strip_prefix("event: ") {
            kind.clone_into(&mut self.kind);
        }
        let Some(data) = line.strip_prefix("data: ") else { return Ok(None) };
        let strange = "the answer is not what an evenkeel says";
        Ok(match self.kind.as_str() {
            "overview" => Some(News::View(serde_json::from_str(data).context(strange)?)),
            "events" => {
                let Events { fresh, events } = serde_json::from_str(data).context(strange)?;
                Some(News::Events { fresh, events })
            }
            // What a newer one may say beside that.
            _ => None,
        })
    }
}
