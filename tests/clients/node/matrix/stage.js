// The matrix's stage for SDKs of Node: the one that tests/clients/matrix/stage.py opens, each call against each kind of target, and a
// line for each call's result that the table is made from.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import test, { after, before } from "node:test";
import { fileURLToPath } from "node:url";

export const KINDS = ["openai", "azure", "anthropic", "gemini"];
export const QUESTION = "When does it begin?";
export const RESULT = "18 degrees";
export const ARGUMENTS = { city: "Wien", unit: "celsius" };
export const PLAY = { title: "Faust", seats: 312 };
export const REASON = /temperature: at most 2/;
export const CUT_AFTER = 5;

/** Opens the stage for this file's tests; where it is, once they run. */
export function openStage() {
  const stage = {};
  let child;
  before(async () => {
    child = spawn("python3", [fileURLToPath(new URL("../../matrix/stage.py", import.meta.url))], { stdio: ["pipe", "pipe", "inherit"] });
    const [line] = await once(createInterface(child.stdout), "line");
    Object.assign(stage, JSON.parse(line));
  });
  after(async () => {
    const ended = once(child, "exit");
    child.stdin.end();
    const [code] = await ended;
    assert.equal(code, 0, "the stage's gateway didn't stop as it should");
  });
  return stage;
}

/** Registers a client's calls, each as `name: async (target) => …`, once for each kind of target. */
export function onEveryTarget({ client, npm, kinds = KINDS }, calls) {
  const { version } = JSON.parse(readFileSync(new URL(`../node_modules/${npm}/package.json`, import.meta.url)));
  for (const [call, act] of Object.entries(calls)) {
    for (const target of kinds) {
      test(`${client}: ${call} [${target}]`, async () => {
        let result = "failed";
        try {
          await act(target);
          result = "passed";
        } finally {
          const file = process.env.STAGEDOOR_RESULTS;
          if (file) appendFileSync(file, JSON.stringify({ client: `${client} ${version}`, call, target, result, note: null }) + "\n");
        }
      });
    }
  }
}
