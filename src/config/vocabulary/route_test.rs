//! The words of `[[test]]`.

use super::Words;

pub(in super::super) const TEST: Words = Words {
    place: "[[test]]",
    keys: &["request", "expect", "listener", "client", "headers"],
    later: &["body", "name", "steps"],
    foreign: &[
        ("url", "request = \"GET https://www.example.com/path\""),
        ("method", "request = \"GET https://www.example.com/path\""),
        ("path", "request = \"GET https://www.example.com/path\""),
        ("host", "request = \"GET https://www.example.com/path\""),
        ("header", "headers = { X-Beta = \"1\" }"),
        ("from", "client"),
        ("source", "client"),
        ("ip", "client"),
        ("pool", "expect = { pool = \"NAME\" }"),
        ("status", "expect = { status = 404 }"),
        ("frontend", "listener"),
    ],
};

pub(in super::super) const EXPECT: Words = Words {
    place: "expect = { ... }",
    keys: &["pool", "status", "redirect", "closed"],
    later: &["route", "backend", "path", "header"],
    foreign: &[
        ("respond", "status"),
        ("code", "status"),
        ("location", "redirect"),
        ("to", "redirect"),
        ("backend_pool", "pool"),
    ],
};
