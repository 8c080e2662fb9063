// The workloads, as `core314 bench` has them (src/bench/workload.rs). A peer says only how it stores, starts and works.

import { Meter, latency } from "./measure.mjs";
import { SAMPLES } from "./program.mjs";

/** What our own workloads give to a run: about 300 bytes of JSON. */
export function payload(n) {
  return { n, host: "web-1", severity: "high", text: "x".repeat(200) };
}

/**
 * W1: a stored backlog of jobs that do nothing is drained. `fill(count)` stores it while nothing works on it; `work(count)`
 * starts the peer and resolves once the end of every job is durable.
 */
export async function drain({ backlog }, { fill, work }) {
  await fill(backlog);
  const meter = new Meter();
  await work(backlog);
  return { workload: "w1", unit: "actions", count: backlog, cost: meter.cost() };
}

/**
 * W2: from accept to start, one at a time. `accept(n)` resolves once the peer has acknowledged the job, whose first act
 * is `probe.note()`; `ended(count)` resolves once all of them are durably done.
 */
export async function startLatency({ seconds }, { accept, ended, probe }) {
  const latencies = [];
  const meter = new Meter();
  const until = performance.now() + seconds * 1_000;
  while (latencies.length < SAMPLES && performance.now() < until) {
    const started = performance.now();
    await accept(latencies.length);
    latencies.push((await probe.next()) - started);
  }
  await ended(latencies.length);
  return { workload: "w2", unit: "starts", count: latencies.length, cost: meter.cost(), latency: latency(latencies) };
}

/** W3: `flow(n)` resolves at the durable end of a flow of three steps. So many callers start one after the other. */
export async function flows({ seconds, callers }, flow) {
  const meter = new Meter();
  const until = performance.now() + seconds * 1_000;
  let number = 0;
  const caller = async () => {
    while (performance.now() < until) await flow(number++);
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return { workload: "w3", unit: "flows", count: number, cost: meter.cost() };
}
