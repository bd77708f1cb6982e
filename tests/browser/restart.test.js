// A page that is kept open while the gateway restarts: it says so, and finds it again.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ADMIN_KEY, browser, enter, open, Stage, until } from "./stage.js";

let stage, chromium;
before(async () => {
  [stage, chromium] = await Promise.all([Stage.open(), browser()]);
});
after(async () => {
  await chromium?.close();
  await stage?.close();
});

test("a page outlives a restart of its gateway", async () => {
  const { context, page } = await open(chromium);
  await enter(page, stage, "providers");
  const alpha = page.locator('article[aria-label="alpha"]');
  await alpha.waitFor();
  const began = Date.now();
  await stage.halt();
  assert.ok(Date.now() - began < 2_000, "who watches holds up no restart");
  await page.getByText("No connection to the gateway.").waitFor();
  assert.ok(await alpha.isVisible(), "what was last known stays");
  await stage.boot();
  await page.getByText("The session is over").waitFor();
  await page.getByLabel("Admin key").fill(ADMIN_KEY);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("live", { exact: true }).waitFor();
  await page.getByText("No connection to the gateway.").waitFor({ state: "hidden" });
  await stage.fail("alpha");
  stage.traffic();
  await until("it is live again", async () => (await alpha.getAttribute("data-status")) !== "healthy");
  await context.close();
});

test("a page whose session ended elsewhere asks for the key again", async () => {
  const { context, page } = await open(chromium);
  await enter(page, stage, "keys");
  await context.clearCookies();
  await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: "Usage" }).click();
  await page.getByText("The session is over").waitFor();
  await page.getByLabel("Admin key").fill(ADMIN_KEY);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("live", { exact: true }).waitFor();
  await context.close();
});
