//! Durations, sizes, shares and the like: text with a unit into numbers, with the remedy where it does not fit.

use std::time::Duration;

/// What is wrong with a piece of text, before it has a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// A short name of its kind.
    pub(super) code: &'static str,
    /// The fault in one line.
    pub(super) message: String,
    /// What stands under the underlined text.
    pub(super) label: String,
    /// What to write instead.
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(code: &'static str, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { code, message: message.into(), label: label.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// No deadline needs more, and clocks do not overflow below it.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// `250ms`, `2s`, `5m`, `1h`, `1d`.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    let fault = |label: &str| Fault::new("duration", format!("`{text}` is not a duration"), label);
    let forms = "durations are a number and a unit: 250ms, 2s, 5m, 1h or 1d";
    let compact = text.trim();
    let digits = compact.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(compact.len());
    let (number, unit) = compact.split_at(digits);
    if number.is_empty() {
        return Err(fault("no number").help(forms));
    }
    if unit.starts_with('.') {
        return Err(fraction(text, compact));
    }
    if unit.is_empty() {
        return Err(fault("the unit is missing").help(format!("write \"{number}s\" for seconds or \"{number}ms\"")));
    }
    let word = unit.trim();
    let Some((short, millis)) = unit_of_time(word) else {
        return Err(match word.to_ascii_lowercase().as_str() {
            "us" | "µs" | "ns" => fault("too fine").help("the shortest unit is the millisecond: write \"1ms\""),
            _ => fault("not a unit of time").help(forms),
        });
    };
    if unit != short || compact != text {
        return Err(fault("not the way to write it").help(format!("write \"{number}{short}\"")));
    }
    let whole = number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis)).map(Duration::from_millis);
    whole.filter(|whole| *whole <= DURATION_MAX).ok_or_else(|| {
        Fault::new("duration", format!("`{text}` is too long"), "the longest duration is 365d")
            .help("write \"365d\" or less")
    })
}

fn fraction(text: &str, compact: &str) -> Fault {
    let fault = Fault::new("duration", format!("`{text}` is not a duration"), "durations are whole numbers");
    let digits = compact.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let number: Option<f64> = digits.parse().ok();
    match (number, unit_of_time(compact[digits.len()..].trim())) {
        (Some(number), Some((_, millis))) if number < 1e9 => {
            #[expect(clippy::cast_sign_loss, reason = "a number that starts with a digit is not negative")]
            let millis = (number * millis as f64).round() as u64;
            fault.help(format!("write \"{}\"", written(Duration::from_millis(millis))))
        }
        _ => fault.help("write 1500ms instead of 1.5s"),
    }
}

/// The unit as we write it, and its milliseconds.
fn unit_of_time(word: &str) -> Option<(&'static str, u64)> {
    Some(match word.to_ascii_lowercase().as_str() {
        "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => ("ms", 1),
        "s" | "sec" | "secs" | "second" | "seconds" => ("s", 1000),
        "m" | "min" | "mins" | "minute" | "minutes" => ("m", 60 * 1000),
        "h" | "hr" | "hrs" | "hour" | "hours" => ("h", 60 * 60 * 1000),
        "d" | "day" | "days" => ("d", 24 * 60 * 60 * 1000),
        _ => return None,
    })
}

