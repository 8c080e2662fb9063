import { service } from "@restatedev/restate-sdk";
import { connect } from "@restatedev/restate-sdk-clients";

import { main, plan, report } from "../shared/program.mjs";
import { flows, payload } from "../shared/workloads.mjs";
import { beside } from "./server.mjs";

await main(() => {
  const options = plan();
  const flow = service({
    name: "bench",
    handlers: {
      async flow(context, { n }) {
        await context.run("a", () => ({ n }));
        await context.run("b", () => ({ n }));
        await context.run("c", () => ({ n }));
      },
    },
  });
  return beside([flow], async (url) => {
    const client = connect({ url }).serviceClient(flow);
    const figures = await flows(options, (n) => client.flow(payload(n)));
    report(new URL("./", import.meta.url), { ...figures, store: "own" });
  });
});
