//! A subject as a row: what a client sends, step by step, and what must become of it.

use crate::Scene;
use crate::support::h2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Over, PING, PREFACE, PRIORITY,
    RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, block, error_code, frame, settings, status,
};

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;

/// Why a connection ends on which fields cannot be unpacked. RFC 9113, section 4.3, wants the first; the library says the
/// second, and only whoever unpacks could know better. h2spec takes the end for an answer.
pub(crate) const UNDECODABLE: &[u32] = &[COMPRESSION_ERROR, PROTOCOL_ERROR];

/// One subject.
pub(crate) struct Row {
    /// Where h2spec asks it: suite, section there, number there.
    pub(crate) id: &'static str,
    /// The rule, by its RFC and section.
    pub(crate) rule: &'static str,
    /// What is done.
    what: &'static str,
    begins: Begins,
    steps: Vec<Step>,
}

/// How a connection begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// Preface and settings have gone both ways and are acknowledged.
    Agreed,
    /// Nothing has been sent.
    Silent,
}

pub(crate) enum Step {
    /// Bytes go out. They may meet an end: what that means, the next step says.
    Send(Vec<u8>),
    Want(Want),
}

/// What must come. A connection or a stream that ends without having been asked to fulfils none of these.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Want {
    /// Our settings, before anything else.
    Settings,
    /// The settings that were sent are acknowledged.
    Ack,
    /// A PING with this content is answered, and none with another.
    Pong([u8; 8]),
    /// A further PING is answered.
    Alive,
    /// The same, and no DATA comes before that.
    Still,
    /// The stream is answered with 200.
    Answer(u32),
    /// The stream is answered, to its end.
    Whole(u32),
    /// The next DATA has so many bytes.
    Data(usize),
    /// A backend got the request for this path with this line in its head.
    Arrived(&'static str, &'static str),
    /// The stream is reset, for one of these reasons, and the connection goes on.
    Reset(u32, &'static [u32]),
    /// The connection is ended, and one of these reasons said before. That may be done for an error of one stream, too
    /// (RFC 9113, section 5.4.1).
    Dies(&'static [u32]),
    /// The connection is ended.
    Ends,
}

/// A subject that begins as connections do.
pub(crate) fn row(id: &'static str, rule: &'static str, what: &'static str, steps: impl Into<Vec<Step>>) -> Row {
    Row { id, rule, what, begins: Begins::Agreed, steps: steps.into() }
}

/// The same in one step: these bytes come to this.
pub(crate) fn one(id: &'static str, rule: &'static str, what: &'static str, bytes: Vec<u8>, want: Want) -> Row {
    row(id, rule, what, [Step::Send(bytes), Step::Want(want)])
}

impl Row {
    /// With nothing sent before its first step.
    pub(crate) fn silent(self) -> Self {
        Self { begins: Begins::Silent, ..self }
    }

    /// Runs it on a connection of its own; what is wrong, in a line.
    pub(crate) fn run(&self, scene: &Scene) -> Result<(), String> {
        let mut talk = Talk { raw: scene.open(), scene, heard: Vec::new() };
        talk.run(self).map_err(|fault| {
            format!("{} ({}): {}: {fault}; heard {}", self.id, self.rule, self.what, talk.heard.join(", "))
        })
    }
}

/// A connection, and what has come on it.
struct Talk<'s> {
    raw: Raw,
    scene: &'s Scene,
    heard: Vec<String>,
}

impl Talk<'_> {
    fn run(&mut self, row: &Row) -> Result<(), String> {
        if row.begins == Begins::Agreed {
            self.send(&[PREFACE, &settings(&[])].concat());
            self.want(Want::Settings)?;
            self.want(Want::Ack)?;
            self.send(&frame(SETTINGS, ACK, 0, &[]));
        }
        for step in &row.steps {
            match step {
                Step::Send(bytes) => self.send(bytes),
                Step::Want(want) => self.want(*want).map_err(|fault| format!("{want:?}, but {fault}"))?,
            }
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) {
        // It may have ended already, which is heard next.
        let _ = self.raw.try_send(bytes);
    }

    fn want(&mut self, want: Want) -> Result<(), String> {
        match want {
            Want::Alive | Want::Still => self.send(&frame(PING, 0, 0, &LIVES)),
            Want::Arrived(path, line) => return self.arrived(path, line),
            _ => {}
        }
        loop {
            let seen = match self.next() {
                Ok(frame) => judge(want, &frame),
                Err(Over::Ended) if matches!(want, Want::Ends) => Seen::Fulfilled,
                Err(over) => Seen::Broken(format!("the connection is {over:?}")),
            };
            match seen {
                Seen::Fulfilled => break,
                Seen::Beside => {}
                Seen::Broken(fault) => return Err(fault),
            }
        }
        match want {
            Want::Reset(..) => self.want(Want::Alive),
            Want::Dies(_) => self.want(Want::Ends),
            _ => Ok(()),
        }
    }

    fn next(&mut self) -> Result<Frame, Over> {
        let next = self.raw.try_next();
        self.heard.push(next.as_ref().map_or_else(|over| format!("{over:?}"), short));
        next
    }

    fn arrived(&self, path: &str, line: &str) -> Result<(), String> {
        let asked = self.scene.origin.requests();
        let asked = asked.iter().find(|request| request.target == path).ok_or("no request has arrived")?;
        if asked.head.lines().any(|one| one == line) { Ok(()) } else { Err(format!("{:?} has arrived", asked.head)) }
    }
}

