// What a caller does on a good day: whole and streamed answers, tools, structured output, several at once.

import assert from "node:assert/strict";
import test from "node:test";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { openDoor, openRehearsal } from "./gateway.js";
import { pausesAfter, TEXT, TOOL_ARGUMENTS, USAGE, WORDS } from "./upstream.js";

const ASK = { model: "chat", messages: [{ role: "user", content: "When does it begin?" }] };
const Play = z.object({ title: z.string(), seats: z.number() });
const WEATHER = zodFunction({ name: "weather", parameters: z.object({ city: z.string(), unit: z.string() }) });

test("a whole answer is the upstream's", async (t) => {
  const client = (await openDoor(t, ["first"])).client();
  const answer = await client.chat.completions.create(ASK);
  assert.equal(answer.choices[0].message.content, TEXT);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.deepEqual(answer.usage, USAGE);
});

test("a stream's words join to the whole answer, with usage when asked", async (t) => {
  const client = (await openDoor(t, ["first"])).client();
  const chunks = [];
  for await (const chunk of await client.chat.completions.create({ ...ASK, stream: true, stream_options: { include_usage: true } })) chunks.push(chunk);
  assert.deepEqual(chunks.map((chunk) => chunk.choices[0]?.delta.content).filter(Boolean), WORDS);
  assert.deepEqual(chunks.map((chunk) => chunk.choices[0]?.finish_reason).filter(Boolean), ["stop"]);
  assert.deepEqual(chunks.at(-1).usage, USAGE);
});

test("the stream helper tells its events and the final answer", async (t) => {
  const client = (await openDoor(t, ["first"])).client();
  let text = "";
  const stream = client.chat.completions.stream(ASK).on("content", (delta) => (text += delta));
  assert.equal(await stream.finalContent(), TEXT);
  assert.equal(text, TEXT);
  assert.equal((await stream.finalChatCompletion()).choices[0].finish_reason, "stop");
});

test("a tool is called, whole and streamed", async (t) => {
  const client = (await openDoor(t, ["first"])).client();
  const asked = { ...ASK, tools: [WEATHER], tool_choice: "required" };
  const whole = await client.chat.completions.create(asked);
  assert.equal(whole.choices[0].finish_reason, "tool_calls");
  assert.equal(whole.choices[0].message.tool_calls[0].function.arguments, TOOL_ARGUMENTS);
  const streamed = await client.chat.completions.stream(asked).finalChatCompletion();
  assert.deepEqual(streamed.choices[0].message.tool_calls[0].function.parsed_arguments, { city: "Wien", unit: "celsius" });
});

test("runTools goes round: the call, the tool's result, the answer", async (t) => {
  const { client, upstream } = await openDoor(t, ["first"]);
  const seen = [];
  const tool = { type: "function", function: { name: "weather", parse: JSON.parse, parameters: {}, function: (given) => (seen.push(given), "18 degrees") } };
  assert.equal(await client().chat.completions.runTools({ ...ASK, tools: [tool] }).finalContent(), TEXT);
  assert.deepEqual(seen, [{ city: "Wien", unit: "celsius" }]);
  assert.equal(upstream.calls("first").at(-1).body.messages.at(-1).content, "18 degrees");
});

test("parse gives a typed answer", async (t) => {
  const client = (await openDoor(t, ["first"])).client();
  const answer = await client.chat.completions.parse({ ...ASK, response_format: zodResponseFormat(Play, "play") });
  assert.deepEqual(answer.choices[0].message.parsed, { title: "Faust", seats: 312 });
});

test("forty at once", async (t) => {
  const client = (await openDoor(t, ["first"])).client();
  const answers = await Promise.all(Array.from({ length: 40 }, () => client.chat.completions.create(ASK)));
  assert.ok(answers.every((answer) => answer.choices[0].message.content === TEXT));
});

test("an aborted stream lets its upstream go", async (t) => {
  const { client, upstream } = await openDoor(t, ["first"]);
  upstream.plays("first", pausesAfter(3));
  const stream = await client().chat.completions.create({ ...ASK, stream: true });
  for await (const chunk of stream) if (chunk.choices[0].delta.content === WORDS[2]) break;
  const left = performance.now();
  await upstream.calls("first")[0].closed;
  assert.ok(performance.now() - left < 1000);
});

test("every answer has its request id and tells who served", async (t) => {
  const client = (await openDoor(t, ["first"])).client();
  const { data, response, request_id } = await client.chat.completions.create(ASK).withResponse();
  assert.equal(data._request_id, response.headers.get("x-request-id"));
  assert.equal(request_id, data._request_id);
  assert.equal(response.headers.get("x-stagedoor-provider"), "first");
  assert.equal(response.headers.get("x-stagedoor-attempts"), "1");
});

test("models are listed and found", async (t) => {
  const client = (await openDoor(t, ["first"])).client();
  assert.deepEqual((await client.models.list()).data.map((model) => model.id), ["chat"]);
  assert.equal((await client.models.retrieve("chat")).object, "model");
});

test("without any key the rehearsal answers, whole and streamed", async (t) => {
  const client = (await openRehearsal(t)).client();
  const { data, response } = await client.chat.completions.create({ ...ASK, model: "gpt-4o" }).withResponse();
  assert.equal(response.headers.get("x-stagedoor-provider"), "rehearsal");
  assert.ok(data.choices[0].message.content);
  assert.ok(await client.chat.completions.stream({ ...ASK, model: "gpt-4o" }).finalContent());
});
