// What the dashboard is tried on: the real binary over two simulated providers ("stagedoor sim"), callers that go on asking,
// and a Chromium that is driven.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const BINARY = process.env.STAGEDOOR_BIN || fileURLToPath(new URL("../../target/debug/stagedoor", import.meta.url));
const CHROMIUM = process.env.STAGEDOOR_CHROMIUM || "/usr/bin/chromium";
export const ADMIN_KEY = "admin-key-of-the-browser-tests-only";
export const CALLER_KEY = "sk-caller-key-of-the-browser-tests";

export { sleep };

/**
 * Two simulators and a gateway whose model "chat" is served by alpha, then beta; "only-alpha" by alpha alone. `secure`: by HTTPS, with
 * a certificate that nobody vouches for.
 */
export class Stage {
  static async open({ secure = false } = {}) {
    const stage = new Stage();
    stage.secure = secure;
    stage.folder = mkdtempSync(path.join(tmpdir(), "stagedoor-browser-"));
    stage.sims = { alpha: await freePort(), beta: await freePort() };
    stage.port = await freePort();
    stage.url = `${secure ? "https" : "http"}://127.0.0.1:${stage.port}`;
    stage.processes = [];
    stage.callers = [];
    for (const [name, port] of Object.entries(stage.sims)) {
      writeFileSync(path.join(stage.folder, `${name}.toml`), 'latency = "15ms"\nfirst_token = "20ms"\npace = "4ms"\njitter = 0.4\nwords = 24\n');
      stage.processes.push(run(stage.folder, name, ["sim", "--port", String(port), "--script", `${name}.toml`]));
    }
    if (secure) certify(stage.folder);
    writeFileSync(path.join(stage.folder, "stagedoor.toml"), settings(stage));
    await stage.boot();
    return stage;
  }

  /** Starts the gateway: the first time, and after `halt`. */
  async boot() {
    this.gateway = run(this.folder, "gateway", ["serve", "--settings", "stagedoor.toml"]);
    for (const url of [`${this.url}/health/live`, ...Object.values(this.sims).map((port) => `http://127.0.0.1:${port}/__sim/stats`)]) {
      await answers(url, this.gateway);
    }
  }

  /** Stops the gateway as a deployment does. */
  async halt() {
    await ended(this.gateway);
  }

  async close() {
    this.callers.forEach((caller) => (caller.stopped = true));
    await Promise.all([this.gateway, ...this.processes].map(ended));
    const log = readFileSync(this.gateway.log, "utf8");
    rmSync(this.folder, { recursive: true });
    assert.ok(!log.includes("panicked"), log);
  }

  /** Gives a simulator another script; what is left out is as it was at the start. */
  async play(name, script) {
    const usual = { latency: "15ms", first_token: "20ms", pace: "4ms", words: 24 };
    const answer = await fetch(`http://127.0.0.1:${this.sims[name]}/__sim/script`, { method: "POST", body: JSON.stringify({ ...usual, ...script }) });
    assert.ok(answer.ok, await answer.text());
  }

  fail = (name) => this.play(name, { faults: [{ kind: "status", status: 503 }] });
  heal = (name) => this.play(name, {});

