//! CSV (RFC 4180) and JSON Lines, read as their bytes come, and written.
//!
//! Invariant: no more than one row that is too long is ever held.

use std::path::Path;

use core314_domain::json;
use core314_domain::log::Failure;
use csv_core::ReadRecordResult;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::plan::Format;
use super::source::Item;
use crate::executors::client::Download;
use crate::executors::failure::Code;

const CHUNK_BYTES: usize = 65_536;
const MAX_FIELDS: usize = 10_000;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where bytes come from.
pub enum Bytes {
    Http(Download),
    File(tokio::fs::File),
}

impl Bytes {
    /// The next ones; none at the end.
    async fn next(&mut self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Http(download) => loop {
                match download.chunk().await? {
                    Some(chunk) if chunk.is_empty() => {}
                    chunk => return Ok(chunk.unwrap_or_default()),
                }
            },
            Self::File(file) => {
                let mut chunk = vec![0; CHUNK_BYTES];
                let read = file.read(&mut chunk).await;
                let read =
                    read.map_err(|error| Code::Refused.failure(format!("the file cannot be read: {}", error.kind())))?;
                chunk.truncate(read);
                Ok(chunk)
            }
        }
    }
}

/// Opens a file that is one: no pipe, no device.
pub async fn open(path: &Path) -> Result<(tokio::fs::File, String), Failure> {
    let unusable =
        |error: std::io::Error| Code::Refused.failure(format!("the file cannot be opened: {}", error.kind()));
    // Judged before it is opened, because a pipe would keep whoever opens it waiting.
    let kind = tokio::fs::metadata(path).await.map_err(unusable)?;
    if !kind.is_file() {
        return Err(Code::Refused.failure("the source is no regular file"));
    }
    let file = tokio::fs::File::open(path).await.map_err(unusable)?;
    let about = file.metadata().await.map_err(unusable)?;
    let changed = about.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    Ok((file, format!("{} bytes, changed {}", about.len(), changed.unwrap_or_default().as_nanos())))
}

/// Reads records one after the other.
pub struct Records {
    bytes: Bytes,
    buffer: Vec<u8>,
    /// Where in the buffer the next one begins.
    start: usize,
    is_over: bool,
    format: Format,
    parser: csv_core::Reader,
    max_row_bytes: usize,
    /// Of all that was read by HTTP so far: a service may not say that a text is another.
    seen: Option<Sha256>,
    /// Bytes before the next record.
    pub offset: u64,
    /// The names of CSV's fields.
    pub header: Option<Vec<String>>,
}

