// The gateway under test as a process: the real binary, on a free port, with a settings file made for the test.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import OpenAI from "openai";
import { openUpstream } from "./upstream.js";

const BINARY = process.env.STAGEDOOR_BIN || fileURLToPath(new URL("../../../target/debug/stagedoor", import.meta.url));
const KEY = "sk-test-caller-key-for-the-client-suites";

/** A gateway whose model "chat" is served by these providers in order ("dead" is a closed port); both stop with the test. */
export async function openDoor(test, targets, extra = "") {
  const upstream = await openUpstream();
  test.after(() => upstream.close());
  const port = await freePort();
  const dead = `http://127.0.0.1:${await freePort()}/v1`;
  const providers = targets.map(
    (name) => `[providers.${name}]\ndialect = "openai"\nbase_url = "${name === "dead" ? dead : upstream.url(name)}"\nkeys = [{ value = "upstream-secret-of-${name}" }]\n`,
  );
  const rows = targets.map((name) => `{ provider = "${name}", model = "${name}-model" }`);
  const settings = `
[server]
port = ${port}
shutdown_grace = "2s"
[auth]
mode = "keys"
[[auth.keys]]
name = "suite"
key = { value = "${KEY}" }
${providers.join("")}
[models.chat]
strategy = "ordered"
targets = [${rows.join(", ")}]
${extra}`;
  return { ...(await start(test, port, { settings })), upstream };
}

/** A gateway as a newcomer first starts it: no settings file, no key of any provider. */
export async function openRehearsal(test) {
  const port = await freePort();
  return start(test, port, { env: { STAGEDOOR__SERVER__PORT: String(port) } });
}

async function start(test, port, { settings, env = {} }) {
  const folder = mkdtempSync(path.join(tmpdir(), "stagedoor-node-"));
  const file = path.join(folder, "stagedoor.toml");
  const log = path.join(folder, "serve.log");
  if (settings) writeFileSync(file, settings);
  const out = openSync(log, "a");
  const { PATH, HOME } = process.env;
  const child = spawn(BINARY, ["serve", ...(settings ? ["--settings", file] : [])], { cwd: folder, env: { PATH, HOME, ...env }, stdio: ["ignore", out, out] });
  const ended = once(child, "exit");
  test.after(async () => {
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 10_000);
    const [code] = await ended;
    clearTimeout(late);
    const text = readFileSync(log, "utf8");
    rmSync(folder, { recursive: true });
    assert.ok(code === 0 && !text.includes("panicked"), `exit code ${code}:\n${text}`);
  });
  const url = `http://127.0.0.1:${port}`;
  await answers(`${url}/health/live`, child, log);
  return {
    url,
    client: (options) => new OpenAI({ baseURL: `${url}/v1`, apiKey: KEY, timeout: 20_000, ...options }),
    requestsAnswered: async () => sum(await (await fetch(`${url}/metrics`)).text(), "stagedoor_requests_total{"),
  };
}

async function answers(url, child, log) {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; await sleep(20)) {
    assert.equal(child.exitCode, null, `stagedoor ended at its start:\n${readFileSync(log, "utf8")}`);
    if ((await fetch(url).catch(() => null))?.ok) return;
  }
  assert.fail(`${url} didn't answer in 20 s:\n${readFileSync(log, "utf8")}`);
}

const sum = (text, series) =>
  text.split("\n").filter((line) => line.startsWith(series)).reduce((total, line) => total + Number(line.split(" ").at(-1)), 0);

async function freePort() {
  const probe = net.createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  await new Promise((closed) => probe.close(closed));
  return port;
}
