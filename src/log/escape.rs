//! What a client or a backend sent, written so that it can neither end a line nor leave its quotes.
//!
//! Called for each such piece of a line. Hot path where a log is on: plain text, which nearly all is, is copied.

/// How a line quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// Quotes and backslashes with a backslash, other bytes as `\x00`.
    Text,
    /// As JSON has it (RFC 8259, section 7); what is no UTF-8 becomes U+FFFD.
    Json,
}

/// Appends `bytes`, escaped.
pub fn append(out: &mut Vec<u8>, bytes: &[u8], escape: Escape) {
    if bytes.iter().all(|byte| is_plain(*byte)) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            character(out, letter, escape);
        }
        match escape {
            Escape::Text => chunk.invalid().iter().for_each(|byte| hexadecimal(out, *byte)),
            Escape::Json if chunk.invalid().is_empty() => {}
            Escape::Json => out.extend_from_slice(b"\\ufffd"),
        }
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn character(out: &mut Vec<u8>, letter: char, escape: Escape) {
    match letter {
        '"' | '\\' => out.extend_from_slice(&[b'\\', letter as u8]),
        ' '..='~' => out.push(letter as u8),
        // Beyond control characters: those that some readers take for the end of a line, or that turn its direction.
        _ if letter.is_control() || is_misleading(letter) => match escape {
            Escape::Text => letter.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| hexadecimal(out, byte)),
            Escape::Json => {
                out.extend_from_slice(b"\\u");
                let number = letter as u32;
                digits(out, (number >> 8) as u8);
                digits(out, number as u8);
            }
        },
        _ => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// All of them have 16 bits.
fn is_misleading(letter: char) -> bool {
    matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

fn hexadecimal(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(b"\\x");
    digits(out, byte);
}

fn digits(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8], escape: Escape) -> String {
        let mut out = Vec::new();
        append(&mut out, bytes, escape);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_ends_a_line_or_leaves_its_quotes() {
        for (bytes, text, json) in [
            (&b"plain, and more"[..], "plain, and more", "plain, and more"),
            (b"a\"b\\c", r#"a\"b\\c"#, r#"a\"b\\c"#),
            (b"a\nb\r\tc\0", r"a\x0ab\x0d\x09c\x00", r"a\u000ab\u000d\u0009c\u0000"),
            (b"\x1b[31m\x7f", r"\x1b[31m\x7f", r"\u001b[31m\u007f"),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n", "gr\u{fc}n"),
            (b"gr\xfcn", r"gr\xfcn", r"gr\ufffdn"),
            ("\u{85}\u{2028}\u{202e}".as_bytes(), r"\xc2\x85\xe2\x80\xa8\xe2\x80\xae", r"\u0085\u2028\u202e"),
            (b"", "", ""),
        ] {
            assert_eq!(escaped(bytes, Escape::Text), text, "{bytes:?}");
            assert_eq!(escaped(bytes, Escape::Json), json, "{bytes:?}");
        }
    }

    #[test]
    fn every_byte_gives_a_text_that_json_reads() {
        for byte in 0..=255_u8 {
            let quoted = format!("\"{}\"", escaped(&[b'a', byte, b'b'], Escape::Json));
            let read: String = serde_json::from_str(&quoted).unwrap();
            assert!(read.starts_with('a') && read.ends_with('b'), "{byte}");
        }
    }
}
