import { DBOS } from "@dbos-inc/dbos-sdk";

import { main, plan, report } from "../shared/program.mjs";
import { flows, payload } from "../shared/workloads.mjs";
import { launch } from "./dbos.mjs";

await main(async () => {
  const options = plan();
  const step = (name, n) => DBOS.runStep(async () => ({ n }), { name });
  const threeSteps = async ({ n }) => {
    await step("a", n);
    await step("b", n);
    await step("c", n);
  };
  const flow = DBOS.registerWorkflow(threeSteps, { name: "flow" });
  await launch();
  const figures = await flows(options, async (n) => {
    const handle = await DBOS.startWorkflow(flow)(payload(n));
    await handle.getResult();
  });
  report(new URL("./", import.meta.url), figures);
});
