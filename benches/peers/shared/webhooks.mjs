// W4: webhooks over HTTP, each a durable job with one HTTP call; at full load, then ten a second for the latency.
//
// Senders and receiver are on a thread of their own, so that the peer has its event loop to itself, as on our side the
// load has threads of its own. Their CPU is counted all the same: it is one process.

import http from "node:http";
import { once } from "node:events";
import { Worker } from "node:worker_threads";

import { Meter } from "./measure.mjs";

/** A server that hands the JSON of each POST to `accept` and answers 202 once that has resolved: the peer's webhook. */
export async function webhook(accept) {
  const server = http.createServer((request, response) => {
    let text = "";
    request.setEncoding("utf8");
    request.on("data", (part) => {
      text += part;
    });
    request.on("end", async () => {
      try {
        await accept(JSON.parse(text));
        response.writeHead(202).end();
      } catch (error) {
        console.error(error);
        response.writeHead(500).end();
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `http://127.0.0.1:${server.address().port}/`;
}

/** What the thread says next, or its failure. */
async function answer(thread) {
  const [message] = await once(thread, "message");
  return message;
}

/** `start(receiver)` starts the peer, whose jobs call that URL, and resolves to the URL of its webhook. */
export async function webhooks({ seconds, callers }, start) {
  const thread = new Worker(new URL("./sender.mjs", import.meta.url));
  const { receiver } = await answer(thread);
  const hook = await start(receiver);
  const meter = new Meter();
  thread.postMessage({ hook, seconds, callers: Math.min(callers, 128) });
  const { sent } = await answer(thread);
  const cost = meter.cost();
  thread.postMessage({ beat: true });
  const { latency } = await answer(thread);
  await thread.terminate();
  return { workload: "w4", unit: "calls", count: sent, cost, latency };
}
