import { DBOS } from "@dbos-inc/dbos-sdk";

import { call } from "../shared/post.mjs";
import { main, plan, report } from "../shared/program.mjs";
import { webhook, webhooks } from "../shared/webhooks.mjs";
import { launch } from "./dbos.mjs";

await main(async () => {
  const options = plan();
  let receiver;
  const job = ({ n }) => DBOS.runStep(() => call(receiver, { n }), { name: "call" });
  const flow = DBOS.registerWorkflow(job, { name: "flow" });
  await launch();
  const figures = await webhooks(options, (url) => {
    receiver = url;
    return webhook((payload) => DBOS.startWorkflow(flow)(payload));
  });
  report(new URL("./", import.meta.url), figures);
});
