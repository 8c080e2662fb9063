import { DBOS } from "@dbos-inc/dbos-sdk";

import { main, plan, report } from "../shared/program.mjs";
import { payload, startLatency } from "../shared/workloads.mjs";
import { Probe } from "../shared/wait.mjs";
import { launch } from "./dbos.mjs";

await main(async () => {
  const options = plan();
  const probe = new Probe();
  const note = ({ n }) =>
    DBOS.runStep(
      async () => {
        probe.note();
        return { n };
      },
      { name: "note" },
    );
  const job = DBOS.registerWorkflow(note, { name: "job" });
  await launch();
  const ends = [];
  const figures = await startLatency(options, {
    probe,
    async accept(n) {
      const handle = await DBOS.startWorkflow(job)(payload(n));
      ends.push(handle.getResult());
    },
    ended: () => Promise.all(ends),
  });
  report(new URL("./", import.meta.url), figures);
});
