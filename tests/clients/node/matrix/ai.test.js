// Vercel's AI SDK before a target of each kind, by its OpenAI, its Anthropic and its Google package.

import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { TEXT } from "../upstream.js";
import { ARGUMENTS, onEveryTarget, openStage, PLAY, QUESTION, REASON, RESULT } from "./stage.js";

const stage = openStage();
const openai = () => createOpenAI({ baseURL: `${stage.url}/v1`, apiKey: stage.key });
const CLIENTS = [
  { npm: "@ai-sdk/openai", client: "AI SDK, @ai-sdk/openai (chat)", model: (name) => openai().chat(name) },
  // What it asks by default: Responses. Azure's target has Responses of its own, which pass as they are.
  { npm: "@ai-sdk/openai", client: "AI SDK, @ai-sdk/openai", model: (name) => openai()(name), kinds: ["openai", "anthropic", "gemini"], providerOptions: { openai: { store: false } } },
  { npm: "@ai-sdk/anthropic", model: (name) => createAnthropic({ baseURL: `${stage.url}/v1`, apiKey: stage.key })(name) },
  { npm: "@ai-sdk/google", model: (name) => createGoogleGenerativeAI({ baseURL: `${stage.url}/v1beta`, apiKey: stage.key })(name) },
];

for (const { npm, client = `AI SDK, ${npm}`, model, kinds, providerOptions } of CLIENTS) {
  const ask = (name, more = {}) => ({ model: model(name), prompt: QUESTION, maxRetries: 0, providerOptions, ...more });
  const weather = (seen) => tool({ description: "Tells the weather.", inputSchema: z.object({ city: z.string(), unit: z.string() }), execute: (given) => (seen.push(given), RESULT) });

  onEveryTarget({ client, npm, kinds }, {
    "a whole answer": async (target) => {
      const answer = await generateText(ask(target, { system: "Be brief." }));
      assert.deepEqual([answer.text, answer.finishReason, answer.usage.inputTokens], [TEXT, "stop", 7]);
    },
    "a stream": async (target) => {
      const stream = streamText(ask(target));
      let text = "";
      for await (const piece of stream.textStream) text += piece;
      assert.deepEqual([text, await stream.finishReason, (await stream.usage).inputTokens], [TEXT, "stop", 7]);
    },
    "a tool and its result": async (target) => {
      const seen = [];
      const answer = await generateText(ask(target, { tools: { weather: weather(seen) }, stopWhen: stepCountIs(3) }));
      assert.deepEqual([answer.text, seen], [TEXT, [ARGUMENTS]]);
    },
    "a streamed tool call": async (target) => {
      const seen = [];
      const stream = streamText(ask(target, { tools: { weather: weather(seen) }, stopWhen: stepCountIs(3) }));
      assert.equal(await stream.text, TEXT);
      assert.deepEqual(seen, [ARGUMENTS]);
    },
    "structured output": async (target) => {
      const output = Output.object({ schema: z.object({ title: z.string(), seats: z.number() }) });
      assert.deepEqual((await generateText(ask(target, { output }))).output, PLAY);
    },
    "what the target refuses": async (target) => {
      const refused = (error) => APICallError.isInstance(error) && error.statusCode === 400 && REASON.test(error.message);
      await assert.rejects(generateText(ask(`${target}-refuses`)), refused);
    },
    "a stream that is cut": async (target) => {
      const kinds = [];
      for await (const part of streamText(ask(`${target}-cut`, { onError: () => {} })).fullStream) kinds.push(part.type);
      assert.ok(kinds.includes("text-delta") && kinds.includes("error"), String(kinds));
    },
  });
}
