// What every program of a peer begins and ends with: its options, and one line of JSON with its figures.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

/** Samples of a latency, at most: as many as `core314 bench` takes. */
export const SAMPLES = 2_000;

function whole(name, text, least) {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least) {
    throw new Error(`--${name} must be a whole number of at least ${least}, not ${text}`);
  }
  return value;
}

/** `--seconds`, `--callers`, `--backlog`, `--variant`, and the database from the environment, where `ps` does not show it. */
export function plan() {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "10" },
      callers: { type: "string", default: "256" },
      backlog: { type: "string", default: "50000" },
      variant: { type: "string", default: "" },
    },
  });
  return {
    seconds: whole("seconds", values.seconds, 1),
    callers: whole("callers", values.callers, 1),
    backlog: whole("backlog", values.backlog, 1),
    variant: values.variant,
  };
}

/** The URL of an empty PostgreSQL database. */
export function databaseUrl() {
  const url = process.env.PEER_DATABASE_URL;
  if (!url) throw new Error("PEER_DATABASE_URL must be the postgres:// URL of an empty database");
  return url;
}

/** The peer's name and version, from the package.json beside the program: there they are exact. */
function peer(folder) {
  const { name, peer: packageName, dependencies } = JSON.parse(readFileSync(new URL("package.json", folder), "utf8"));
  return { peer: name, version: dependencies[packageName] };
}

/** Prints the figures, with the keys that `core314 bench --json` uses. */
export function report(folder, { workload, store = "postgres", variant = "", unit, count, cost, latency = null }) {
  const figures = {
    ...peer(folder),
    variant,
    workload,
    store,
    unit,
    count,
    per_second: count / cost.seconds,
    cpu_us_each: cost.cpuUs / Math.max(1, count),
    bytes_written_each: cost.bytes / Math.max(1, count),
    latency,
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
}

/** Runs a program to its end. Timers and sockets that a peer leaves open do not keep the process. */
export async function main(program) {
  try {
    await program();
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  }
  process.exit();
}
