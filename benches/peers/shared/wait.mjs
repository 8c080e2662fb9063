// Waiting, with an end to it.

import { setTimeout as pause } from "node:timers/promises";

/** Times at which something happened, told to whoever waits for the next. */
export class Probe {
  #times = [];
  #waiting = null;

  note() {
    const at = performance.now();
    if (this.#waiting) {
      const waiting = this.#waiting;
      this.#waiting = null;
      waiting(at);
    } else {
      this.#times.push(at);
    }
  }

  /** When it happened, as soon as it has. One waiter at a time. */
  next() {
    if (this.#times.length > 0) return Promise.resolve(this.#times.shift());
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }
}

/** Counts, and tells when a number is reached. */
export class Counter {
  #awaited = Infinity;
  #reached = null;
  count = 0;

  add() {
    this.count += 1;
    if (this.count >= this.#awaited) this.#reached?.();
  }

  /** Resolves once that many were counted. One waiter at a time. */
  until(count) {
    if (this.count >= count) return Promise.resolve();
    return new Promise((resolve) => {
      this.#awaited = count;
      this.#reached = resolve;
    });
  }
}

/** Asks every 10 ms until the answer is yes. */
export async function eventually(what, seconds, isSo) {
  const until = performance.now() + seconds * 1_000;
  while (!(await isSo())) {
    if (performance.now() > until) throw new Error(`${what}: not within ${seconds} s`);
    await pause(10);
  }
}
