//! The answer to a statement: done, a refusal, or a result set in the text protocol. PURE: takes packet after packet.
//!
//! Of a result set the first [`MAX_ROWS`] rows are kept and the others counted; whoever reads the packets limits their
//! bytes.

use super::packet::{Refusal, text};

/// Rows kept: a server has fewer sources than this, and a group fewer members.
pub(super) const MAX_ROWS: usize = 64;
/// Most columns that a table can have.
const MAX_COLUMNS: u64 = 4096;
/// Of the first byte of a status.
const IN_TRANSACTION: u8 = 1;

/// A complete answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Done, and there is nothing to show.
    Done,
    Rows(Rows),
    Refused(Refusal),
}

/// The values of one row; `None` is NULL.
pub(super) type Row = Vec<Option<Vec<u8>>>;

/// A result set.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) columns: Vec<String>,
    /// The first rows.
    pub(super) kept: Vec<Row>,
    /// All rows, kept or not.
    pub(super) count: usize,
}

/// Puts packets together to an answer.
#[derive(Debug)]
pub(super) struct Reader {
    stage: Stage,
    rows: Rows,
    transaction: Transaction,
}

/// Whether a statement leaves a transaction open, which a connection that is kept would keep as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transaction {
    Open,
    None,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Head,
    /// So many are missing.
    Columns(u64),
    ColumnsEnd,
    Rows,
}

/// What came is no answer to a statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Reader {
    pub(super) fn new() -> Self {
        Self { stage: Stage::Head, rows: Rows::default(), transaction: Transaction::None }
    }

    /// What the answer leaves behind, once it is complete.
    pub(super) fn transaction(&self) -> Transaction {
        self.transaction
    }

    /// Takes the next packet; gives the answer when it is complete.
    pub(super) fn take(&mut self, payload: &[u8]) -> Result<Option<Answer>, Malformed> {
        if payload.first() == Some(&0xff) {
            return Refusal::parse(payload).map(|refusal| Some(Answer::Refused(refusal))).ok_or(Malformed);
        }
        match self.stage {
            Stage::Head => return self.head(payload),
            Stage::Columns(left) => {
                self.rows.columns.push(column(payload).ok_or(Malformed)?);
                self.stage = if left > 1 { Stage::Columns(left - 1) } else { Stage::ColumnsEnd };
            }
            Stage::ColumnsEnd if is_end(payload) => self.stage = Stage::Rows,
            Stage::ColumnsEnd => return Err(Malformed),
            Stage::Rows if is_end(payload) => {
                // A mark, the count of warnings, and the status.
                self.see_status(payload.get(3..));
                return Ok(Some(Answer::Rows(std::mem::take(&mut self.rows))));
            }
            Stage::Rows => {
                self.rows.count += 1;
                if self.rows.kept.len() < MAX_ROWS {
                    let row = row(payload, self.rows.columns.len()).ok_or(Malformed)?;
                    self.rows.kept.push(row);
                }
            }
        }
        Ok(None)
    }

    fn head(&mut self, payload: &[u8]) -> Result<Option<Answer>, Malformed> {
        if let Some(rest) = payload.strip_prefix(&[0]) {
            // Rows that were changed, the id of the last one, and the status.
            self.see_status(number(rest).and_then(|(_, rest)| number(rest)).map(|(_, rest)| rest));
            return Ok(Some(Answer::Done));
        }
        // 0xfb asks for a local file, which nobody gets here; `number` refuses it.
        let (columns, rest) = number(payload).ok_or(Malformed)?;
        if !(1..=MAX_COLUMNS).contains(&columns) || !rest.is_empty() {
            return Err(Malformed);
        }
        self.stage = Stage::Columns(columns);
        Ok(None)
    }

    fn see_status(&mut self, status: Option<&[u8]>) {
        if status.and_then(<[u8]>::first).is_some_and(|status| status & IN_TRANSACTION != 0) {
            self.transaction = Transaction::Open;
        }
    }
}

impl Rows {
    /// In one line, for a transcript: how many, and the beginning of the first one.
    pub(super) fn summary(&self) -> String {
        const MOST: usize = 200;
        let mut line = if self.count == 1 { "1 row".to_owned() } else { format!("{} rows", self.count) };
        let first = self.columns.iter().zip(self.kept.first().into_iter().flatten());
        for (position, (column, value)) in first.enumerate() {
            let value = value.as_deref().map_or_else(|| "NULL".to_owned(), text);
            for piece in [if position == 0 { ": " } else { ", " }, column, " = ", &value] {
                line.push_str(piece);
            }
            if line.len() > MOST {
                line.push('…');
                break;
            }
        }
        line
    }

