// Anthropic's SDK for TypeScript before a target of each kind.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { TEXT, WORDS } from "../upstream.js";
import { ARGUMENTS, CUT_AFTER, onEveryTarget, openStage, QUESTION, REASON, RESULT } from "./stage.js";

const stage = openStage();
const TOOL = { name: "weather", input_schema: { type: "object", properties: { city: { type: "string" }, unit: { type: "string" } } } };
const TURNS = [{ role: "user", content: QUESTION }];

const messages = () => new Anthropic({ baseURL: stage.url, apiKey: stage.key, timeout: 20_000, maxRetries: 0 }).messages;
const ask = (model, more = {}) => ({ model, max_tokens: 200, messages: TURNS, ...more });

onEveryTarget({ client: "@anthropic-ai/sdk (Node)", npm: "@anthropic-ai/sdk" }, {
  "a whole answer": async (target) => {
    const message = await messages().create(ask(target, { system: "Be brief." }));
    assert.equal(message.content[0].text, TEXT);
    assert.deepEqual([message.stop_reason, message.usage.input_tokens, message.usage.output_tokens], ["end_turn", 7, WORDS.length]);
    assert.ok(message._request_id);
  },
  "a stream": async (target) => {
    const words = [];
    const final = await messages().stream(ask(target)).on("text", (word) => words.push(word)).finalMessage();
    assert.deepEqual(words, WORDS);
    assert.deepEqual([final.stop_reason, final.usage.input_tokens, final.usage.output_tokens], ["end_turn", 7, WORDS.length]);
  },
  "a tool and its result": async (target) => {
    const message = await messages().create(ask(target, { tools: [TOOL], tool_choice: { type: "any" } }));
    const call = message.content.find((block) => block.type === "tool_use");
    assert.deepEqual([message.stop_reason, call.input], ["tool_use", ARGUMENTS]);
    const result = { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: RESULT }] };
    const turns = [...TURNS, { role: "assistant", content: message.content }, result];
    assert.equal((await messages().create(ask(target, { messages: turns, tools: [TOOL] }))).content[0].text, TEXT);
  },
  "a streamed tool call": async (target) => {
    const final = await messages().stream(ask(target, { tools: [TOOL] })).finalMessage();
    assert.deepEqual(final.content.at(-1).input, ARGUMENTS);
  },
  "counting tokens": async (target) => {
    assert.ok((await messages().countTokens({ model: target, messages: TURNS })).input_tokens > 0);
  },
  "what the target refuses": async (target) => {
    await assert.rejects(messages().create(ask(`${target}-refuses`)), (error) => error instanceof Anthropic.BadRequestError && REASON.test(error.message));
  },
  "a busy target": async (target) => {
    await assert.rejects(messages().create(ask(`${target}-busy`)), Anthropic.RateLimitError);
  },
  "a target that fails": async (target) => {
    await assert.rejects(messages().create(ask(`${target}-ill`)), Anthropic.InternalServerError);
  },
  "a stream that is cut": async (target) => {
    const words = [];
    await assert.rejects(messages().stream(ask(`${target}-cut`)).on("text", (word) => words.push(word)).finalMessage(), Anthropic.AnthropicError);
    assert.deepEqual(words, WORDS.slice(0, CUT_AFTER));
  },
});