/// What a PING has by which nothing but life is proved.
const LIVES: [u8; 8] = *b"still on";

/// What a frame means for what is wanted.
enum Seen {
    Fulfilled,
    /// Nothing yet.
    Beside,
    Broken(String),
}

fn judge(want: Want, frame: &Frame) -> Seen {
    let code = |at: usize| error_code(frame.payload.get(at..at + 4).unwrap_or_default());
    let is = |wanted: bool| if wanted { Seen::Fulfilled } else { Seen::Broken("another came".into()) };
    let ends = frame.flags & END_STREAM != 0;
    match (want, frame.kind) {
        (Want::Ends, _) | (Want::Dies(_), RST_STREAM) => Seen::Beside,
        (Want::Settings, SETTINGS) => is(frame.flags & ACK == 0),
        (Want::Ack, SETTINGS) if frame.flags & ACK != 0 => Seen::Fulfilled,
        (Want::Pong(content), PING) => is(frame.flags == ACK && frame.payload == content),
        (Want::Alive | Want::Still, PING) => is(frame.flags == ACK && frame.payload == LIVES),
        (Want::Answer(stream), HEADERS) if frame.stream == stream => is(status(&frame.payload) == 200),
        (Want::Whole(stream), HEADERS | DATA) if frame.stream == stream && ends => Seen::Fulfilled,
        (Want::Data(length), DATA) => is(frame.payload.len() == length),
        (Want::Reset(stream, codes), RST_STREAM) => is(frame.stream == stream && codes.contains(&code(0))),
        (Want::Dies(codes), GOAWAY) => is(codes.contains(&code(4))),
        (Want::Settings, _) | (Want::Still, DATA) | (_, RST_STREAM | GOAWAY) => is(false),
        _ => Seen::Beside,
    }
}

/// A frame in a word.
fn short(frame: &Frame) -> String {
    let names = ["DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW"];
    let name = names.get(usize::from(frame.kind)).copied().unwrap_or("?");
    let code = match frame.kind {
        RST_STREAM => format!(" {}", error_code(&frame.payload)),
        GOAWAY => format!(" {}", error_code(&frame.payload[4..8])),
        _ => String::new(),
    };
    format!("{name}{code} on {} of {} bytes", frame.stream, frame.payload.len())
}

// === what is sent ===

/// Fields of a GET of a path that is answered at once.
pub(crate) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.example")];
/// Fields of a GET of a path that is never answered.
pub(crate) const STALLED: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/stalls"), (":authority", "a.example")];
/// Fields of a POST to a path that is answered when its content has ended.
pub(crate) const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a.example")];

/// A whole request of these fields.
pub(crate) fn whole(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    head(stream, END_STREAM | END_HEADERS, &block(fields))
}

/// The fields of a request whose content follows.
pub(crate) fn begun(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    head(stream, END_HEADERS, &block(fields))
}

/// HEADERS of an encoded block.
pub(crate) fn head(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, stream, block)
}

pub(crate) fn continued(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(CONTINUATION, flags, stream, block)
}

pub(crate) fn data(stream: u32, flags: u8, content: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, content)
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub(crate) fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// PRIORITY; the highest bit of `on` says exclusive (RFC 9113, section 6.3).
pub(crate) fn priority(stream: u32, on: u32, weight: u8) -> Vec<u8> {
    frame(PRIORITY, 0, stream, &priority_of(on, weight))
}

/// The five bytes that say a priority.
pub(crate) fn priority_of(on: u32, weight: u8) -> [u8; 5] {
    let [a, b, c, d] = on.to_be_bytes();
    [a, b, c, d, weight]
}

/// GOAWAY, which knows no stream of ours.
pub(crate) fn farewell(code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[[0; 4], code.to_be_bytes()].concat())
}

/// One after the other.
pub(crate) fn all<const N: usize>(frames: [Vec<u8>; N]) -> Vec<u8> {
    frames.into_iter().flatten().collect()
}
