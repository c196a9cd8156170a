//! `traceparent` (W3C Trace Context, section 3.2): read strictly, and written.
//!
//! Hot where traces are on: no allocation.

/// What a `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: u128,
    /// The span that asks.
    pub span: u64,
    /// Whether whoever asks records it.
    pub recorded: Recorded,
}

/// The flag `sampled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// Length of a `traceparent` of version 00.
pub const LENGTH: usize = 55;
/// Where the id of the span stands in it.
pub const SPAN_AT: usize = 36;

impl Context {
    /// Reads one; `None` where it is not valid, and a trace begins here.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, more) = value.split_at_checked(LENGTH)?;
        let version = hexadecimal(known.get(..2)?)?;
        // Later versions may say more behind another hyphen; 255 is none.
        let fits = match version {
            0 => more.is_empty(),
            255 => false,
            _ => more.first().is_none_or(|next| *next == b'-'),
        };
        let hyphens = [2, 35, 52].iter().all(|at| known.get(*at) == Some(&b'-'));
        let trace = hexadecimal(known.get(3..35)?)?;
        let span = u64::try_from(hexadecimal(known.get(36..52)?)?).ok()?;
        let flags = hexadecimal(known.get(53..55)?)?;
        let recorded = if flags & 1 == 1 { Recorded::Yes } else { Recorded::No };
        (fits && hyphens && trace != 0 && span != 0).then_some(Self { trace, span, recorded })
    }

    /// Writes it.
    pub fn write(&self) -> [u8; LENGTH] {
        let mut out = [b'-'; LENGTH];
        digits(&mut out[..2], 0);
        digits(&mut out[3..35], self.trace);
        digits(&mut out[36..52], self.span.into());
        digits(&mut out[53..], u128::from(self.recorded == Recorded::Yes));
        out
    }
}

/// The id of a span as it is written.
pub fn span_id(span: u64) -> [u8; 16] {
    let mut out = [0; 16];
    digits(&mut out, span.into());
    out
}

/// Lower case only, as the format has it.
fn hexadecimal(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0_u128, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

fn digits(out: &mut [u8], mut number: u128) {
    for place in out.iter_mut().rev() {
        *place = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_valid_is_continued() {
        let read = Context::parse(GOOD.as_bytes()).unwrap();
        assert_eq!((read.trace, read.span), (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331));
        assert_eq!(read.write(), GOOD.as_bytes());
        assert_eq!(&read.write()[SPAN_AT..SPAN_AT + 16], &span_id(read.span));
        let unsampled = GOOD.replace("-01", "-00");
        assert_eq!(Context::parse(unsampled.as_bytes()).unwrap().recorded, Recorded::No);
        let later = format!("{}-more", GOOD.replacen("00", "cc", 1));
        assert!(Context::parse(later.as_bytes()).is_some(), "of a later version, what is known counts");
    }

    #[test]
    fn what_is_not_valid_is_none() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.",
        ] {
            assert_eq!(Context::parse(text.as_bytes()), None, "{text}");
        }
    }
}
