//! What rules change of a head on its way: fields that are taken out, lines that are put in, and what it asks for.
//!
//! Empty for nearly every message, which then costs nothing.

use super::fields::{self, Left};
use crate::net::buffer::Buffer;

/// Changes of one head.
#[derive(Debug, Default)]
pub struct Edits {
    left: Left,
    lines: Vec<u8>,
    /// In place of the request's own.
    target: Option<Vec<u8>>,
}

impl Edits {
    /// Takes out every field whose name (lower case) is among these.
    pub fn remove(&mut self, fields: &[httparse::Header<'_>], names: &[impl AsRef<str>]) {
        for (index, field) in fields.iter().enumerate() {
            if names.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_ref())) {
                self.left.out(index);
            }
        }
    }

    /// Takes out every field whose name is not one to keep.
    pub fn keep(&mut self, fields: &[httparse::Header<'_>], is_kept: impl Fn(&str) -> bool) {
        for (index, _) in fields.iter().enumerate().filter(|(_, field)| !is_kept(field.name)) {
            self.left.out(index);
        }
    }

    /// Takes out every field whose name is one of these to programs that cannot tell `_` from `-`.
    pub fn remove_alike(&mut self, fields: &[httparse::Header<'_>], names: &[impl AsRef<str>]) {
        for (index, field) in fields.iter().enumerate() {
            let name = field.name.as_bytes();
            if names.iter().any(|known| fields::is_alike(name, known.as_ref().as_bytes())) {
                self.left.out(index);
            }
        }
    }

    /// Takes out one field.
    pub fn remove_at(&mut self, index: usize) {
        self.left.out(index);
    }

    /// Whether a field is taken out.
    pub fn is_out(&self, index: usize) -> bool {
        self.left.is_out(index)
    }

    /// The value of a line that was put in; `name` in lower case.
    pub fn added(&self, name: &str) -> Option<&[u8]> {
        self.lines.split(|byte| *byte == b'\n').find_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let value = line[colon + 1..].trim_ascii();
            line[..colon].eq_ignore_ascii_case(name.as_bytes()).then_some(value)
        })
    }

    /// Asks for something else: path and query, valid as they are.
    pub fn retarget(&mut self, target: Vec<u8>) {
        self.target = Some(target);
    }

    /// What is asked for instead.
    pub fn target(&self) -> Option<&[u8]> {
        self.target.as_deref()
    }

    /// Puts a line in. Neither part may hold a line end.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        push_line(&mut self.lines, name, value);
    }

    /// Puts in lines that are written already, each with its end.
    pub fn add_lines(&mut self, lines: &[u8]) {
        self.lines.extend_from_slice(lines);
    }

    /// Writes what stays of a head's fields, and what comes new.
    pub(super) fn write(&self, out: &mut Buffer, head: &[u8], fields: &[httparse::Header<'_>], left: &Left) {
        let left = left.and(&self.left);
        for span in fields::kept(head, fields, &left) {
            out.append(span);
        }
        out.append(&self.lines);
    }
}

/// Writes one field line.
pub fn push_line(lines: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        lines.extend_from_slice(part);
    }
}
