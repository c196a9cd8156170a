//! Whether what has arrived is one request of HTTP/1.1 that can be read in one way only: by RFC 9110 and 9112, and
//! without a line of the program's own code.

use super::Field;

/// What is wrong with it.
pub(crate) fn judge(raw: &[u8]) -> Result<(), String> {
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no end of the head")?;
    let (head, content) = (&raw[..end], &raw[end + 4..]);
    let mut lines = split(head, b"\r\n").into_iter();
    let line = lines.next().unwrap_or_default();
    let [method, target, b"HTTP/1.1"] = split(line, b" ")[..] else { return Err("no request line".into()) };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err("no method".into());
    }
    if !is_target(target) {
        return Err("no target".into());
    }
    let fields: Vec<_> = lines.map(field).collect::<Result<_, _>>()?;
    let values = |wanted: &str| {
        let same = fields.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
        same.map(|(_, value)| *value).collect::<Vec<_>>()
    };
    match values("host")[..] {
        [host] if !host.is_empty() && host.iter().all(|byte| is_of_host(*byte)) => {}
        _ => return Err("not one host".into()),
    }
    match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) if content.is_empty() => Ok(()),
        ([length], []) if *length == content.len().to_string().as_bytes() => Ok(()),
        ([], [b"chunked"]) => chunks(content),
        _ => Err("no framing, or two".into()),
    }
}

fn field(line: &[u8]) -> Result<Field<'_>, String> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("a line that is no field")?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let is_value = value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || !is_value {
        return Err(format!("{:?} is no field", text(line)));
    }
    Ok((name, value))
}

fn chunks(mut rest: &[u8]) -> Result<(), String> {
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").ok_or("a chunk without its size")?;
        let digits = text(&rest[..end]);
        let size = usize::from_str_radix(&digits, 16).map_err(|error| format!("{digits:?}: {error}"))?;
        rest = &rest[end + 2..];
        if size == 0 {
            break;
        }
        let (chunk, behind) = rest.split_at_checked(size + 2).ok_or("half a chunk")?;
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk without its end".into());
        }
        rest = behind;
    }
    let trailers = rest.strip_suffix(b"\r\n").ok_or("no end of the trailers")?;
    let lines = split(trailers, b"\r\n").into_iter().filter(|line| !line.is_empty());
    for (name, _) in lines.map(field).collect::<Result<Vec<_>, _>>()? {
        if [&b"host"[..], b"content-length", b"transfer-encoding"].contains(&name) {
            return Err(format!("{:?} in trailers", text(name)));
        }
    }
    Ok(())
}

/// A byte of a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A path with its query. Of the bytes between `!` and `~`, RFC 3986 leaves out some that browsers send all the same,
/// and no reader takes for an end; the program lets them pass in both versions.
pub(crate) fn is_target(target: &[u8]) -> bool {
    target.starts_with(b"/") && target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#')
}

/// A byte of a host with its port, of those that RFC 3986 has for them.
pub(crate) fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(&byte)
}

pub(crate) fn split<'b>(bytes: &'b [u8], by: &[u8]) -> Vec<&'b [u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(by.len()).position(|window| window == by) {
        parts.push(&rest[..at]);
        rest = &rest[at + by.len()..];
    }
    parts.push(rest);
    parts
}

/// For whoever reads what is wrong.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
