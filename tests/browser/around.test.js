// What stands around the page: a proxy that serves it below a path of its own, and other tabs of the same browser.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, before, test } from "node:test";
import { ADMIN_KEY, browser, enter, open, Stage, until } from "./stage.js";

let stage, chromium;
before(async () => {
  [stage, chromium] = await Promise.all([Stage.open(), browser()]);
  stage.traffic();
});
after(async () => {
  await chromium?.close();
  await stage?.close();
});

/** A reverse proxy that has the gateway at /gw/, and nothing else. */
async function proxy() {
  const server = http.createServer((request, response) => {
    if (!request.url.startsWith("/gw/")) return response.writeHead(404).end();
    const { method, headers } = request;
    const onward = http.request({ host: "127.0.0.1", port: stage.port, path: request.url.slice(3), method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

test("it works below a path of a proxy's, and its session is for there alone", async () => {
  const server = await proxy();
  const url = `http://127.0.0.1:${server.address().port}/gw`;
  const { context, page, errors } = await open(chromium);
  await enter(page, { url });
  const [cookie] = await context.cookies(`${url}/admin/events`);
  assert.equal(cookie.path, "/gw/admin");
  await page.getByRole("row", { name: /alpha healthy closed/ }).waitFor();
  for (const name of ["Providers", "Requests", "Keys", "Usage", "Route", "Playground"]) {
    await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name }).click();
    await page.getByRole("heading", { level: 1, name }).waitFor();
  }
  await page.goto(`${url}/dashboard#/providers`);
  await page.reload();
  await page.getByRole("button", { name: "Reset: alpha", exact: true }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Admin key").waitFor();
  assert.deepEqual(await context.cookies(`${url}/admin/events`), []);
  assert.deepEqual(errors, []);
  await context.close();
  server.closeAllConnections();
  server.close();
});

/** What a browser does when another tab is chosen; without a window, none is ever hidden. */
const hide = (page, hidden) => page.evaluate((hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}, hidden);

test("tabs that nobody looks at hold no connection, so the seventh is live, and go on when they are looked at", async () => {
  const context = await chromium.newContext();
  const tabs = [];
  // Of one host a browser holds six connections: six tabs that listened would take them all.
  for (let tab = 0; tab < 7; tab += 1) {
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    await enter(page, stage);
    await hide(page, true);
    await page.locator(".connection").getByText("paused").waitFor();
    tabs.push(page);
  }
  const [first, , , , , , last] = tabs;
  const figure = () => first.locator(".tile", { hasText: "Requests" }).locator(".figure").innerText();
  await hide(last, false);
  await last.getByText("live", { exact: true }).waitFor();
  await hide(first, false);
  await first.getByText("live", { exact: true }).waitFor();
  assert.equal(await first.getByText("No connection to the gateway.").isVisible(), false);
  await until("figures go on", async () => /[1-9]/.test(await figure()));
  await hide(first, true);
  await hide(first, false);
  assert.ok(await first.getByText("live", { exact: true }).isVisible(), "a short look elsewhere ends nothing");
  await context.close();
});

test("who was signed out while nobody looked is asked for the key when they look again", async () => {
  const { context, page } = await open(chromium);
  await enter(page, stage);
  await hide(page, true);
  await page.locator(".connection").getByText("paused").waitFor();
  await context.clearCookies();
  await hide(page, false);
  await page.getByText("The session is over").waitFor();
  await page.getByLabel("Admin key").fill(ADMIN_KEY);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("live", { exact: true }).waitFor();
  await context.close();
});
