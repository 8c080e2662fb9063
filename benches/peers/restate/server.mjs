// Restate's server, one node in a fresh folder, and the handlers that it calls, which are in this process.
//
// It keeps each invocation's journal (input, every step's result, output) in a replicated log, here of one replica, whose
// write-ahead log is flushed with fsync before it acknowledges; completed journals stay for a day.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import http2 from "node:http2";
import { createRequire } from "node:module";
import net from "node:net";
import { arch, tmpdir } from "node:os";
import path from "node:path";

import { createEndpointHandler } from "@restatedev/restate-sdk";

import { post } from "../shared/post.mjs";
import { eventually } from "../shared/wait.mjs";

/** A port of the loopback that was free a moment ago. */
async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

async function isHealthy(url) {
  try {
    return (await fetch(url)).ok;
  } catch {
    // Nothing listens yet. Whoever waits has a limit of time.
    return false;
  }
}

async function stop(server, folder) {
  const isRunning = server.pid !== undefined && server.exitCode === null && server.signalCode === null;
  if (isRunning) {
    const gone = once(server, "exit");
    const timer = setTimeout(() => server.kill("SIGKILL"), 15_000);
    server.kill("SIGTERM");
    await gone;
    clearTimeout(timer);
  }
  await rm(folder, { recursive: true, force: true });
}

function startServer(folder, ports) {
  const program = createRequire(import.meta.url).resolve(
    `@restatedev/restate-server-linux-${arch()}/bin/restate-server`,
  );
  const address = (port) => `127.0.0.1:${port}`;
  const environment = {
    PATH: process.env.PATH,
    RESTATE_INGRESS__BIND_ADDRESS: address(ports.ingress),
    RESTATE_ADMIN__BIND_ADDRESS: address(ports.admin),
    RESTATE_BIND_ADDRESS: address(ports.fabric),
    RESTATE_ADVERTISED_ADDRESS: `http://${address(ports.fabric)}`,
    RESTATE_LISTEN_MODE: "tcp",
    RESTATE_LOG_SERVER__ROCKSDB_DISABLE_WAL_FSYNC: "false",
    RESTATE_DISABLE_TELEMETRY: "true",
    DO_NOT_TRACK: "1",
  };
  const options = ["--base-dir", folder, "--node-name", "bench", "--no-logo", "--log-filter", "warn"];
  // Its words go where ours go: standard output is for figures alone.
  const server = spawn(program, options, { cwd: folder, env: environment, stdio: ["ignore", 2, 2] });
  server.on("error", (error) => console.error(error));
  // Also when this program ends by an error that nobody caught.
  process.on("exit", () => server.kill("SIGKILL"));
  return server;
}

/** Starts the server with these services. `ingress` is the URL that callers use. */
export async function start(services) {
  const folder = await mkdtemp(path.join(tmpdir(), "core314-restate."));
  const ports = { ingress: await freePort(), admin: await freePort(), fabric: await freePort() };
  const server = startServer(folder, ports);
  const [ingress, admin] = [ports.ingress, ports.admin].map((port) => `http://127.0.0.1:${port}`);
  try {
    await eventually("Restate's admin API is not up", 60, () => isHealthy(`${admin}/health`));
    await eventually("Restate's ingress is not up", 60, () => isHealthy(`${ingress}/restate/health`));
    // On the loopback alone, where the SDK's own `serve` would listen on every address.
    const handlers = http2.createServer(createEndpointHandler({ services })).listen(0, "127.0.0.1");
    await once(handlers, "listening");
    const status = await post(`${admin}/deployments`, { uri: `http://127.0.0.1:${handlers.address().port}` });
    if (status !== 200 && status !== 201) throw new Error(`Restate answered ${status} to the registration`);
  } catch (error) {
    await stop(server, folder);
    throw error;
  }
  return { ingress, stop: () => stop(server, folder) };
}

/** Runs a program beside the server, and stops the server at its end. */
export async function beside(services, program) {
  const server = await start(services);
  try {
    await program(server.ingress);
  } finally {
    await server.stop();
  }
}
