// One POST of JSON over a kept connection: what load, webhook and jobs all use, since it is the cheapest that Node.js has.

import http from "node:http";

const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
const PATIENCE_MS = 60_000;

/** Resolves to the status, once the whole answer has come. */
export function post(url, value) {
  const body = JSON.stringify(value);
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method: "POST", agent, headers, timeout: PATIENCE_MS }, (response) => {
      response.on("error", reject);
      response.on("end", () => resolve(response.statusCode));
      response.resume();
    });
    request.on("timeout", () => request.destroy(new Error(`${url} did not answer in ${PATIENCE_MS} ms`)));
    request.on("error", reject);
    request.end(body);
  });
}

/** The same, for a job: anything but 200 fails it. */
export async function call(url, value) {
  const status = await post(url, value);
  if (status !== 200) throw new Error(`the receiver answered ${status}`);
}
