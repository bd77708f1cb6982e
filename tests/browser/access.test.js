// For everyone: what axe-core finds in each view, in light and dark, at a desk and on a phone; and nothing wider than the page.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import axe from "axe-core";
import { browser, enter, open, sleep, Stage } from "./stage.js";

const VIEWS = ["overview", "providers", "requests", "keys", "usage", "route", "playground"];
const SIZES = { desk: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

let stage, chromium;
before(async () => {
  [stage, chromium] = await Promise.all([Stage.open(), browser()]);
  stage.traffic();
  stage.traffic({ stream: true });
  const made = await stage.admin("POST", "keys", { name: "web", rpm: 600, budget: { usd: 0.01, window: "day" } });
  for (let call = 0; call < 20; call += 1) await stage.chat({ key: made.key });
  await stage.fail("alpha");
});
after(async () => {
  await chromium?.close();
  await stage?.close();
});

/** What is serious or worse, in words. */
async function findings(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const bad = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  return bad.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ html, failureSummary }) => `${html} (${failureSummary})`).join(" | ")}`);
}

for (const colorScheme of ["light", "dark"]) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    test(`every view is without serious findings, ${colorScheme}, ${size}`, async () => {
      const { context, page, errors } = await open(chromium, { colorScheme, viewport });
      await page.goto(`${stage.url}/dashboard`);
      await page.getByLabel("Admin key").waitFor();
      assert.deepEqual(await findings(page), [], "signing in");
      await enter(page, stage);
      for (const view of VIEWS) {
        await page.goto(`${stage.url}/dashboard#/${view}`);
        await page.locator(`.view-${view}`).waitFor();
        await sleep(1_200);
        if (view === "requests") await page.locator("tr[data-request] button").first().click();
        if (view === "keys") {
          await page.getByRole("button", { name: "New key" }).click();
          assert.deepEqual(await findings(page), [], "a new key");
          await page.keyboard.press("Escape");
        }
        assert.deepEqual(await findings(page), [], view);
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.equal(wider, 0, `${view} is wider than its page`);
      }
      assert.deepEqual(errors, []);
      await context.close();
    });
  }
}

test("the theme's switch holds against the system's, and over a reload", async () => {
  const { context, page } = await open(chromium, { colorScheme: "dark" });
  await enter(page, stage);
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const dark = await ground();
  await page.getByLabel("Theme").selectOption("light");
  const light = await ground();
  assert.notEqual(light, dark);
  await page.reload();
  await page.getByText("live", { exact: true }).waitFor();
  assert.equal(await ground(), light);
  await page.getByLabel("Theme").selectOption("system");
  assert.equal(await ground(), dark);
  await context.close();
});