impl Records {
    pub async fn new(bytes: Bytes, format: Format, max_row_bytes: usize) -> Result<Self, Failure> {
        let parser = parser(format);
        let (buffer, offset) = (Vec::new(), 0);
        let seen = matches!(bytes, Bytes::Http(_)).then(Sha256::new);
        let mut records =
            Self { bytes, buffer, start: 0, is_over: false, format, parser, max_row_bytes, seen, offset, header: None };
        if matches!(format, Format::Csv(_)) {
            let names = records.fields().await?.unwrap_or_default();
            let names: Result<Vec<String>, _> = names.into_iter().map(String::from_utf8).collect();
            let unusable = |_| Code::UnexpectedAnswer.failure("the first record of the CSV is no UTF-8");
            let names = names.map_err(unusable)?;
            if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
                return Err(Code::UnexpectedAnswer.failure(format!("the CSV has two columns '{}'", twice.1)));
            }
            records.header = Some(names);
        }
        Ok(records)
    }

    /// What tells the text up to the next record from all others; nothing of a file, which its size and time tell.
    pub fn seen(&self) -> Option<Sha256> {
        self.seen.clone()
    }

    /// Goes on at a place in a file.
    pub async fn seek(&mut self, offset: u64) -> Result<(), Failure> {
        let Bytes::File(file) = &mut self.bytes else { return Ok(()) };
        let sought = file.seek(std::io::SeekFrom::Start(offset)).await;
        sought.map_err(|error| Code::Refused.failure(format!("the file cannot be read on: {}", error.kind())))?;
        self.buffer.clear();
        (self.start, self.is_over, self.offset, self.parser) = (0, false, offset, parser(self.format));
        Ok(())
    }

    /// The next record, or what is wrong with it; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Result<Item, String>>, Failure> {
        if self.format == Format::Lines {
            return Ok(self.line().await?.map(|line| value(&line)));
        }
        let Some(fields) = self.fields().await? else { return Ok(None) };
        let width = self.header.as_ref().map_or(0, Vec::len);
        if fields.len() != width {
            return Ok(Some(Err(format!("has {} fields, the first record has {width}", fields.len()))));
        }
        let values: Result<Vec<Value>, String> = fields.into_iter().map(field).collect();
        Ok(Some(values.map(Item::Row)))
    }

    /// Takes more bytes in, behind those that are not read yet; whether there are any.
    async fn fill(&mut self) -> Result<bool, Failure> {
        if self.is_over {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let chunk = self.bytes.next().await?;
        self.is_over = chunk.is_empty();
        self.buffer.extend_from_slice(&chunk);
        Ok(!self.is_over)
    }

    fn too_long(&self) -> Failure {
        let message = format!("a row has more than {} bytes (executors.sync.max_row_bytes)", self.max_row_bytes);
        Code::ResponseTooLarge.failure(message)
    }

    /// The next line that is not empty.
    async fn line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut seen = 0;
        loop {
            let rest = &self.buffer[self.start..];
            let found = rest[seen..].iter().position(|byte| *byte == b'\n').map(|at| seen + at);
            let end = match found {
                None if self.is_over && rest.is_empty() => return Ok(None),
                None if self.is_over => rest.len(),
                Some(end) => end,
                None if rest.len() > self.max_row_bytes => return Err(self.too_long()),
                None => {
                    seen = rest.len();
                    self.fill().await?;
                    continue;
                }
            };
            // As some programs begin a text.
            let mark = if self.offset == 0 && rest.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
            let line = rest[mark.min(end)..end].to_vec();
            let taken = (end + 1).min(rest.len());
            if let Some(digest) = &mut self.seen {
                digest.update(&rest[..taken]);
            }
            (self.start, self.offset, seen) = (self.start + taken, self.offset + taken as u64, 0);
            if line.len() > self.max_row_bytes {
                return Err(self.too_long());
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// The fields of the next record of CSV.
    async fn fields(&mut self) -> Result<Option<Vec<Vec<u8>>>, Failure> {
        let (mut out, mut ends) = (vec![0; 4_096.min(self.max_row_bytes)], vec![0; 64]);
        let (mut written, mut count) = (0, 0);
        loop {
            if self.start == self.buffer.len() {
                self.fill().await?;
            }
            let input = &self.buffer[self.start..];
            let (result, read, wrote, ended) = self.parser.read_record(input, &mut out[written..], &mut ends[count..]);
            if let Some(digest) = &mut self.seen {
                digest.update(&input[..read]);
            }
            (self.start, self.offset) = (self.start + read, self.offset + read as u64);
            (written, count) = (written + wrote, count + ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if out.len() >= self.max_row_bytes => return Err(self.too_long()),
                ReadRecordResult::OutputFull => out.resize((out.len() * 2).min(self.max_row_bytes), 0),
                ReadRecordResult::OutputEndsFull if ends.len() >= MAX_FIELDS => {
                    return Err(Code::ResponseTooLarge.failure(format!("a row has more than {MAX_FIELDS} fields")));
                }
                ReadRecordResult::OutputEndsFull => ends.resize(ends.len() * 2, 0),
                ReadRecordResult::Record => {
                    let starts = std::iter::once(0).chain(ends.iter().copied());
                    return Ok(Some(starts.zip(&ends[..count]).map(|(from, to)| out[from..*to].to_vec()).collect()));
                }
                ReadRecordResult::End => return Ok(None),
            }
        }
    }
}

fn parser(format: Format) -> csv_core::Reader {
    let delimiter = if let Format::Csv(delimiter) = format { delimiter } else { b',' };
    csv_core::ReaderBuilder::new().delimiter(delimiter).build()
}

/// A field that is empty is none.
fn field(bytes: Vec<u8>) -> Result<Value, String> {
    match String::from_utf8(bytes) {
        Ok(text) if text.is_empty() => Ok(Value::Null),
        Ok(text) => Ok(Value::String(text)),
        Err(_) => Err("is no UTF-8".to_owned()),
    }
}

fn value(line: &[u8]) -> Result<Item, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| format!("is no JSON: {error}"))?;
    if json::too_deep(&value) { Err("nests too deep".to_owned()) } else { Ok(Item::Json(value)) }
}

