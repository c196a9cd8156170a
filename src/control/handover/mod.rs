//! Handing the work over to another process of this program: what the two say to each other, and what the new one must
//! know to go on as if nothing had happened. No socket and no clock; `server` carries it out.
//!
//! The new process says [`Message::Hello`] and is offered sockets, health and state; it makes itself ready and accepts,
//! says [`Message::Ready`], and hears [`Message::Done`]: from then on the old one accepts no more. Until then, whatever
//! becomes of the new process, nothing has changed for the old one. Afterwards the old one tells what it still counts.

mod health;
mod ledger;
mod message;

pub use health::{Known, known, take_up};
pub use ledger::{Ending, Ledger};
pub use message::{
    FORM, Fault, Hello, MAX_GREETING_BYTES, MAX_OFFER_BYTES, Message, Of, Offer, Offered, Ready, Transport,
};
