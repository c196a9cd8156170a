//! What the two processes say, as JSON. Read with suspicion: whatever stands in a frame, the outcome is a message or a
//! sentence.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Known, Ledger};
use crate::control::history::Generation;
use crate::control::records::Record;

/// The form of the messages. It changes where an older program would misunderstand them.
pub const FORM: u64 = 1;
/// The longest first word of somebody who is not known yet.
pub const MAX_GREETING_BYTES: usize = 4 * 1024;
/// The longest offer, and the longest account of counters: 10,000 backends are some 20 MiB, the texts of configurations
/// that are kept in memory at most 32 MiB more.
pub const MAX_OFFER_BYTES: usize = 256 * 1024 * 1024;
/// Who speaks.
const PROGRAM: &str = "evenkeel";

/// One message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Message {
    /// The new process asks for the work.
    Hello(Hello),
    /// The old one offers it. As many sockets follow as it says.
    Offer(Box<Offer>),
    /// The new one is ready and accepts.
    Ready(Ready),
    /// The old one has stopped accepting; this is what was counted up to now.
    Done(Box<Ledger>),
    /// What it has counted since it last said so.
    Counted(Box<Ledger>),
    /// Either side goes no further; the old one goes on.
    Refused {
        /// Why, for the operator.
        why: String,
    },
}

/// The first word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Always the same.
    program: String,
    /// [`FORM`] of who speaks.
    form: u64,
    /// Version of the program.
    pub version: String,
    /// Its process id, as it sees itself.
    pub pid: u32,
}

/// All that the new process needs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Offer {
    /// Who offers, and in which form.
    pub hello: Hello,
    /// The network namespace that the sockets belong to.
    pub network: Option<String>,
    /// The sockets, in the order in which they follow.
    pub sockets: Vec<Offered>,
    /// Lines of processes that drain still, which follow the sockets.
    pub lines: usize,
    /// Number of the configuration in force.
    pub generation: u64,
    /// Configurations that took effect, where they are kept in memory only.
    pub generations: Vec<Generation>,
    /// Records of changes, the same.
    #[serde(default)]
    pub records: Vec<Record>,
    /// What operators have ordered, and who is the active one of each pool: as in a state file.
    pub state: Value,
    /// What is known of the backends.
    pub known: Vec<Known>,
}

/// Sockets of one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Whose they are.
    pub of: Of,
    /// What they carry.
    pub transport: Transport,
    /// Where, as configured.
    pub site: String,
    /// How many.
    pub count: usize,
}

/// Whose a socket is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The listener of this name.
    Listener(String),
    /// The admin port.
    Admin,
    /// Where the next process asks for the work.
    Upgrade,
}

impl Of {
    /// The name by which systemd knows it.
    pub fn word(&self) -> &str {
        match self {
            Self::Listener(name) => name,
            Self::Admin => "admin",
            Self::Upgrade => "upgrade",
        }
    }
}

/// What a socket carries. Ports of the two have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Connections.
    Stream,
    /// Datagrams.
    Datagram,
}

/// The new process accepts.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The sockets that it has taken up.
    pub taken: Vec<Offered>,
}

/// Why a frame is no message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Fault {
    /// It is none of ours.
    #[error("this is no message of an evenkeel")]
    Foreign,
    /// It is of a program that speaks otherwise.
    #[error(
        "evenkeel {version} hands over in form {form}, and this evenkeel {} in form {FORM}: stop the old one and start \
         the new one instead",
        env!("CARGO_PKG_VERSION")
    )]
    Form {
        /// Its version.
        version: String,
        /// Its form.
        form: u64,
    },
    /// It says something that was not to be said now.
    #[error("this was not to be said now")]
    OutOfTurn,
}

impl Hello {
    /// What this process says.
    pub fn here() -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { program: PROGRAM.to_owned(), form: FORM, version, pid: std::process::id() }
    }
}

impl Message {
    /// What stands in a frame. Who speaks another form is told apart from who speaks none.
    ///
    /// # Errors
    /// It is no message, or one of another form.
    pub fn read(frame: &[u8]) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        struct Greeting {
            program: String,
            form: u64,
            version: String,
        }
        #[derive(Deserialize)]
        struct Outline {
            #[serde(flatten)]
            said: Option<Greeting>,
            hello: Option<Greeting>,
        }

        if let Ok(message) = serde_json::from_slice::<Self>(frame) {
            return match message.greeting() {
                Some(hello) if hello.program != PROGRAM => Err(Fault::Foreign),
                Some(hello) if hello.form != FORM => {
                    Err(Fault::Form { version: shortened(&hello.version), form: hello.form })
                }
                _ => Ok(message),
            };
        }
        // What has changed with the form may be anything but this.
        let outline: Outline = serde_json::from_slice(frame).map_err(|_other| Fault::Foreign)?;
        match outline.said.or(outline.hello) {
            Some(it) if it.program == PROGRAM && it.form != FORM => {
                Err(Fault::Form { version: shortened(&it.version), form: it.form })
            }
            _ => Err(Fault::Foreign),
        }
    }

    fn greeting(&self) -> Option<&Hello> {
        match self {
            Self::Hello(hello) => Some(hello),
            Self::Offer(offer) => Some(&offer.hello),
            _ => None,
        }
    }

    /// As a frame.
    pub fn written(&self) -> Vec<u8> {
        // Maps with keys that are text, numbers and texts: nothing that JSON cannot say.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What somebody else says of itself goes into our log: not more of it than a version takes, and no control characters.
fn shortened(version: &str) -> String {
    version.chars().filter(char::is_ascii_graphic).take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<Fault> {
        Message::read(text.as_bytes()).err()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let ready = Message::Ready(Ready {
            taken: vec![Offered {
                of: Of::Listener("web".to_owned()),
                transport: Transport::Stream,
                site: "127.0.0.1:80".to_owned(),
                count: 2,
            }],
        });
        let again = Message::read(&ready.written()).unwrap();
        assert_eq!(again.written(), ready.written());
        assert!(matches!(Message::read(&Message::Hello(Hello::here()).written()), Ok(Message::Hello(_))));
    }

    #[test]
    fn another_form_is_told_apart_from_noise() {
        for (text, expected) in [
            ("", Fault::Foreign),
            ("GET / HTTP/1.1\r\n\r\n", Fault::Foreign),
            ("{}", Fault::Foreign),
            ("[[[[", Fault::Foreign),
            (r#"{"say":"hello","program":"nginx","form":1,"version":"1","pid":1}"#, Fault::Foreign),
            (r#"{"say":"hello","program":"evenkeel","form":-1,"version":"1","pid":1}"#, Fault::Foreign),
            (
                r#"{"say":"hello","program":"evenkeel","form":9,"version":"2.0.0","pid":1}"#,
                Fault::Form { version: "2.0.0".to_owned(), form: 9 },
            ),
            (
                r#"{"say":"greetings","program":"evenkeel","form":9,"version":"2.\u001b[31m0","anything":[1]}"#,
                Fault::Form { version: "2.[31m0".to_owned(), form: 9 },
            ),
            (
                r#"{"say":"offer","hello":{"program":"evenkeel","form":2,"version":"3"}}"#,
                Fault::Form { version: "3".to_owned(), form: 2 },
            ),
        ] {
            assert_eq!(fault(text), Some(expected), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(fault(&deep), Some(Fault::Foreign));
    }

    #[test]
    fn the_sentence_names_both_sides() {
        let said = Fault::Form { version: "2.0.0".to_owned(), form: 9 }.to_string();
        assert!(said.starts_with("evenkeel 2.0.0 hands over in form 9, and this evenkeel"), "{said}");
    }
}
