import { call } from "../shared/post.mjs";
import { main, plan, report } from "../shared/program.mjs";
import { webhook, webhooks } from "../shared/webhooks.mjs";
import { open } from "./boss.mjs";

await main(async () => {
  const { variant, ...rest } = plan();
  const queue = await open(variant);
  const figures = await webhooks(rest, async (receiver) => {
    await queue.start(({ n }) => call(receiver, { n }));
    return webhook(queue.add);
  });
  report(new URL("./", import.meta.url), { ...figures, variant });
});
