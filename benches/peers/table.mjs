// From lines of JSON on standard input: one Markdown table, or with `--lines` such lines from what `core314 bench --json`
// prints, so that ours and the peers' figures stand in one file.

import { readFileSync } from "node:fs";

const WORK = {
  w1: "W1 drain",
  w2: "W2 accept → start",
  w3: "W3 flow of three steps",
  w4: "W4 webhook → call",
};

const number = (value) => Math.round(value).toLocaleString("en-US");

function row({ workload, peer, version, variant, store, unit, count, per_second, cpu_us_each, bytes_written_each, latency, failed }) {
  const who = [peer, version, variant && `(${variant})`].filter(Boolean).join(" ");
  const cells = failed
    ? [failed, "", "", ""]
    : [
        `${number(per_second)} ${unit}/s (${number(count)})`,
        `${number(cpu_us_each)} µs`,
        number(bytes_written_each),
        latency ? `p50 ${latency.p50_ms.toFixed(2)} ms, p99 ${latency.p99_ms.toFixed(2)} ms` : "",
      ];
  return `| ${[WORK[workload] ?? workload, who, store, ...cells].join(" | ")} |`;
}

const text = readFileSync(0, "utf8");
if (process.argv[2] === "--lines") {
  const version = process.argv[3] ?? "";
  for (const figures of JSON.parse(text)) console.log(JSON.stringify({ peer: "core314", version, variant: "", ...figures }));
} else {
  const all = text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  // Those of one workload stand together, in the order in which they were measured.
  const sorted = all.toSorted((a, b) => a.workload.localeCompare(b.workload));
  console.log("| workload | who | store | rate (measured) | CPU each | bytes written each | latency |");
  console.log("|---|---|---|---|---|---|---|");
  for (const figures of sorted) console.log(row(figures));
}
