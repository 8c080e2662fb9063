import { service } from "@restatedev/restate-sdk";

import { call } from "../shared/post.mjs";
import { main, plan, report } from "../shared/program.mjs";
import { webhooks } from "../shared/webhooks.mjs";
import { beside } from "./server.mjs";

await main(() => {
  const options = plan();
  let receiver;
  const flow = service({
    name: "bench",
    handlers: { flow: (context, { n }) => context.run("call", () => call(receiver, { n })) },
  });
  return beside([flow], async (ingress) => {
    // Its ingress takes a POST and acknowledges before the handler begins: it is the webhook.
    const figures = await webhooks(options, async (url) => {
      receiver = url;
      return `${ingress}/bench/flow/send`;
    });
    report(new URL("./", import.meta.url), { ...figures, store: "own" });
  });
});
