import { main, plan, report } from "../shared/program.mjs";
import { drain, payload } from "../shared/workloads.mjs";
import { Counter } from "../shared/wait.mjs";
import { open } from "./boss.mjs";

await main(async () => {
  const { variant, ...rest } = plan();
  const queue = await open(variant);
  const figures = await drain(rest, {
    fill: (count) => queue.fill(count, payload),
    async work(count) {
      const begun = new Counter();
      await queue.start(async () => begun.add());
      await begun.until(count);
      await queue.completed(count);
    },
  });
  report(new URL("./", import.meta.url), { ...figures, variant });
});
