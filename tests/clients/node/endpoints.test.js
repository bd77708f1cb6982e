// The endpoints beside chat, as OpenAI's SDK for Node asks them of a gateway that rehearses.

import assert from "node:assert/strict";
import test from "node:test";
import { toFile } from "openai";
import { openRehearsal } from "./gateway.js";

const MODEL = "gpt-4o";

const rehearsed = async (t) => (await openRehearsal(t)).client({ apiKey: "anything" });

test("embeddings come as numbers, by base64 unasked", async (t) => {
  const client = await rehearsed(t);
  const answer = await client.embeddings.create({ model: MODEL, input: ["the cat sat", "the cat sat", "prices rose"], dimensions: 8 });
  const [first, same, other] = answer.data.map((row) => row.embedding);
  assert.equal(first.length, 8);
  assert.deepEqual(first, same);
  assert.notDeepEqual(first, other);
  const floats = await client.embeddings.create({ model: MODEL, input: "the cat sat", dimensions: 8, encoding_format: "float" });
  assert.ok(floats.data[0].embedding.every((number, at) => Math.abs(number - first[at]) < 1e-6));
});

test("completions, whole and streamed", async (t) => {
  const client = await rehearsed(t);
  const ask = { model: MODEL, prompt: "Once upon", max_tokens: 4 };
  assert.equal((await client.completions.create(ask)).choices[0].text, "This is a rehearsal:");
  let text = "";
  for await (const chunk of await client.completions.create({ ...ask, stream: true })) text += chunk.choices[0].text;
  assert.equal(text, "This is a rehearsal:");
});

test("moderations and pictures", async (t) => {
  const client = await rehearsed(t);
  const { results } = await client.moderations.create({ model: MODEL, input: ["a flower", "sheer violence"] });
  assert.deepEqual(results.map((result) => result.flagged), [false, true]);
  const pictures = await client.images.generate({ model: MODEL, prompt: "a cat", n: 2 });
  assert.equal(pictures.data.length, 2);
});

test("speech and transcriptions", async (t) => {
  const client = await rehearsed(t);
  const spoken = await client.audio.speech.create({ model: MODEL, voice: "alloy", input: "Two words", response_format: "wav" });
  const sound = Buffer.from(await spoken.arrayBuffer());
  assert.equal(sound.subarray(0, 4).toString(), "RIFF");
  const heard = await client.audio.transcriptions.create({ model: MODEL, file: await toFile(sound, "a.wav") });
  assert.ok(heard.text.includes(`${sound.length} bytes`), heard.text);
  const text = await client.audio.transcriptions.create({ model: MODEL, file: await toFile(sound, "a.wav"), response_format: "text" });
  assert.match(text, /heard/);
});
