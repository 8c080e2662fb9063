// DBOS Transact for TypeScript, in this process, on PostgreSQL.
//
// It keeps a row for each workflow with its input and output and one for each step's output, until somebody deletes
// them. Its commits are PostgreSQL's, with fsync.

import { DBOS, DBOSClient } from "@dbos-inc/dbos-sdk";

import { databaseUrl } from "../shared/program.mjs";

const NAME = "bench";
const POOL_SIZE = 20;
// Of workflows of the queue that run at once, and how often the queue is asked: its default is once a second.
const QUEUE = { workerConcurrency: 500, minPollingIntervalMs: 10 };

/** Launches DBOS. Workflows are registered before. */
export async function launch() {
  DBOS.setConfig({
    name: NAME,
    systemDatabaseUrl: databaseUrl(),
    systemDatabasePoolSize: POOL_SIZE,
    logLevel: "error",
    applicationVersion: "1",
    executorID: "bench",
  });
  await DBOS.launch();
}

/** Stores workflows in a queue that no executor works on yet, from so many callers at once. */
export async function fill(workflowName, count, callers, payload) {
  await DBOS.migrate(databaseUrl());
  const client = await DBOSClient.create({
    systemDatabaseUrl: databaseUrl(),
    systemDatabasePoolSize: POOL_SIZE,
    applicationName: NAME,
  });
  await client.registerQueue(NAME, QUEUE);
  let number = 0;
  const caller = async () => {
    while (number < count) {
      await client.enqueue({ queueName: NAME, workflowName, appVersion: "1" }, payload(number++));
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  await client.destroy();
}

/** How many workflows are not at their end. */
export async function unfinished() {
  const found = await DBOS.listWorkflows({ status: ["ENQUEUED", "PENDING"], limit: 1, loadInput: false, loadOutput: false });
  return found.length;
}
