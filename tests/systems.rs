//! The systems in front of which Evenkeel stands, by fakes that behave as they do, each with its preset.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;
