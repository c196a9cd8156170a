//! Asking backends whether they work: one attempt per protocol, and the schedule of attempts.
//!
//! An attempt ([`attempt`]) goes through `net`, as traffic does, and ends in a [`Report`] within the deadline of its
//! check. The [`Schedule`] runs on control's thread, decides by `health`, and is the only writer of a backend's verdict.

mod accounts;
mod agent;
mod apache;
pub mod by_hand;
mod compare;
mod curious;
mod drilled;
mod exec;
mod explain;
mod explanation;
mod follow;
mod grpc;
mod handle;
mod http;
mod ldap;
mod line;
mod mysql;
mod names;
mod news;
mod orders;
pub mod parsers;
mod past;
mod postgres;
mod question;
mod redis;
mod report;
mod sampling;
mod schedule;
mod script;
mod secrets;
mod shell;
mod silent;
mod smtp;
mod tcp;
mod tls;
pub mod transcript;
mod unpaid;
mod verdicts;
mod watched;
mod wire;

pub use explanation::{CheckExplanation, Explanation, Kept, Traffic};
pub use handle::{Incumbent, Probed, Schedule};
pub use orders::orders_of;
pub use past::{PastBackend, PastCheck};
pub use question::{Question, attempt};
pub use report::{Failure, Finding, Layer, Pace, Report};
pub use schedule::Runner;
pub use transcript::{Log, Transcript};
