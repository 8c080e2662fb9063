//! Counters and sketches that add up: statistics without scanning history.
//!
//! Durations go into a sketch of logarithmic buckets (DDSketch: Masson, Rim, Lee, VLDB 2019), here sparse and with a
//! relative error of 1 %. Sketches merge by adding bucket to bucket, so buckets of time, partitions and nodes add up.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::TenantId;
use crate::log::LogEntry;

/// The widths of the time buckets that are kept, in milliseconds, each a multiple of the one before: five minutes for the
/// edges of a window, hours and days for its body. A window of a month reads about a hundred of them.
pub const BUCKET_WIDTHS_MS: [i64; 3] = [300_000, 3_600_000, 86_400_000];

/// What a row of statistics is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatKey {
    pub tenant: TenantId,
    pub action_type: String,
    pub bucket_width_ms: i64,
    pub bucket_start_ms: i64,
}

/// What is counted for a key. Everything adds up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// Executions that ended, each counted once, by its final attempt.
    pub executions: i64,
    pub successful: i64,
    pub failed: i64,
    /// Attempts, whose durations the sketch holds.
    pub attempts: i64,
    pub duration_sum_ms: i64,
    pub sketch: Sketch,
}

impl Stat {
    /// Counts one attempt.
    pub fn record(&mut self, entry: &LogEntry) {
        self.record_attempt(entry.is_final, entry.success(), entry.duration_ms);
    }

    /// Counts one attempt by its figures.
    pub fn record_attempt(&mut self, is_final: bool, success: bool, duration_ms: Option<i64>) {
        if is_final {
            self.executions += 1;
            if success {
                self.successful += 1;
            } else {
                self.failed += 1;
            }
        }
        if let Some(ms) = duration_ms {
            self.attempts += 1;
            self.duration_sum_ms += ms;
            self.sketch.add(ms);
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        self.executions += other.executions;
        self.successful += other.successful;
        self.failed += other.failed;
        self.attempts += other.attempts;
        self.duration_sum_ms += other.duration_sum_ms;
        self.sketch.merge(&other.sketch);
    }
}

/// The start of the bucket of this width in which a time lies.
pub fn bucket_start_ms(at_ms: i64, width_ms: i64) -> i64 {
    at_ms - at_ms.rem_euclid(width_ms)
}

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

    /// A sketch as it is stored, or the sum of a JSON list of such. Most of a timeline's time goes into reading hundreds of
    /// them, so that their plain form is read by a walk over its digits; whatever else is JSON, by a parser.
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

/// The buckets of sketches in their plain form: objects `{"b":{"56":1}}`, and lists of them. `None`: it is another.
fn walk(mut rest: &[u8]) -> Option<Vec<(i32, i64)>> {
    let (mut found, mut bucket): (Vec<(i32, i64)>, Option<i32>) = (Vec::with_capacity(rest.len() / 8), None);
    let (mut depth, mut is_any) = (0, false);
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
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
                found.push((bucket.take()?, count));
            }
            b'{' | b'[' => (depth, is_any) = (depth + 1, true),
            b'}' | b']' => depth -= 1,
            b' ' | b':' | b',' => {}
            _ => return None,
        }
    }
    if depth != 0 || !is_any {
        return None;
    }
    // Each is sorted by itself, as a rule, and runs are merged quickly.
    found.sort_by_key(|(bucket, _)| *bucket);
    found.dedup_by(|later, first| {
        let is_same = later.0 == first.0;
        first.1 += if is_same { later.1 } else { 0 };
        is_same
    });
    Some(found)
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
        for wrong in ["", "[", r#"{"b":{"x":1}}"#, r#"{"b":{"1":1.5}}"#, r#"{"b":{"1":99999999999999999999}}"#] {
            assert!(Sketch::stored(wrong).is_err(), "{wrong}");
        }
        assert_eq!(serde_json::to_string(&twice).expect("JSON"), r#"{"b":{"0":4,"56":2,"214":2,"427":2}}"#);
    }

    #[test]
    fn buckets_align_before_and_after_the_epoch() {
        assert_eq!(bucket_start_ms(301_000, 300_000), 300_000);
        assert_eq!(bucket_start_ms(-1, 300_000), -300_000);
        assert_eq!(Sketch::default().quantile(0.5), None);
    }
}