/// A duration as an operator would write it.
pub fn written(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if millis >= size && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

/// `16KiB`, `10MB`, `512B`: bytes.
pub(super) fn size(text: &str) -> Result<u64, Fault> {
    let fault = |label: &str| Fault::new("size", format!("`{text}` is not a size"), label);
    let forms = "sizes are a number and a unit: 512B, 16KiB, 10MB, 1GiB";
    let compact = text.trim();
    let digits = compact.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(compact.len());
    let (number, unit) = compact.split_at(digits);
    if number.is_empty() {
        return Err(fault("no number").help(forms));
    }
    if unit.is_empty() {
        return Err(fault("the unit is missing").help(format!("write \"{number}B\" for bytes or \"{number}KiB\"")));
    }
    let Some((short, bytes)) = unit_of_size(unit.trim()) else {
        return Err(fault("not a unit of size").help(forms));
    };
    if unit != short || compact != text {
        return Err(fault("not the way to write it").help(format!("write \"{number}{short}\"")));
    }
    let whole = number.parse::<u64>().ok().and_then(|number| number.checked_mul(bytes));
    whole.ok_or_else(|| Fault::new("size", format!("`{text}` is too much"), "more than 64 bits can count"))
}

fn unit_of_size(word: &str) -> Option<(&'static str, u64)> {
    Some(match word {
        "B" | "b" | "bytes" | "byte" => ("B", 1),
        "kB" => ("kB", 1000),
        "KB" => ("KB", 1000),
        "MB" => ("MB", 1_000_000),
        "GB" => ("GB", 1_000_000_000),
        "KiB" | "kib" | "Ki" | "k" | "K" | "kb" => ("KiB", 1 << 10),
        "MiB" | "mib" | "Mi" | "m" | "M" | "mb" => ("MiB", 1 << 20),
        "GiB" | "gib" | "Gi" | "g" | "G" | "gb" => ("GiB", 1 << 30),
        _ => return None,
    })
}

/// A size as an operator would write it.
pub(super) fn written_size(bytes: u64) -> String {
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

/// `20%`: a share from 0 to 1.
pub(super) fn share(text: &str) -> Result<f32, Fault> {
    let number = text.strip_suffix('%').and_then(|digits| digits.parse::<f32>().ok());
    match number {
        Some(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        Some(_) => Err(Fault::new("share", format!("`{text}` is out of range"), "a share goes from 0% to 100%")),
        None => {
            let fault = Fault::new("share", format!("`{text}` is not a share"), "expected a percentage");
            Err(fault.help("write \"20%\" or 0.2"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in [("0s", 0), ("250ms", 250), ("2s", 2000), ("5m", 300_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        assert_eq!(duration("1d").unwrap(), Duration::from_secs(86_400));
    }

    #[test]
    fn a_wrong_duration_is_answered_with_the_right_one() {
        for (text, help) in [
            ("5sec", "write \"5s\""),
            ("5 s", "write \"5s\""),
            ("5S", "write \"5s\""),
            ("10min", "write \"10m\""),
            ("5", "write \"5s\" for seconds or \"5ms\""),
            ("1.5s", "write \"1500ms\""),
            ("0.5m", "write \"30s\""),
            ("soon", "durations are a number and a unit: 250ms, 2s, 5m, 1h or 1d"),
            ("5x", "durations are a number and a unit: 250ms, 2s, 5m, 1h or 1d"),
            ("", "durations are a number and a unit: 250ms, 2s, 5m, 1h or 1d"),
            ("7us", "the shortest unit is the millisecond: write \"1ms\""),
            ("99999999999999999999d", "write \"365d\" or less"),
            ("400d", "write \"365d\" or less"),
        ] {
            assert_eq!(duration(text).unwrap_err().help.as_deref(), Some(help), "{text}");
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        for (text, bytes) in [("512B", 512), ("16KiB", 16_384), ("10MB", 10_000_000), ("1GiB", 1 << 30), ("0B", 0)] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn a_wrong_size_is_answered_with_the_right_one() {
        for (text, help) in [
            ("64k", "write \"64KiB\""),
            ("10m", "write \"10MiB\""),
            ("64 KiB", "write \"64KiB\""),
            ("64", "write \"64B\" for bytes or \"64KiB\""),
            ("big", "sizes are a number and a unit: 512B, 16KiB, 10MB, 1GiB"),
        ] {
            assert_eq!(size(text).unwrap_err().help.as_deref(), Some(help), "{text}");
        }
        assert!(size("99999999999999999999GiB").is_err());
    }

    #[test]
    fn shares_are_percentages() {
        assert!((share("20%").unwrap() - 0.2).abs() < 1e-6);
        assert!(share("120%").is_err());
        assert!(share("20").is_err());
    }

    #[test]
    fn durations_are_written_with_the_largest_unit_that_fits() {
        for text in ["250ms", "2s", "90s", "5m", "1h", "2d"] {
            assert_eq!(written(duration(text).unwrap()), text);
        }
    }
}
