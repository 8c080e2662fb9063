//! Durations in logarithmic buckets (DDSketch: Masson, Rim, Lee, VLDB 2019), sparse and with a relative error of 1 %.
//! Sketches merge by adding bucket to bucket.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A sketch of non-negative whole milliseconds.
///
/// A month of hours is some thousand sketches that are read and merged to be shown, so that merging is one walk over
/// two sorted lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sketch {
    /// Numbers of buckets, ascending, each with its count; as JSON an object. Bucket 0 holds the values below 1 ms.
    #[serde(rename = "b", serialize_with = "as_object", deserialize_with = "from_object")]
    buckets: Vec<(i32, i64)>,
}

fn as_object<S: Serializer>(buckets: &[(i32, i64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(buckets.iter().copied())
}

fn from_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(i32, i64)>, D::Error> {
    struct Buckets;

    impl<'de> Visitor<'de> for Buckets {
        type Value = Vec<(i32, i64)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of counts by the numbers of their buckets")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut buckets = Vec::with_capacity(64);
            while let Some(bucket) = map.next_entry()? {
                buckets.push(bucket);
            }
            // As a rule they are in order already; a database may keep an object's members in another one.
            buckets.sort_unstable_by_key(|(bucket, _)| *bucket);
            Ok(buckets)
        }
    }

    deserializer.deserialize_map(Buckets)
}

/// Successive bucket bounds are this factor apart: (1 + α) / (1 − α) for the relative error α = 1 %.
const GAMMA: f64 = 1.01 / 0.99;

impl Sketch {
    /// Adds one value.
    pub fn add(&mut self, ms: i64) {
        let bucket = bucket_of(ms);
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 += 1,
            Err(at) => self.buckets.insert(at, (bucket, 1)),
        }
    }

    /// Adds another sketch's values.
    pub fn merge(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
            return;
        }
        let mut merged = Vec::with_capacity(self.buckets.len() + other.buckets.len());
        let mut others = other.buckets.iter().copied().peekable();
        for (bucket, count) in self.buckets.drain(..) {
            while let Some(lower) = others.next_if(|(other, _)| *other < bucket) {
                merged.push(lower);
            }
            let same = others.next_if(|(other, _)| *other == bucket).map_or(0, |(_, count)| count);
            merged.push((bucket, count + same));
        }
        merged.extend(others);
        self.buckets = merged;
    }

    /// As it is stored: a dot, then for each bucket how far it is from the one before (the first from 0) and its count, both
    /// as VLQ in base 64, without sign (as in the Source Map format, ECMA-426).
    pub fn packed(&self) -> String {
        let mut text = String::with_capacity(1 + 3 * self.buckets.len());
        text.push('.');
        let mut before = 0;
        for (bucket, count) in &self.buckets {
            push_vlq(&mut text, bucket.abs_diff(before).into());
            push_vlq(&mut text, count.unsigned_abs());
            before = *bucket;
        }
        text
    }

    /// A sketch as it is stored, or the sum of a list of such: packed, or as the JSON object that earlier releases stored.
    /// Most of a timeline's time goes into reading thousands of them, so that both are read by a walk over their bytes;
    /// whatever else is JSON, by a parser.
    pub fn stored(text: &str) -> Result<Self, serde_json::Error> {
        if let Some(buckets) = walk(text.as_bytes()) {
            return Ok(Self { buckets });
        }
        if !text.starts_with('[') {
            return serde_json::from_str(text);
        }
        let mut sum = Self::default();
        serde_json::from_str::<Vec<Self>>(text)?.iter().for_each(|one| sum.merge(one));
        Ok(sum)
    }

    /// How many values it holds.
    pub fn count(&self) -> i64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The value below which the share `q` (0 to 1) lies, within 1 %; `None` when empty.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.count().checked_sub(1).filter(|n| *n >= 0)?;
        let rank = (q.clamp(0.0, 1.0) * last as f64).round() as i64;
        let mut seen = 0;
        let found = self.buckets.iter().find(|(_, count)| {
            seen += *count;
            seen > rank
        });
        found.map(|(bucket, _)| value_of(*bucket))
    }
}

