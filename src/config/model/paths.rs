//! `normalize` and `underscores`: what a listener makes of paths and names that servers read in several ways.

/// `normalize`: in which form paths are looked at and passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalize {
    /// As they come.
    Off,
    /// In normal form (RFC 3986, section 6.2.2); what leads elsewhere when it is read in another way is refused.
    Safe,
    /// The same, with one slash for several.
    Merge,
    /// In no other form than that do they come in, and what can be read in another way is refused.
    Strict,
}

/// `underscores`: what becomes of fields whose name has an underscore, which some programs take for a hyphen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Underscores {
    /// They are passed on, as long as they are none of those that the balancer writes itself.
    Keep,
    /// They are left out.
    Drop,
    /// The request is refused.
    Refuse,
}
