import { service } from "@restatedev/restate-sdk";
import { connect } from "@restatedev/restate-sdk-clients";

import { main, plan, report } from "../shared/program.mjs";
import { payload, startLatency } from "../shared/workloads.mjs";
import { Counter, Probe } from "../shared/wait.mjs";
import { beside } from "./server.mjs";

await main(() => {
  const options = plan();
  const probe = new Probe();
  const begun = new Counter();
  const job = service({
    name: "bench",
    handlers: {
      async job(context, { n }) {
        await context.run("note", () => {
          probe.note();
          return { n };
        });
        begun.add();
      },
    },
  });
  return beside([job], async (url) => {
    const client = connect({ url }).serviceSendClient(job);
    const figures = await startLatency(options, {
      probe,
      accept: (n) => client.job(payload(n)),
      ended: (count) => begun.until(count),
    });
    report(new URL("./", import.meta.url), { ...figures, store: "own" });
  });
});
