// graphile-worker, without batches and as its own page on performance sets it up for throughput.
//
// A finished job is deleted: nothing of it is kept. Its commits are PostgreSQL's, with fsync.

import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

import { databaseUrl } from "../shared/program.mjs";
import { eventually } from "../shared/wait.mjs";

const CONCURRENT_JOBS = 24;

const VARIANTS = {
  // The library's own default is one job at a time; more at a time is the first thing that anybody sets.
  unbatched: { concurrentJobs: CONCURRENT_JOBS, maxPoolSize: CONCURRENT_JOBS + 1 },
  batched: {
    concurrentJobs: CONCURRENT_JOBS,
    maxPoolSize: CONCURRENT_JOBS + 1,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  },
};

const logger = new Logger(() => (level, message) => {
  if (level === "error" || level === "warning") console.error(message);
});

/** The library on an empty database. `variant` is one of the above. */
export async function open(variant) {
  const worker = VARIANTS[variant];
  if (!worker) throw new Error(`--variant must be one of ${Object.keys(VARIANTS).join(", ")}, not ${variant}`);
  // A pool of ours stays open after the runner has stopped, so that what its backends used is still there to be read.
  const pgPool = new pg.Pool({ connectionString: databaseUrl(), max: worker.maxPoolSize, idleTimeoutMillis: 0 });
  const utils = await makeWorkerUtils({ pgPool, logger });
  await utils.migrate();
  return {
    /** Stores jobs, a thousand in a statement. */
    async fill(count, payload) {
      for (let from = 0; from < count; from += 1_000) {
        const size = Math.min(1_000, count - from);
        await utils.addJobs(
          Array.from({ length: size }, (_, i) => ({ identifier: "job", payload: payload(from + i) })),
        );
      }
    },
    add: (payload) => utils.addJob("job", payload),
    /** Starts to work. */
    start: (job) =>
      run({ pgPool, logger, noHandleSignals: true, preset: { worker }, parsedCronItems: [], taskList: { job } }),
    /** Resolves once no job is left: a job is deleted in the commit of its end. */
    drained: () =>
      eventually("jobs are left", 60, async () => {
        const { rows } = await pgPool.query("SELECT NOT EXISTS (SELECT FROM graphile_worker.jobs) AS none");
        return rows[0].none;
      }),
  };
}
