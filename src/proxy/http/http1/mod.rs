//! HTTP/1.1 on the wire, sans-IO: heads and bodies, judged strictly (RFC 9110 and RFC 9112).
//!
//! What a recipient further on could read differently is refused here, never passed on: that is what request smuggling
//! lives on. `httparse` splits the head into fields; every rule beyond that stands in this room.

pub mod answer;
pub mod body;
pub mod bytes;
pub mod chunked;
pub mod edits;
pub mod fields;
pub mod request;

use crate::metrics::Rejection;

/// Why a request is refused, with the status that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// The request line is not three parts with one space between, or the method is no token (RFC 9112, section 3).
    RequestLine,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// No valid form of target (RFC 9112, section 3.2).
    Target,
    /// A field line that is none (RFC 9112, section 5).
    Header,
    /// A line that ends in LF alone (RFC 9112, section 2.2).
    BareLineFeed,
    /// `Host` that is no host (RFC 9110, section 7.2).
    Host,
    /// HTTP/1.1 without `Host`.
    MissingHost,
    /// More than one `Host`.
    DuplicateHost,
    /// Content-Length and Transfer-Encoding (RFC 9112, section 6.1).
    LengthAndChunked,
    /// Content-Length that is no number, or stands twice (RFC 9112, section 6.3).
    ContentLength,
    /// Transfer-Encoding other than `chunked` (RFC 9112, section 6.1).
    TransferEncoding,
    /// Chunk framing that breaks RFC 9112, section 7.1.
    Chunk,
    /// A trailer that must not be one (RFC 9110, section 6.5.1).
    Trailer,
    /// Head longer than the listener's limit.
    HeadTooLarge,
    /// Target longer than the listener's limit.
    TargetTooLong,
    /// More fields than the listener's limit.
    TooManyHeaders,
    /// Body longer than the listener's limit.
    BodyTooLarge,
    /// The head did not come in time.
    HeadTimeout,
    /// The body stopped coming.
    BodyTimeout,
    /// No route and no pool for it.
    NoRoute,
    /// CONNECT, which asks for a tunnel through a balancer that is none.
    Connect,
    /// A host that neither a route nor a certificate names, where these are refused (RFC 9110, section 15.5.20).
    UnknownHost,
    /// A client that a rule keeps out.
    Denied,
    /// A client that asks more often than a rule allows.
    RateLimited,
    /// No password, or a wrong one.
    Unauthorized,
    /// Too many passwords wait to be proved.
    AuthBusy,
    /// The service that says who may pass says nothing.
    AuthFailed,
    /// A rule makes no valid target of it.
    Rewrite,
    /// A path that cannot be put into normal form (RFC 3986, section 6.2.2), or did not come in it where it must.
    Path,
    /// A path that another server could read in another way, and take elsewhere.
    AmbiguousPath,
    /// A field whose name has an underscore, where these are refused.
    Underscore,
}