/// The digits of base 64 (RFC 4648), of which five bits are the number's and the sixth says that more follow.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// What a byte stands for as a digit; 64: it is none.
const VALUES: [u8; 256] = {
    let mut values = [64; 256];
    let mut digit = 0;
    while digit < 64 {
        values[DIGITS[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

fn push_vlq(text: &mut String, mut number: u64) {
    while number > 31 {
        text.push(char::from(DIGITS[(number & 31) as usize | 32]));
        number >>= 5;
    }
    text.push(char::from(DIGITS[number as usize]));
}

/// A number that no sketch has.
struct Unreadable;

/// The number at the beginning, if there is one.
#[inline]
fn take_vlq(rest: &mut &[u8]) -> Result<Option<i64>, Unreadable> {
    let Some((byte, after)) = rest.split_first() else { return Ok(None) };
    let digit = VALUES[usize::from(*byte)];
    match digit {
        // Most are one digit.
        0..32 => {
            *rest = after;
            Ok(Some(i64::from(digit)))
        }
        32..64 => long_vlq(rest).map(Some).ok_or(Unreadable),
        _ => Ok(None),
    }
}

fn long_vlq(rest: &mut &[u8]) -> Option<i64> {
    let mut number = 0_i64;
    for shift in (0..60).step_by(5) {
        let (byte, after) = rest.split_first()?;
        let digit = VALUES[usize::from(*byte)];
        if digit > 63 {
            return None;
        }
        *rest = after;
        number |= i64::from(digit & 31) << shift;
        if digit < 32 {
            return Some(number);
        }
    }
    None
}

/// Counts that add up by their buckets. There are some hundred of them, whatever was measured, so that they have places
/// in a row; what lies outside is sorted in.
struct Sum {
    row: Vec<i64>,
    /// How many places have a count, and between which they are.
    taken: usize,
    first: usize,
    end: usize,
    outside: Vec<(i32, i64)>,
}

impl Sum {
    /// Enough for any duration: `i64::MAX` milliseconds are in bucket 2,185.
    const PLACES: usize = 2_200;

    fn new() -> Self {
        Self { row: vec![0; Self::PLACES], taken: 0, first: Self::PLACES, end: 0, outside: Vec::new() }
    }

    #[inline]
    fn add(&mut self, bucket: i32, count: i64) -> Option<()> {
        let place = bucket as usize;
        let Some(held) = self.row.get_mut(place) else {
            self.outside.push((bucket, count));
            return Some(());
        };
        self.taken += usize::from(*held == 0);
        *held = held.checked_add(count)?;
        (self.first, self.end) = (self.first.min(place), self.end.max(place + 1));
        Some(())
    }

    fn buckets(self) -> Vec<(i32, i64)> {
        let mut buckets = Vec::with_capacity(self.taken + self.outside.len());
        for (at, count) in self.row.get(self.first..self.end).unwrap_or_default().iter().enumerate() {
            if *count != 0 {
                buckets.push(((self.first + at) as i32, *count));
            }
        }
        if !self.outside.is_empty() {
            buckets.extend(self.outside);
            buckets.sort_by_key(|(bucket, _)| *bucket);
        }
        buckets
    }
}

/// The buckets of sketches in a form that is stored: packed, objects `{"b":{"56":1}}`, and lists of both. `None`: it is
/// another.
fn walk(mut rest: &[u8]) -> Option<Vec<(i32, i64)>> {
    let (mut sum, mut bucket) = (Sum::new(), None);
    let (mut depth, mut is_any) = (0, false);
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'.' => {
                is_any = true;
                let mut at = 0_i64;
                while let Some(step) = take_vlq(&mut rest).ok()? {
                    at = at.checked_add(step).filter(|at| *at <= i64::from(i32::MAX))?;
                    sum.add(at as i32, take_vlq(&mut rest).ok()??)?;
                }
            }
            b'"' => {
                let end = rest.iter().position(|byte| *byte == b'"')?;
                let name = std::str::from_utf8(&rest[..end]).ok()?;
                rest = &rest[end + 1..];
                bucket = if name == "b" { None } else { Some(name.parse().ok()?) };
            }
            b'0'..=b'9' => {
                let mut count = i64::from(byte - b'0');
                while let [digit @ b'0'..=b'9', after @ ..] = rest {
                    count = count.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
                    rest = after;
                }
                sum.add(bucket.take()?, count)?;
            }
            b'{' | b'[' => (depth, is_any) = (depth + 1, true),
            b'}' | b']' => depth -= 1,
            b' ' | b':' | b',' => {}
            _ => return None,
        }
    }
    (depth == 0 && is_any).then(|| sum.buckets())
}

fn bucket_of(ms: i64) -> i32 {
    if ms < 1 { 0 } else { (ms as f64).log(GAMMA).ceil() as i32 + 1 }
}

/// The middle of a bucket, in the sense of relative error.
fn value_of(bucket: i32) -> f64 {
    if bucket == 0 { 0.0 } else { 2.0 * GAMMA.powi(bucket - 1) / (GAMMA + 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_are_within_one_percent(mut values in prop::collection::vec(0_i64..10_000_000, 1..200), q in 0.0..=1.0_f64) {
            let (mut left, mut right) = (Sketch::default(), Sketch::default());
            for (i, value) in values.iter().enumerate() {
                if i % 2 == 0 { left.add(*value) } else { right.add(*value) }
            }
            left.merge(&right);
            values.sort_unstable();
            let exact = values[(q * (values.len() - 1) as f64).round() as usize] as f64;
            let found = left.quantile(q).expect("not empty");
            prop_assert!((found - exact).abs() <= exact * 0.010_001 + 1e-9, "{found} against {exact}");
        }
    }

    #[test]
    fn a_sketch_reads_back_whatever_the_order_of_its_members() {
        let mut sketch = Sketch::default();
        [5_000, 0, 3, 0, 70].into_iter().for_each(|ms| sketch.add(ms));
        let text = serde_json::to_string(&sketch).expect("JSON");
        assert_eq!(text, r#"{"b":{"0":2,"56":1,"214":1,"427":1}}"#);
        let shuffled: Sketch = serde_json::from_str(r#"{"b":{"427":1,"0":2,"214":1,"56":1}}"#).expect("a sketch");
        assert_eq!(shuffled, sketch);
        let list = format!(r#"[{text}, {{"b": {{"427": 1, "0": 2, "214": 1, "56": 1}}}},{{"b":{{}}}}]"#);
        let (one, sum) = (Sketch::stored(&text).expect("a sketch"), Sketch::stored(&list).expect("sketches"));
        let mut twice = shuffled;
        twice.merge(&sketch);
        twice.merge(&Sketch::default());
        assert_eq!((one, sum), (sketch, twice.clone()));
        let spaced = Sketch::stored("[\n{\"b\":{\"5\":1}}]").expect("it is JSON all the same");
        assert_eq!(serde_json::to_string(&spaced).expect("JSON"), r#"{"b":{"5":1}}"#);
        for wrong in [
            "",
            "[",
            ".B",
            ".!",
            ".BB]",
            "[.gggggggggggggB]",
            r#"{"b":{"x":1}}"#,
            r#"{"b":{"1":1.5}}"#,
            r#"{"b":{"1":99999999999999999999}}"#,
        ] {
            assert!(Sketch::stored(wrong).is_err(), "{wrong}");
        }
        assert_eq!(serde_json::to_string(&twice).expect("JSON"), r#"{"b":{"0":4,"56":2,"214":2,"427":2}}"#);
        assert_eq!(Sketch::default().quantile(0.5), None);
    }

    #[test]
    fn a_packed_sketch_takes_three_bytes_a_bucket_and_adds_up_with_those_of_earlier_releases() {
        let mut sketch = Sketch::default();
        [5_000, 0, 3, 0, 70].into_iter().for_each(|ms| sketch.add(ms));
        assert_eq!(sketch.packed(), ".AC4BB+EB1GB");
        assert_eq!(Sketch::stored(&sketch.packed()).expect("a sketch"), sketch);
        assert_eq!(Sketch::stored(&Sketch::default().packed()).expect("an empty one"), Sketch::default());
        let earlier = serde_json::to_string(&sketch).expect("JSON");
        let list = format!("[{},{earlier},.,{}]", sketch.packed(), sketch.packed());
        let mut thrice = sketch.clone();
        thrice.merge(&sketch);
        thrice.merge(&sketch);
        assert_eq!(Sketch::stored(&list).expect("sketches"), thrice);
    }

    proptest! {
        #[test]
        fn whatever_is_packed_reads_back(values in prop::collection::vec(0..=i64::MAX, 0..100)) {
            let mut sketch = Sketch::default();
            values.iter().for_each(|value| sketch.add(*value));
            prop_assert!(sketch.buckets.iter().all(|(bucket, _)| (*bucket as usize) < Sum::PLACES));
            prop_assert_eq!(Sketch::stored(&sketch.packed()).expect("a sketch"), sketch);
        }
    }
}
