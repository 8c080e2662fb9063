import { DBOS } from "@dbos-inc/dbos-sdk";

import { main, plan, report } from "../shared/program.mjs";
import { drain, payload } from "../shared/workloads.mjs";
import { Counter, eventually } from "../shared/wait.mjs";
import { fill, launch, unfinished } from "./dbos.mjs";

await main(async () => {
  const { callers, ...rest } = plan();
  const begun = new Counter();
  DBOS.registerWorkflow(async () => begun.add(), { name: "job" });
  const figures = await drain(rest, {
    fill: (count) => fill("job", count, callers, payload),
    async work(count) {
      await launch();
      await begun.until(count);
      await eventually("workflows are not ended", 60, async () => (await unfinished()) === 0);
    },
  });
  report(new URL("./", import.meta.url), figures);
});