  /** One call by a caller; the answer as text, whatever it is. */
  async chat({ model = "chat", stream = false, key = CALLER_KEY, tags = "team=blue" } = {}) {
    const answer = await fetch(`${this.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${key}`, "x-stagedoor-tags": tags },
      body: JSON.stringify({ model, stream, messages: [{ role: "user", content: "Hello" }] }),
    });
    return { status: answer.status, text: await answer.text() };
  }

  /** Callers that go on asking, plain and streamed in turn, until `stopped` is set. */
  traffic(options = {}, pause = 40) {
    const caller = { stopped: false, calls: 0 };
    this.callers.push(caller);
    (async () => {
      while (!caller.stopped) {
        await this.chat({ stream: caller.calls % 2 === 1, ...options }).catch(() => {});
        caller.calls += 1;
        await sleep(pause);
      }
    })();
    return caller;
  }

  /** The admin plane, by its key. */
  async admin(method, where, body) {
    const answer = await fetch(`${this.url}/admin/${where}`, {
      method,
      headers: { authorization: `Bearer ${ADMIN_KEY}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    return answer.json();
  }
}

/** Writes a certificate with its key. */
function certify(folder) {
  const words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1";
  execFileSync("openssl", [...words.split(" "), "-keyout", "key.pem", "-out", "cert.pem"], { cwd: folder, stdio: "ignore" });
}

const settings = ({ port, sims, folder, secure }) => `
[server]
port = ${port}
workers = 1
shutdown_grace = "2s"
${secure ? '[server.tls]\ncert = "cert.pem"\nkey = "key.pem"' : ""}
[auth]
mode = "keys"
[[auth.keys]]
name = "shop"
key = { value = "${CALLER_KEY}" }
[admin]
key = { value = "${ADMIN_KEY}" }
[store]
url = "sqlite://${path.join(folder, "stagedoor.db")}"
[breaker]
open_for = "3s"
open_for_max = "4s"
ramp = "1s"
${Object.entries(sims).map(([name, port]) => `
[providers.${name}]
dialect = "openai"
base_url = "http://127.0.0.1:${port}/v1"
keys = [{ value = "upstream-secret-of-${name}", name = "${name}-main" }]`).join("\n")}
[models.chat]
strategy = "ordered"
targets = [
  { provider = "alpha", model = "alpha-large", price = { input = 2.5, output = 10.0 } },
  { provider = "beta", model = "beta-large", price = { input = 3.0, output = 15.0 } },
]
[models.only-alpha]
targets = [{ provider = "alpha", model = "alpha-small", price = { input = 0.15, output = 0.6 } }]
`;

/** A Chromium; null with the reason where it is missing. */
export async function browser() {
  return chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/**
 * A page of its own, with nobody signed in. `errors` gathers what its console says is wrong; a test that expects some empties it.
 */
export async function open(chromium, options = {}) {
  const context = await chromium.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const errors = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.setDefaultTimeout(10_000);
  return { context, page, errors };
}

/** Opens the dashboard at a view and signs in, where that is asked. */
export async function enter(page, stage, view = "overview") {
  await page.goto(`${stage.url}/dashboard#/${view}`);
  const field = page.getByLabel("Admin key");
  const nav = page.getByRole("navigation", { name: "Views" });
  await field.or(nav).first().waitFor();
  if (await field.isVisible()) {
    await field.fill(ADMIN_KEY);
    await page.getByRole("button", { name: "Sign in" }).click();
  }
  await page.getByText("live", { exact: true }).waitFor();
}

/** Waits until a fact holds, and says for how long it was waited, in milliseconds. */
export async function until(what, fact, patience = 10_000) {
  const began = Date.now();
  for (;;) {
    if (await fact()) return Date.now() - began;
    assert.ok(Date.now() - began < patience, `still not so after ${patience} ms: ${what}`);
    await sleep(25);
  }
}

function run(folder, name, words) {
  const log = path.join(folder, `${name}.log`);
  const out = openSync(log, "a");
  const { PATH, HOME } = process.env;
  const child = spawn(BINARY, words, { cwd: folder, env: { PATH, HOME }, stdio: ["ignore", out, out] });
  return Object.assign(child, { log, over: once(child, "exit") });
}

async function ended(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  const late = setTimeout(() => child.kill("SIGKILL"), 10_000);
  await child.over;
  clearTimeout(late);
}

async function answers(url, child) {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; await sleep(20)) {
    assert.equal(child.exitCode, null, `stagedoor ended at its start:\n${readFileSync(child.log, "utf8")}`);
    if ((await fetch(url).catch(() => null))?.ok) return;
  }
  assert.fail(`${url} didn't answer in 20 s:\n${readFileSync(child.log, "utf8")}`);
}

async function freePort() {
  const probe = net.createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  await new Promise((closed) => probe.close(closed));
  return port;
}
