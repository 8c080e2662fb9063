import { main, plan, report } from "../shared/program.mjs";
import { payload, startLatency } from "../shared/workloads.mjs";
import { Probe } from "../shared/wait.mjs";
import { open } from "./boss.mjs";

await main(async () => {
  const { variant, ...rest } = plan();
  const queue = await open(variant);
  const probe = new Probe();
  await queue.start(async () => probe.note());
  const figures = await startLatency(rest, {
    probe,
    accept: (n) => queue.add(payload(n)),
    ended: (count) => queue.completed(count),
  });
  report(new URL("./", import.meta.url), { ...figures, variant });
});
