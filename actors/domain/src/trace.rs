//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): by which a request can be followed through programs.
//!
//! A run outlives the request that started it, and the process that took it in. So a run's trace is not carried along but
//! follows from its id, which is as long: whoever knows the run can look its trace up, and every attempt, on whatever
//! node and after whatever restart, falls into the same one.

use std::fmt;

use crate::ids::{RunId, StepNo};

/// One place in one trace. Neither id is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace: u128,
    /// The span that speaks: for a receiver the parent of its own.
    pub span: u64,
    /// Whether whoever began the trace records it.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent` header. `None` where it is not one, to the letter: then a new trace begins. Of versions yet
    /// to come the part is read that they share with version 00, as the standard asks.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, '-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let more = parts.next();
        let version = hexadecimal(version, 2)?;
        if version == 0xff || (version == 0 && more.is_some()) {
            return None;
        }
        let trace = hexadecimal(trace, 32).filter(|trace| *trace != 0)?;
        let span = hexadecimal(span, 16).filter(|span| *span != 0)?;
        let flags = hexadecimal(flags, 2)?;
        Some(Self { trace, span: span as u64, is_sampled: flags & 1 == 1 })
    }

    /// The span of one attempt, in the trace of its run.
    pub fn of_attempt(run: RunId, step: StepNo, attempt: u32) -> Self {
        let trace = run.0.as_u128();
        let place = (u64::from(step) << 32) | u64::from(attempt);
        let span = mixed((trace as u64) ^ ((trace >> 64) as u64) ^ mixed(place)).max(1);
        Self { trace, span, is_sampled: true }
    }
}

impl fmt::Display for TraceContext {
    /// As a `traceparent` header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

/// A number of exactly so many hexadecimal digits, in lower case.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_number = text.len() == digits && text.bytes().all(is_digit);
    is_number.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014): neighbours become far apart, and no two become one.
const fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_standard_is_read_and_written() {
        let context = TraceContext::parse(EXAMPLE).unwrap();
        assert_eq!(context.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((context.span, context.is_sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(context.to_string(), EXAMPLE);
        assert!(!TraceContext::parse(&EXAMPLE.replace("-01", "-00")).unwrap().is_sampled);
        assert!(TraceContext::parse(&EXAMPLE.replace("-01", "-03")).unwrap().is_sampled, "other flags are passed over");
        let later = format!("cc{}-what-else", &EXAMPLE[2..]);
        assert_eq!(TraceContext::parse(&later), Some(context), "a later version may say more");
    }

    #[test]
    fn what_is_not_to_the_letter_is_no_trace() {
        let upper = EXAMPLE.to_uppercase();
        let (long, spaced) = (format!("{EXAMPLE}-00"), format!(" {EXAMPLE}"));
        for bad in [
            "",
            "00",
            &upper,
            &long,
            &spaced,
            &EXAMPLE[..54],
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7a-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-+1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_attempt_has_a_span_of_its_own_in_the_trace_of_its_run() {
        let run = RunId::new(1_750_000_000_000, 12_345 << 30);
        let places = (0..100).flat_map(|step| (0..10).map(move |attempt| (step, attempt)));
        let spans: BTreeSet<u64> = places.map(|(s, a)| TraceContext::of_attempt(run, s, a).span).collect();
        assert_eq!(spans.len(), 1_000);
        let context = TraceContext::of_attempt(run, 3, 1);
        assert_eq!(context, TraceContext::of_attempt(run, 3, 1));
        assert_eq!(format!("{:032x}", context.trace), run.0.simple().to_string());
        assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
    }
}
