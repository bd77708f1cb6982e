// OpenAI's Responses, by its SDK for Node, over a target that speaks chat completions.

import assert from "node:assert/strict";
import test from "node:test";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { openDoor, openRehearsal } from "./gateway.js";
import { TEXT, TOOL_ARGUMENTS, WORDS } from "./upstream.js";

const ASK = { model: "chat", input: "When does it begin?", instructions: "Be brief." };
const Play = z.object({ title: z.string(), seats: z.number() });
const WEATHER = { type: "function", name: "weather", parameters: { type: "object", properties: { city: { type: "string" }, unit: { type: "string" } }, required: ["city", "unit"], additionalProperties: false }, strict: true };

test("a whole response", async (t) => {
  const client = (await openDoor(t, ["first"])).client();
  const response = await client.responses.create(ASK);
  assert.equal(response.output_text, TEXT);
  assert.equal(response.status, "completed");
  assert.equal(response.usage.output_tokens, WORDS.length);
});

test("a streamed response, by hand and by the helper", async (t) => {
  const client = (await openDoor(t, ["first"])).client();
  const events = [];
  for await (const event of await client.responses.create({ ...ASK, stream: true })) events.push(event);
  assert.deepEqual(events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta), WORDS);
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, at) => at));
  assert.equal(events.at(-1).type, "response.completed");
  const final = await client.responses.stream(ASK).finalResponse();
  assert.equal(final.output_text, TEXT);
});

test("a tool is called and its output is answered", async (t) => {
  const client = (await openDoor(t, ["first"])).client();
  const response = await client.responses.create({ ...ASK, tools: [WEATHER], tool_choice: "required" });
  const call = response.output.find((item) => item.type === "function_call");
  assert.equal(call.arguments, TOOL_ARGUMENTS);
  const input = [{ role: "user", content: ASK.input }, ...response.output, { type: "function_call_output", call_id: call.call_id, output: "18 degrees" }];
  assert.equal((await client.responses.create({ ...ASK, input, tools: [WEATHER] })).output_text, TEXT);
  const streamed = await client.responses.stream({ ...ASK, tools: [WEATHER], tool_choice: "required" }).finalResponse();
  assert.equal(streamed.output.find((item) => item.type === "function_call").arguments, TOOL_ARGUMENTS);
});

test("parse gives a typed answer", async (t) => {
  const client = (await openDoor(t, ["first"])).client();
  const response = await client.responses.parse({ ...ASK, text: { format: zodTextFormat(Play, "play") } });
  assert.deepEqual(response.output_parsed, { title: "Faust", seats: 312 });
});

test("the rehearsal answers, and what needs kept answers is refused by name", async (t) => {
  const client = (await openRehearsal(t)).client({ apiKey: "anything", maxRetries: 0 });
  const ask = { ...ASK, model: "gpt-4o" };
  assert.match((await client.responses.create(ask)).output_text, /^This is a rehearsal/);
  await assert.rejects(client.responses.create({ ...ask, previous_response_id: "resp_1" }), { status: 400, code: "no_fitting_target" });
});
