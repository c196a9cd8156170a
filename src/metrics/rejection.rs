//! Why the balancer refused a request, or closed a connection: one variant a line, with its word in metrics and log.
//!
//! A counter is found by its variant, never by a number that somebody wrote down. New reasons go to the end: dashboards
//! know the words, and nobody knows the order.

use super::Counter;

/// Writes the enum and the words of its variants from one list.
macro_rules! rejections {
    ($($(#[$about:meta])* $name:ident = $word:literal,)*) => {
        /// Why something was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Rejection {
            $($(#[$about])* $name,)*
        }

        impl Rejection {
            /// All of them, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its word in metrics and log.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

rejections! {
    /// A request line that is none.
    BadRequestLine = "bad_request_line",
    /// Neither HTTP/1.0 nor HTTP/1.1.
    BadVersion = "bad_version",
    /// No valid form of target.
    BadTarget = "bad_target",
    /// A field line that is none.
    BadHeader = "bad_header",
    /// A line that ends in LF alone.
    BareLineFeed = "bare_line_feed",
    /// `Host` that is no host.
    BadHost = "bad_host",
    /// HTTP/1.1 without `Host`.
    MissingHost = "missing_host",
    /// More than one `Host`.
    DuplicateHost = "duplicate_host",
    /// Content-Length beside Transfer-Encoding.
    LengthAndChunked = "length_and_chunked",
    /// Content-Length that is no number, or stands twice.
    BadContentLength = "bad_content_length",
    /// Transfer-Encoding other than `chunked`.
    BadTransferEncoding = "bad_transfer_encoding",
    /// Chunk framing that is none.
    BadChunk = "bad_chunk",
    /// A trailer that must not be one.
    BadTrailer = "bad_trailer",
    /// A head longer than the listener's limit.
    HeadTooLarge = "head_too_large",
    /// A target longer than the listener's limit.
    TargetTooLong = "target_too_long",
    /// More fields than the listener's limit.
    TooManyHeaders = "too_many_headers",
    /// A body longer than the listener's limit.
    BodyTooLarge = "body_too_large",
    /// The head did not come in time.
    HeadTimeout = "head_timeout",
    /// The body stopped coming.
    BodyTimeout = "body_timeout",
    /// Nobody whom the routes or the listener name.
    NoRoute = "no_route",
    /// CONNECT.
    ConnectMethod = "connect_method",
    /// A host that nobody names, where these are refused.
    UnknownHost = "unknown_host",
    /// A connection without the header of the PROXY protocol that it must begin with.
    ProxyHeader = "proxy_header",
    /// A client that a rule keeps out.
    Denied = "denied",
    /// A first message that is no hello of a TLS client, where routes look at its name.
    ClientHello = "client_hello",
    /// A client that asks more often than a rule allows.
    RateLimited = "rate_limited",
    /// No password, or a wrong one.
    Unauthorized = "unauthorized",
    /// Too many passwords wait to be proved.
    AuthBusy = "auth_busy",
    /// The service that says who may pass says nothing.
    AuthFailed = "auth_failed",
    /// A rule makes no valid target of it.
    BadRewrite = "bad_rewrite",
    /// A path that cannot be put into normal form, or did not come in it where it must.
    BadPath = "bad_path",
    /// A path that another server could take elsewhere.
    AmbiguousPath = "ambiguous_path",
    /// A field whose name has an underscore, where these are refused.
    Underscore = "underscore",
    /// A connection of a client that has as many as it may.
    ConnectionsPerClient = "connections_per_client",
}

/// A counter for each.
#[derive(Debug)]
pub struct Rejected([Counter; Rejection::ALL.len()]);

impl Default for Rejected {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Rejected {
    /// The one for this.
    #[inline]
    pub fn of(&self, why: Rejection) -> &Counter {
        &self.0[why as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_word_of_its_own_and_stands_at_its_counter() {
        let mut words: Vec<_> = Rejection::ALL.iter().map(|reason| reason.word()).collect();
        assert!(Rejection::ALL.iter().enumerate().all(|(at, reason)| *reason as usize == at));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Rejection::ALL.len());
    }
}
