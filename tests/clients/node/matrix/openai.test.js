// OpenAI's SDK for Node before a target of each kind.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { TEXT, USAGE, WORDS } from "../upstream.js";
import { ARGUMENTS, CUT_AFTER, onEveryTarget, openStage, PLAY, QUESTION, REASON, RESULT } from "./stage.js";

const stage = openStage();
const TOOL = zodFunction({ name: "weather", parameters: z.object({ city: z.string(), unit: z.string() }) });
const FORMAT = zodResponseFormat(z.object({ title: z.string(), seats: z.number() }), "play");

const client = () => new OpenAI({ baseURL: `${stage.url}/v1`, apiKey: stage.key, timeout: 20_000, maxRetries: 0 });
const chat = () => client().chat.completions;
const ask = (model, more = {}) => ({ model, messages: [{ role: "user", content: QUESTION }], ...more });

onEveryTarget({ client: "openai (Node)", npm: "openai" }, {
  "a whole answer": async (target) => {
    const answer = await chat().create(ask(target));
    assert.equal(answer.choices[0].message.content, TEXT);
    assert.equal(answer.usage.total_tokens, USAGE.total_tokens);
  },
  "a stream": async (target) => {
    const chunks = [];
    for await (const chunk of await chat().create(ask(target, { stream: true, stream_options: { include_usage: true } }))) chunks.push(chunk);
    assert.deepEqual(chunks.map((chunk) => chunk.choices[0]?.delta.content).filter(Boolean), WORDS);
    assert.equal(chunks.at(-1).usage.total_tokens, USAGE.total_tokens);
  },
  "a tool and its result": async (target) => {
    const seen = [];
    const tool = { type: "function", function: { ...TOOL.function, parse: JSON.parse, function: (given) => (seen.push(given), RESULT) } };
    assert.equal(await chat().runTools(ask(target, { tools: [tool] })).finalContent(), TEXT);
    assert.deepEqual(seen, [ARGUMENTS]);
  },
  "a streamed tool call": async (target) => {
    const final = await chat().stream(ask(target, { tools: [TOOL], tool_choice: "required" })).finalChatCompletion();
    assert.deepEqual(final.choices[0].message.tool_calls[0].function.parsed_arguments, ARGUMENTS);
  },
  "structured output": async (target) => {
    assert.deepEqual((await chat().parse(ask(target, { response_format: FORMAT }))).choices[0].message.parsed, PLAY);
    const final = await chat().stream(ask(target, { response_format: FORMAT })).finalChatCompletion();
    assert.deepEqual(final.choices[0].message.parsed, PLAY);
  },
  "what the target refuses": async (target) => {
    await assert.rejects(chat().create(ask(`${target}-refuses`)), (error) => error instanceof OpenAI.BadRequestError && REASON.test(error.message));
  },
  "a busy target": async (target) => {
    await assert.rejects(chat().create(ask(`${target}-busy`)), OpenAI.RateLimitError);
  },
  "a target that fails": async (target) => {
    await assert.rejects(chat().create(ask(`${target}-ill`)), OpenAI.InternalServerError);
  },
  "a stream that is cut": async (target) => {
    const words = [];
    await assert.rejects(async () => {
      for await (const chunk of await chat().create(ask(`${target}-cut`, { stream: true }))) {
        if (chunk.choices[0]?.delta.content) words.push(chunk.choices[0].delta.content);
      }
    }, OpenAI.APIError);
    assert.deepEqual(words, WORDS.slice(0, CUT_AFTER));
  },
});