/// Adds a record of CSV.
pub fn add_csv(out: &mut String, delimiter: u8, values: &[Value]) {
    if matches!(values, [Value::Null]) {
        // A line with nothing in it would be none.
        out.push_str("\"\"");
    }
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(char::from(delimiter));
        }
        match value {
            Value::Null => {}
            Value::String(text) => quote(out, delimiter, text),
            other => quote(out, delimiter, &other.to_string()),
        }
    }
    out.push('\n');
}

/// A text in quotes where it would be read as something else. One that is empty has them, so that it is a record at all.
fn quote(out: &mut String, delimiter: u8, text: &str) {
    let is_plain = !text.is_empty() && !text.bytes().any(|b| b == delimiter || matches!(b, b'"' | b'\n' | b'\r'));
    if is_plain {
        return out.push_str(text);
    }
    out.push('"');
    out.push_str(&text.replace('"', "\"\""));
    out.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn records(text: &[u8], format: Format, most: usize) -> Result<Vec<Result<Item, String>>, Failure> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("text");
        std::fs::write(&path, text).expect("a file");
        let (file, _) = open(&path).await.expect("a file");
        let mut records = Records::new(Bytes::File(file), format, most).await?;
        let mut all = Vec::new();
        while let Some(record) = records.next().await? {
            // From each place on, the rest is what it would have been.
            records.seek(records.offset).await?;
            all.push(record);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn csv_is_read_as_it_comes() {
        let text = b"\xef\xbb\xbfid;name\r\n1;\"a;\"\"b\"\"\r\nc\"\r\n\r\n2;\n3\n4;\xff\n5;e";
        let found = records(text, Format::Csv(b';'), 1_000).await.expect("records");
        let row = |values: [Value; 2]| Ok(Item::Row(values.to_vec()));
        let expected = [
            row([json!("1"), json!("a;\"b\"\r\nc")]),
            row([json!("2"), json!(null)]),
            Err("has 1 fields, the first record has 2".to_owned()),
            Err("is no UTF-8".to_owned()),
            row([json!("5"), json!("e")]),
        ];
        assert_eq!(found, expected);
        assert!(records(b"a,a\n", Format::Csv(b','), 1_000).await.is_err_and(|it| it.message.contains("two columns")));
        assert_eq!(records(b"", Format::Csv(b','), 1_000).await.expect("nothing"), []);
        let long = format!("a\n{}\n", "x".repeat(2_000));
        let failure = records(long.as_bytes(), Format::Csv(b','), 1_000).await.expect_err("too long");
        assert_eq!(failure.code, "response_too_large");
    }

    #[tokio::test]
    async fn lines_of_json_are_read_as_they_come() {
        let found = records(b"{\"a\":1}\n\n[broken\r\n {\"a\":2}", Format::Lines, 100).await.expect("records");
        assert_eq!(found[0], Ok(Item::Json(json!({"a": 1}))));
        assert!(found[1].as_ref().is_err_and(|reason| reason.starts_with("is no JSON")), "{found:?}");
        assert_eq!((found.len(), &found[2]), (3, &Ok(Item::Json(json!({"a": 2})))));
        let found =
            records(b"\xef\xbb\xbf{\"a\":1}\n\xef\xbb\xbf{\"a\":2}\n", Format::Lines, 100).await.expect("records");
        assert_eq!(found[0], Ok(Item::Json(json!({"a": 1}))), "as programs of Windows begin a text");
        assert!(found[1].is_err(), "and nowhere else: {found:?}");
        assert_eq!(records(b"\xef\xbb\xbf", Format::Lines, 100).await.expect("nothing"), []);
        let long = format!("\"{}\"", "x".repeat(200));
        assert!(records(long.as_bytes(), Format::Lines, 100).await.is_err());
    }

    #[test]
    fn csv_is_written_so_that_it_is_read_back() {
        let mut out = String::new();
        let values = [json!("a,\"b\"\n"), json!(null), json!(1.5), json!(""), json!(["x"])];
        add_csv(&mut out, b',', &values);
        assert_eq!(out, "\"a,\"\"b\"\"\n\",,1.5,\"\",\"[\"\"x\"\"]\"\n");
    }
}