    /// The value of a column of a row, by the first of these names that the result has, in any case.
    pub(super) fn value(&self, row: usize, names: &[&str]) -> Option<&str> {
        let column = names.iter().find_map(|name| self.column(name))?;
        self.at(row, column)
    }

    /// The text at a place; `None` for NULL as for a place that is not there.
    pub(super) fn at(&self, row: usize, column: usize) -> Option<&str> {
        std::str::from_utf8(self.kept.get(row)?.get(column)?.as_deref()?).ok()
    }

    /// Where a column is.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.eq_ignore_ascii_case(name))
    }

    /// The second value of the row whose first one is `name`, as `SHOW STATUS` gives them.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        let is_it = |row: &usize| self.at(*row, 0).is_some_and(|first| first.eq_ignore_ascii_case(name));
        self.at((0..self.kept.len()).find(is_it)?, 1)
    }
}

fn is_end(payload: &[u8]) -> bool {
    payload.first() == Some(&0xfe) && payload.len() < 9
}

/// The name of a column: the fifth of the texts that its definition begins with.
fn column(payload: &[u8]) -> Option<String> {
    let mut rest = payload;
    for _ in 0..4 {
        rest = string(rest)?.1;
    }
    Some(text(string(rest)?.0))
}

fn row(payload: &[u8], columns: usize) -> Option<Row> {
    let mut rest = payload;
    let mut values = Vec::with_capacity(columns.min(64));
    for _ in 0..columns {
        if let Some(after) = rest.strip_prefix(&[0xfb]) {
            values.push(None);
            rest = after;
        } else {
            let (value, after) = string(rest)?;
            values.push(Some(value.to_vec()));
            rest = after;
        }
    }
    rest.is_empty().then_some(values)
}

