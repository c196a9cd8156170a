//! `[metrics]`: what `/metrics` says, and how finely.

/// `[metrics]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Upper bounds of the histograms, microseconds, ascending.
    pub bounds_micros: Vec<u64>,
    /// Whether requests are kept that stand for the others of their bucket.
    pub exemplars: Exemplars,
    /// How much is said of each backend.
    pub backends: Breadth,
}

/// `metrics.exemplars`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exemplars {
    /// The latest request of each bucket, with its identity.
    Keep,
    /// None.
    Off,
}

/// `metrics.backends`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breadth {
    /// Everything.
    All,
    /// Whether it is up, what is under way at it, what it got and what failed.
    Brief,
    /// Nothing: pools say enough.
    None,
}

impl Breadth {
    /// What operators write for them.
    pub const WORDS: &'static [(&'static str, Self)] =
        &[("all", Self::All), ("brief", Self::Brief), ("none", Self::None)];
}
