// What a workload cost: time, CPU and bytes written, counted as `core314 bench` counts them (src/bench/measure.rs).
//
// This process with its threads (the load and the receiver are in it), every process that it has started (Restate's
// server), and every PostgreSQL process of this machine. Linux alone tells: proc(5).

import { readdirSync, readFileSync } from "node:fs";

// The kernel's clock ticks for programs, 100 a second on every architecture that Node.js runs on.
const TICK_US = 10_000;

/** Counters of one process, or null once it has gone. */
function processCounters(pid) {
  let stat;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch (error) {
    if (error.code === "ENOENT" || error.code === "ESRCH") return null;
    throw error;
  }
  // The name stands in parentheses and may hold anything; what follows the last one is made of words.
  const end = stat.lastIndexOf(")");
  const words = stat.slice(end + 2).split(" ");
  return {
    pid,
    name: stat.slice(stat.indexOf("(") + 1, end),
    parent: words[1],
    cpuUs: (Number(words[11]) + Number(words[12])) * TICK_US,
  };
}

/** Bytes that a process gave to the disk. Of another user's process nothing can be known, and nothing is counted. */
function bytesWritten(pid) {
  try {
    const io = readFileSync(`/proc/${pid}/io`, "latin1");
    return Number(/^write_bytes: (\d+)$/m.exec(io)?.[1] ?? 0);
  } catch (error) {
    if (["ENOENT", "ESRCH", "EACCES"].includes(error.code)) return 0;
    throw error;
  }
}

/** Every process that counts beside this one: what it has started, however deep, and PostgreSQL's. */
function others() {
  const own = String(process.pid);
  const all = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(processCounters).filter(Boolean);
  const parents = new Map(all.map(({ pid, parent }) => [pid, parent]));
  const isDescendant = (pid) => {
    for (let at = parents.get(pid); at !== undefined; at = parents.get(at)) if (at === own) return true;
    return false;
  };
  return all.filter(({ pid, name }) => pid !== own && (name === "postgres" || isDescendant(pid)));
}

function counters() {
  const found = new Map(others().map(({ pid, cpuUs }) => [pid, { cpuUs, bytes: bytesWritten(pid) }]));
  // Exact to the microsecond, where the ticks of proc(5) are not.
  const { user, system } = process.cpuUsage();
  found.set("self", { cpuUs: user + system, bytes: bytesWritten("self") });
  return found;
}

/** Begins to count. What a process used that ended before `cost` is lost, with us as with the peers. */
export class Meter {
  #before = counters();
  #at = performance.now();

  cost() {
    const seconds = (performance.now() - this.#at) / 1_000;
    const cost = { seconds, cpuUs: 0, bytes: 0 };
    for (const [pid, now] of counters()) {
      const before = this.#before.get(pid) ?? { cpuUs: 0, bytes: 0 };
      cost.cpuUs += Math.max(0, now.cpuUs - before.cpuUs);
      cost.bytes += Math.max(0, now.bytes - before.bytes);
    }
    return cost;
  }
}

/** Percentiles of latencies in milliseconds, by nearest rank. */
export function latency(samples) {
  const sorted = Float64Array.from(samples).sort();
  const at = (q) => sorted[Math.round(Math.max(0, sorted.length - 1) * q)] ?? 0;
  return { p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1) };
}
