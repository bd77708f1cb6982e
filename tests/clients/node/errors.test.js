// What a caller sees when it can't be served, and what it must never notice: the SDK's error classes, repeats, failover.

import assert from "node:assert/strict";
import test from "node:test";
import OpenAI from "openai";
import { openDoor } from "./gateway.js";
import { cutAfter, healthy, refuses, TEXT, WORDS } from "./upstream.js";

const ASK = { model: "chat", messages: [{ role: "user", content: "When does it begin?" }] };

test("a wrong key is an authentication error", async (t) => {
  const { client } = await openDoor(t, ["first"]);
  const call = client({ apiKey: "sk-not-a-key-of-this-gateway" }).chat.completions.create(ASK);
  await assert.rejects(call, (error) => error instanceof OpenAI.AuthenticationError && error.code === "invalid_api_key" && !!error.requestID);
});

test("an unknown model is not found and the nearest is named", async (t) => {
  const { client } = await openDoor(t, ["first"]);
  const call = client().chat.completions.create({ ...ASK, model: "chta" });
  await assert.rejects(call, (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found" && /\bchat\b/.test(error.message));
});

test("the upstream's own bad request passes as it is", async (t) => {
  const { client, upstream } = await openDoor(t, ["first"]);
  upstream.plays("first", refuses(400, { message: "temperature: at most 2", type: "invalid_request_error", code: "invalid_value" }));
  const call = client().chat.completions.create(ASK);
  await assert.rejects(call, (error) => error instanceof OpenAI.BadRequestError && error.code === "invalid_value" && /at most 2/.test(error.message));
  assert.equal(upstream.calls("first").length, 1);
});

test("all targets rate-limited is a rate limit error that says how long", async (t) => {
  const { client, upstream } = await openDoor(t, ["first"]);
  upstream.plays("first", refuses(429, { "retry-after": "30" }));
  const call = client({ maxRetries: 0 }).chat.completions.create(ASK);
  await assert.rejects(call, (error) => error instanceof OpenAI.RateLimitError && Number(error.headers.get("retry-after")) >= 25);
});

test("the SDK waits as told and is then served", async (t) => {
  const { client, upstream } = await openDoor(t, ["first"], "[retry]\nattempts = 1\n");
  upstream.plays("first", refuses(429, { "retry-after": "2" }), healthy);
  const began = performance.now();
  assert.equal((await client().chat.completions.create(ASK)).choices[0].message.content, TEXT);
  assert.ok(performance.now() - began > 1500);
});

test("a failure of every target is told once and not repeated", async (t) => {
  const { client, upstream, requestsAnswered } = await openDoor(t, ["first", "second"]);
  upstream.plays("first", refuses(500));
  upstream.plays("second", refuses(503));
  const call = client().chat.completions.create(ASK);
  await assert.rejects(call, (error) => error instanceof OpenAI.InternalServerError && error.status === 502 && error.code === "all_targets_failed");
  assert.equal(await requestsAnswered(), 1);
});

for (const stream of [false, true]) {
  test(`a dead first target is a plain success (stream: ${stream})`, async (t) => {
    const { client } = await openDoor(t, ["dead", "second"], "[retry]\nsame_target = 0\n");
    const { data, response } = await client().chat.completions.create({ ...ASK, stream }).withResponse();
    assert.equal(stream ? (await wordsOf(data)).join("") : data.choices[0].message.content, TEXT);
    assert.equal(response.headers.get("x-stagedoor-provider"), "second");
    assert.equal(response.headers.get("x-stagedoor-attempts"), "2");
  });
}

test("a stream cut after ten words raises and never ends well", async (t) => {
  const { client, upstream } = await openDoor(t, ["first"]);
  upstream.plays("first", cutAfter(10));
  const words = [];
  const read = async () => wordsOf(await client().chat.completions.create({ ...ASK, stream: true }), words);
  await assert.rejects(read, OpenAI.APIError);
  assert.deepEqual(words, WORDS.slice(0, 10));
});

test("the stream helper rejects a cut stream too", async (t) => {
  const { client, upstream } = await openDoor(t, ["first"]);
  upstream.plays("first", cutAfter(10));
  await assert.rejects(client().chat.completions.stream(ASK).finalContent(), OpenAI.OpenAIError);
});

async function wordsOf(stream, words = []) {
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content) words.push(chunk.choices[0].delta.content);
  return words;
}