/// A text with its length in front.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// A number of one to nine bytes.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let size = match first {
        0..=0xfa => return Some((u64::from(*first), rest)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return None,
    };
    let (digits, rest) = rest.split_at_checked(size)?;
    Some((digits.iter().rev().fold(0, |number, digit| number << 8 | u64::from(*digit)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &[u8] = &[0xfe, 0, 0, 2, 0];

    fn definition(name: &str) -> Vec<u8> {
        let mut bytes = b"\x03def\x00\x00\x00".to_vec();
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&[0, 12, 33, 0, 0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
        bytes
    }

    fn read(packets: &[&[u8]]) -> Result<Option<Answer>, Malformed> {
        let mut reader = Reader::new();
        let mut answer = None;
        for packet in packets {
            assert_eq!(answer, None, "nothing comes after the answer");
            answer = reader.take(packet)?;
        }
        Ok(answer)
    }

    fn two_columns<'a>(definitions: &'a [Vec<u8>; 2], rows: &[&'a [u8]]) -> Vec<&'a [u8]> {
        let head: [&[u8]; 4] = [&[2], &definitions[0], &definitions[1], END];
        [&head[..], rows, &[END]].concat()
    }

    #[test]
    fn rows_come_by_place_and_by_name() {
        let definitions = [definition("Variable_name"), definition("Value")];
        let packets = two_columns(&definitions, &[b"\x0bwsrep_ready\x02ON", b"\x05lag_s\xfb", b"\x00\x00"]);
        let Ok(Some(Answer::Rows(rows))) = read(&packets) else { panic!() };
        assert_eq!(rows.columns, ["Variable_name", "Value"]);
        assert_eq!((rows.count, rows.kept.len()), (3, 3));
        assert_eq!(rows.named("WSREP_READY"), Some("ON"));
        assert_eq!(rows.named("lag_s"), None, "NULL");
        assert_eq!(rows.named("nothing"), None);
        assert_eq!(rows.value(0, &["gone", "value"]), Some("ON"));
        assert_eq!(rows.value(7, &["value"]), None);
        assert_eq!(rows.at(2, 0), Some(""));
    }

    #[test]
    fn answers_without_rows_are_told_apart() {
        let refused = Refusal { code: 1146, text: "no such table".to_owned() };
        assert_eq!(read(&[&[0, 0, 0, 2, 0, 0, 0]]), Ok(Some(Answer::Done)));
        assert_eq!(read(&[b"\xff\x7a\x04#42S02no such table"]), Ok(Some(Answer::Refused(refused))));
        let definitions = [definition("a"), definition("b")];
        let Ok(Some(Answer::Rows(rows))) = read(&two_columns(&definitions, &[])) else { panic!() };
        assert_eq!((rows.count, rows.at(0, 0)), (0, None));
        // A server may fail in the middle of its rows.
        let mut packets = two_columns(&definitions, &[b"\x01a\x01b"]);
        packets.pop();
        packets.push(b"\xff\x25\x05#70100interrupted");
        assert!(matches!(read(&packets), Ok(Some(Answer::Refused(Refusal { code: 1317, .. })))));
    }

    #[test]
    fn an_open_transaction_is_noticed() {
        let definitions = [definition("a"), definition("b")];
        let mut packets = two_columns(&definitions, &[]);
        packets.pop();
        for (end, expected) in [(&[0xfe, 0, 0, 3, 0], Transaction::Open), (&[0xfe, 0, 0, 2, 0], Transaction::None)] {
            let mut reader = Reader::new();
            let packets = packets.iter().copied().chain([&end[..]]);
            assert!(packets.map(|packet| reader.take(packet).unwrap()).last().flatten().is_some());
            assert_eq!(reader.transaction(), expected);
        }
        for (done, expected) in [(&[0, 0xfc, 1, 1, 0, 3, 0][..], Transaction::Open), (&[0], Transaction::None)] {
            let mut reader = Reader::new();
            assert_eq!(reader.take(done), Ok(Some(Answer::Done)));
            assert_eq!(reader.transaction(), expected);
        }
    }

    #[test]
    fn no_more_than_a_few_rows_are_kept() {
        let definitions = [definition("a"), definition("b")];
        let rows = vec![b"\x01a\x01b".as_slice(); 5_000];
        let Ok(Some(Answer::Rows(rows))) = read(&two_columns(&definitions, &rows)) else { panic!() };
        assert_eq!((rows.count, rows.kept.len()), (5_000, MAX_ROWS));
    }

    #[test]
    fn numbers_have_one_to_nine_bytes() {
        let rows: &[(&[u8], Option<u64>)] = &[
            (&[0xfa], Some(250)),
            (&[0xfc, 1, 2], Some(0x0201)),
            (&[0xfd, 1, 2, 3], Some(0x03_0201)),
            (&[0xfe, 1, 0, 0, 0, 0, 0, 0, 1], Some(0x0100_0000_0000_0001)),
            (&[0xfb], None),
            (&[0xff], None),
            (&[0xfc, 1], None),
            (&[], None),
        ];
        for (bytes, expected) in rows {
            assert_eq!(number(bytes).map(|(number, _)| number), *expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused_and_nothing_makes_it_panic() {
        let definitions = [definition("a"), definition("b")];
        for head in [&[0xfb][..], b"\xfb/etc/passwd", &[0xfd, 0, 0, 1], &[1, 1], &[0xff, 1], &[]] {
            assert_eq!(read(&[head]), Err(Malformed), "{head:02x?}");
        }
        for bad in [&b"\x01a"[..], b"\x01a\x01b\x01c", b"\x05a\x01b", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff", b""] {
            assert_eq!(read(&two_columns(&definitions, &[bad])), Err(Malformed), "{bad:02x?}");
        }
        assert_eq!(read(&[&[1], &definitions[0], b"\x01a"]), Err(Malformed), "no end of the columns");
        let good = two_columns(&definitions, &[b"\x01a\xfb", b"\x01a\x01b"]);
        for (at, packet) in good.iter().enumerate() {
            for end in 0..packet.len() {
                for value in [0, 1, 0xfb, 0xfc, 0xfe, 0xff] {
                    let mut changed = packet.to_vec();
                    changed[end] = value;
                    let mut packets = good.clone();
                    packets[at] = &changed;
                    let mut reader = Reader::new();
                    let _ = packets.iter().try_for_each(|packet| match reader.take(packet) {
                        Ok(None) => Ok(()),
                        _ => Err(()),
                    });
                }
                let mut packets = good.clone();
                packets[at] = &packet[..end];
                let mut reader = Reader::new();
                let _ = packets.iter().try_for_each(|packet| reader.take(packet).map(|_| ()));
            }
        }
    }
}
