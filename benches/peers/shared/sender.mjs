// The thread of W4 that sends webhooks and receives the calls that they lead to. See webhooks.mjs.

import http from "node:http";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { parentPort } from "node:worker_threads";

import { latency } from "./measure.mjs";
import { post } from "./post.mjs";
import { SAMPLES } from "./program.mjs";

const PATIENCE_MS = 60_000;

let calls = 0;
let lastAt = 0;
/** @type {(value?: unknown) => void} */
let wake = () => {};

const receiver = http.createServer((request, response) => {
  request.resume();
  request.on("end", () => {
    calls += 1;
    lastAt = performance.now();
    response.writeHead(200).end();
    wake();
  });
});

/** When the last call came, once that many have. Gives up when none has come for a minute. */
async function arrival(count) {
  while (calls < count) {
    const before = calls;
    const timer = new AbortController();
    const called = new Promise((resolve) => {
      wake = resolve;
    });
    const late = pause(PATIENCE_MS, "late", { signal: timer.signal }).catch(() => "stopped");
    const first = await Promise.race([called, late]);
    timer.abort();
    if (first === "late" && calls === before) throw new Error(`${count} calls were awaited, ${calls} came`);
  }
  return lastAt;
}

/** Posts from many callers until the time is over. Gives how many were accepted. */
async function load({ hook, seconds, callers }) {
  const until = performance.now() + seconds * 1_000;
  let sent = 0;
  const body = { n: 1, host: "web-1", text: "x".repeat(200) };
  const sender = async () => {
    while (performance.now() < until) {
      const status = await post(hook, body);
      if (status === 202 || status === 200) sent += 1;
      else if (status !== 503) throw new Error(`the webhook answered ${status}`);
    }
  };
  await Promise.all(Array.from({ length: callers }, sender));
  return sent;
}

/** One webhook every 100 ms, by the clock, each awaited at the receiver. */
async function beat(hook, seconds, before) {
  const latencies = [];
  const begun = performance.now();
  for (let n = 0; n < Math.min(seconds * 10, SAMPLES); n += 1) {
    await pause(Math.max(0, begun + n * 100 - performance.now()));
    const started = performance.now();
    const status = await post(hook, { n });
    if (status !== 202 && status !== 200) throw new Error(`the webhook answered ${status}`);
    latencies.push((await arrival(before + n + 1)) - started);
  }
  return latency(latencies);
}

async function next() {
  const [message] = await once(parentPort, "message");
  return message;
}

receiver.listen(0, "127.0.0.1");
await once(receiver, "listening");
parentPort.postMessage({ receiver: `http://127.0.0.1:${receiver.address().port}/` });
const plan = await next();
const sent = await load(plan);
await arrival(sent);
parentPort.postMessage({ sent });
await next();
parentPort.postMessage({ latency: await beat(plan.hook, plan.seconds, sent) });