impl Reject {
    /// The status that tells the client, and its reason phrase.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Self::Version => (505, "HTTP Version Not Supported"),
            Self::TransferEncoding => (501, "Not Implemented"),
            Self::HeadTooLarge | Self::TooManyHeaders => (431, "Request Header Fields Too Large"),
            Self::TargetTooLong => (414, "URI Too Long"),
            Self::BodyTooLarge => (413, "Content Too Large"),
            Self::HeadTimeout | Self::BodyTimeout => (408, "Request Timeout"),
            Self::NoRoute => (404, "Not Found"),
            Self::Connect => (405, "Method Not Allowed"),
            Self::UnknownHost => (421, "Misdirected Request"),
            Self::Denied => (403, "Forbidden"),
            Self::RateLimited => (429, "Too Many Requests"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::AuthBusy | Self::AuthFailed => (503, "Service Unavailable"),
            _ => (400, "Bad Request"),
        }
    }

    /// How it is counted.
    pub fn counted(self) -> Rejection {
        match self {
            Self::RequestLine => Rejection::BadRequestLine,
            Self::Version => Rejection::BadVersion,
            Self::Target => Rejection::BadTarget,
            Self::Header => Rejection::BadHeader,
            Self::BareLineFeed => Rejection::BareLineFeed,
            Self::Host => Rejection::BadHost,
            Self::MissingHost => Rejection::MissingHost,
            Self::DuplicateHost => Rejection::DuplicateHost,
            Self::LengthAndChunked => Rejection::LengthAndChunked,
            Self::ContentLength => Rejection::BadContentLength,
            Self::TransferEncoding => Rejection::BadTransferEncoding,
            Self::Chunk => Rejection::BadChunk,
            Self::Trailer => Rejection::BadTrailer,
            Self::HeadTooLarge => Rejection::HeadTooLarge,
            Self::TargetTooLong => Rejection::TargetTooLong,
            Self::TooManyHeaders => Rejection::TooManyHeaders,
            Self::BodyTooLarge => Rejection::BodyTooLarge,
            Self::HeadTimeout => Rejection::HeadTimeout,
            Self::BodyTimeout => Rejection::BodyTimeout,
            Self::NoRoute => Rejection::NoRoute,
            Self::Connect => Rejection::ConnectMethod,
            Self::UnknownHost => Rejection::UnknownHost,
            Self::Denied => Rejection::Denied,
            Self::RateLimited => Rejection::RateLimited,
            Self::Unauthorized => Rejection::Unauthorized,
            Self::AuthBusy => Rejection::AuthBusy,
            Self::AuthFailed => Rejection::AuthFailed,
            Self::Rewrite => Rejection::BadRewrite,
            Self::Path => Rejection::BadPath,
            Self::AmbiguousPath => Rejection::AmbiguousPath,
            Self::Underscore => Rejection::Underscore,
        }
    }

    /// Its word in metrics and log.
    pub fn word(self) -> &'static str {
        self.counted().word()
    }

    /// One sentence for whoever sent the request.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::RequestLine => "The request line is malformed.",
            Self::Version => "Only HTTP/1.1 and HTTP/1.0 are spoken here.",
            Self::Target => "The request target is malformed.",
            Self::Header => "A header field is malformed.",
            Self::BareLineFeed => "A line ends in a line feed without a carriage return.",
            Self::Host => "The Host field is malformed.",
            Self::MissingHost => "The Host field is missing.",
            Self::DuplicateHost => "There is more than one Host field.",
            Self::LengthAndChunked => "Content-Length and Transfer-Encoding exclude each other.",
            Self::ContentLength => "Content-Length is malformed or stands twice.",
            Self::TransferEncoding => "Transfer-Encoding must be chunked and nothing else.",
            Self::Chunk => "The chunked body is malformed.",
            Self::Trailer => "A field is not allowed in the trailers.",
            Self::HeadTooLarge => "The request head is too large.",
            Self::TargetTooLong => "The request target is too long.",
            Self::TooManyHeaders => "There are too many header fields.",
            Self::BodyTooLarge => "The request body is too large.",
            Self::HeadTimeout => "The request head did not arrive in time.",
            Self::BodyTimeout => "The request body stopped arriving.",
            Self::NoRoute => "Nothing is served under this address.",
            Self::Connect => "CONNECT is not served here.",
            Self::UnknownHost => "This host is not served here.",
            Self::Denied => "You may not ask for this.",
            Self::RateLimited => "There are too many requests; ask again later.",
            Self::Unauthorized => "A name and a password are needed.",
            Self::AuthBusy => "Too many passwords wait to be proved; ask again later.",
            Self::AuthFailed => "Nobody can say right now whether you may ask for this.",
            Self::Rewrite => "What this address stands for cannot be asked for.",
            Self::Path => "The path is malformed, or leads above the root.",
            Self::AmbiguousPath => "The path can be read in more than one way.",
            Self::Underscore => "The name of a header field has an underscore.",
        }
    }
}

/// How a message's body is delimited (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All until the connection ends; answers only.
    UntilClose,
}

/// The two versions spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunks, no keep-alive unless asked for.
    Http10,
    /// HTTP/1.1.
    Http11,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_word() {
        for (reject, word) in [
            (Reject::RequestLine, "bad_request_line"),
            (Reject::LengthAndChunked, "length_and_chunked"),
            (Reject::HeadTimeout, "head_timeout"),
            (Reject::NoRoute, "no_route"),
            (Reject::Connect, "connect_method"),
            (Reject::UnknownHost, "unknown_host"),
            (Reject::Denied, "denied"),
            (Reject::RateLimited, "rate_limited"),
            (Reject::AuthFailed, "auth_failed"),
        ] {
            assert_eq!(reject.word(), word);
        }
    }
}
