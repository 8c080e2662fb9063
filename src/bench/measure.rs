//! What a workload cost: time, CPU and bytes, of this process and of a PostgreSQL on this machine.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Counters at one instant.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    at: Instant,
    cpu_us: u64,
    bytes: u64,
}

/// What lay between two instants.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    pub seconds: f64,
    /// Of this process, load and receiver included, and of all PostgreSQL processes of this machine.
    pub cpu_us: u64,
    /// What this process and PostgreSQL's handed to the kernel to write to files.
    pub bytes_written: u64,
}

impl Meter {
    /// Reads the counters.
    pub fn now() -> Self {
        let (postgres_cpu_us, postgres_bytes) = postgres();
        Self { at: Instant::now(), cpu_us: own_cpu_us() + postgres_cpu_us, bytes: written_by("self") + postgres_bytes }
    }

    /// What has been used since.
    pub fn since(self) -> Cost {
        let now = Self::now();
        Cost {
            seconds: (now.at - self.at).as_secs_f64(),
            cpu_us: now.cpu_us.saturating_sub(self.cpu_us),
            bytes_written: now.bytes.saturating_sub(self.bytes),
        }
    }
}

/// Memory of this process that is in RAM.
pub fn resident_bytes() -> u64 {
    status_bytes("VmRSS:")
}

/// A line of proc(5)'s `status`: a name and a number of KiB.
fn status_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

/// The highest memory since an instant, above what there was at it.
#[derive(Debug, Clone, Copy)]
pub struct Peak {
    before: u64,
}

impl Peak {
    /// Begins to watch: the kernel forgets the peak so far (proc(5): 5 written to `clear_refs`).
    pub fn begin() -> std::io::Result<Self> {
        std::fs::write("/proc/self/clear_refs", "5")?;
        Ok(Self { before: resident_bytes() })
    }

    /// So far.
    pub fn bytes(self) -> u64 {
        status_bytes("VmHWM:").saturating_sub(self.before)
    }
}

fn own_cpu_us() -> u64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    usage.map_or(0, |u| {
        let micros = |t: nix::sys::time::TimeVal| t.tv_sec() as u64 * 1_000_000 + t.tv_usec() as u64;
        micros(u.user_time()) + micros(u.system_time())
    })
}

/// CPU and bytes of every PostgreSQL process here; none where the server is elsewhere.
fn postgres() -> (u64, u64) {
    let Ok(processes) = std::fs::read_dir("/proc") else { return (0, 0) };
    let mut sum = (0, 0);
    for process in processes.flatten() {
        let pid = process.file_name().to_string_lossy().into_owned();
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if stat.contains("(postgres)") {
            // proc(5): after the name, utime and stime are the 12th and 13th fields, in ticks of 10 ms.
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
            sum.0 += (ticks(11) + ticks(12)) * 10_000;
            sum.1 += written_by(&pid);
        }
    }
    sum
}

/// Bytes that a process gave to `write` and its like.
fn written_by(pid: &str) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

/// Percentiles of latencies, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Latency {
    /// Of all these.
    pub fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |q: f64| {
            let index = ((all.len().saturating_sub(1)) as f64 * q).round() as usize;
            all.get(index).map_or(0.0, |d| d.as_secs_f64() * 1_000.0)
        };
        Self { p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let latency = Latency::of((1..=100).rev().map(Duration::from_millis).collect());
        assert!((latency.p50_ms - 51.0).abs() < 1.01 && (latency.p99_ms - 99.0).abs() < 1.01, "{latency:?}");
        assert_eq!(latency.max_ms.to_bits(), 100.0_f64.to_bits());
        assert_eq!(Latency::of(Vec::new()).max_ms.to_bits(), 0);
    }

    #[test]
    fn work_costs_cpu() {
        let meter = Meter::now();
        let mut n = 1_u64;
        while meter.since().cpu_us == 0 {
            n = n.wrapping_mul(31).wrapping_add(7);
        }
        assert!(n != 0);
    }
}
