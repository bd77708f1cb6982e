// By HTTPS of the gateway's own: the page with its events and its session, and the SDK.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import OpenAI from "openai";
import { browser, CALLER_KEY, enter, open, Stage } from "./stage.js";

// The certificate is the test's own: nobody vouches for it.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";

let stage, chromium;
before(async () => {
  [stage, chromium] = await Promise.all([Stage.open({ secure: true }), browser()]);
  stage.traffic();
});
after(async () => {
  await chromium?.close();
  await stage?.close();
});

test("the page is live by HTTPS, and its session never goes out in the open", async () => {
  const { context, page, errors } = await open(chromium, { ignoreHTTPSErrors: true });
  await enter(page, stage);
  const [cookie] = await context.cookies(`${stage.url}/admin`);
  assert.deepEqual([cookie.secure, cookie.httpOnly, cookie.sameSite], [true, true, "Strict"]);
  await page.getByRole("row", { name: /alpha healthy closed/ }).waitFor();
  await page.locator(".tile .figure", { hasText: /[1-9]/ }).first().waitFor();
  await page.reload();
  await page.getByText("live", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Admin key").waitFor();
  assert.deepEqual(await context.cookies(`${stage.url}/admin`), []);
  assert.deepEqual(errors, []);
  await context.close();
});

test("the SDK speaks with it, streams too", async () => {
  const sdk = new OpenAI({ apiKey: CALLER_KEY, baseURL: `${stage.url}/v1`, maxRetries: 0 });
  const messages = [{ role: "user", content: "Hello" }];
  assert.ok((await sdk.chat.completions.create({ model: "chat", messages })).choices[0].message.content.length > 0);
  let chunks = 0;
  for await (const chunk of await sdk.chat.completions.create({ model: "chat", messages, stream: true })) chunks += chunk.choices.length;
  assert.ok(chunks > 5, `${chunks} chunks`);
});
