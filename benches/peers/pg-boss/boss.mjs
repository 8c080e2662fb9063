// pg-boss with its workers woken by LISTEN/NOTIFY, fetching in batches and, as long as those are full, without a pause.
//
// A finished job's row stays, with its state and output, until it is old. Its commits are PostgreSQL's, with fsync.

import { PgBoss } from "pg-boss";

import { databaseUrl } from "../shared/program.mjs";
import { eventually } from "../shared/wait.mjs";

const QUEUE = "bench";

const VARIANTS = {
  // Its smallest interval of polling, since its default of two seconds would measure nothing else.
  polling: { batchSize: 1, localConcurrency: 1, pollingIntervalSeconds: 0.5 },
  notified: { batchSize: 1, localConcurrency: 1, pollingIntervalSeconds: 0.5, notifyPollingIntervalSeconds: 0.5 },
  batched: {
    batchSize: 500,
    localConcurrency: 4,
    burstWhenBatchFull: true,
    pollingIntervalSeconds: 0.5,
    notifyPollingIntervalSeconds: 0.5,
  },
};

/** The library on an empty database. `variant` is one of the above. */
export async function open(variant) {
  const options = VARIANTS[variant];
  if (!options) throw new Error(`--variant must be one of ${Object.keys(VARIANTS).join(", ")}, not ${variant}`);
  const notify = variant !== "polling";
  const boss = new PgBoss({ connectionString: databaseUrl(), max: 10, useListenNotify: notify });
  boss.on("error", (error) => console.error(error));
  boss.on("warning", ({ message }) => console.error(message));
  await boss.start();
  await boss.createQueue(QUEUE, { notify });
  return {
    /** Stores jobs, a thousand in a statement. */
    async fill(count, payload) {
      for (let from = 0; from < count; from += 1_000) {
        const size = Math.min(1_000, count - from);
        await boss.insert(QUEUE, Array.from({ length: size }, (_, i) => ({ data: payload(from + i) })));
      }
    },
    add: (payload) => boss.send(QUEUE, payload),
    /** Starts to work. A batch ends in one statement, so one failure fails the batch. */
    start: (job) =>
      boss.work(QUEUE, options, async (jobs) => {
        await Promise.all(jobs.map(({ data }) => job(data)));
      }),
    /** Resolves once that many jobs are stored as completed. */
    completed: (count) =>
      eventually("jobs are not completed", 60, async () => {
        const text = "SELECT count(*)::int AS done FROM pgboss.job WHERE name = $1 AND state = 'completed'";
        const { rows } = await boss.getDb().executeSql(text, [QUEUE]);
        return rows[0].done >= count;
      }),
  };
}
