// A small OpenAI-style upstream whose every answer a test can choose; the Python suite's, in short.
//
// One server plays many providers: the first part of the path is the provider's name. What a provider does is a list of
// acts; each call takes the next one and the last one stays.

import http from "node:http";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

export const TEXT = "The curtain rises at eight and the stage door stays open for everyone who knocks – even the naïve 🎭 ones.";
export const WORDS = TEXT.split(/(?<= )/);
export const USAGE = { prompt_tokens: 7, completion_tokens: WORDS.length, total_tokens: 7 + WORDS.length };
export const TOOL_ARGUMENTS = '{"city":"Wien","unit":"celsius"}';
export const STRUCTURED = '{"title":"Faust","seats":312}';

export async function openUpstream() {
  const acts = new Map();
  const calls = new Map();
  const server = http.createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const body = JSON.parse(Buffer.concat(pieces));
    const provider = request.url.split("/")[1];
    calls.set(provider, [...(calls.get(provider) ?? []), { body, headers: request.headers, closed: once(response, "close") }]);
    const list = acts.get(provider) ?? [healthy];
    await (list.length > 1 ? list.shift() : list[0])(response, body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: (provider) => `http://127.0.0.1:${server.address().port}/${provider}/v1`,
    plays: (provider, ...list) => acts.set(provider, list),
    calls: (provider) => calls.get(provider) ?? [],
    close: () => (server.closeAllConnections(), server.close()),
  };
}

/** The answer that the request asks for: words, a tool call or structured output, streamed or whole. */
export function healthy(response, body) {
  const call = body.tools && body.messages.at(-1).role !== "tool" && toolCall(body.tools[0].function.name);
  const content = body.response_format?.type === "json_schema" ? STRUCTURED : TEXT;
  const message = call ? { role: "assistant", content: null, tool_calls: [call] } : { role: "assistant", content, refusal: null };
  const finish_reason = call ? "tool_calls" : "stop";
  if (!body.stream) {
    return whole(response, 200, { ...shell(body, "chat.completion"), choices: [{ index: 0, message, finish_reason }], usage: USAGE });
  }
  beginStream(response);
  for (const delta of call ? callDeltas(call) : wordDeltas(content)) event(response, chunk(body, delta));
  event(response, chunk(body, {}, finish_reason));
  if (body.stream_options?.include_usage) event(response, { ...shell(body, "chat.completion.chunk"), choices: [], usage: USAGE });
  response.end("data: [DONE]\n\n");
}

/** An error of the vendor's, in OpenAI's shape. */
export const refuses = (status, { message = "no", type = "server_error", code = null, ...headers } = {}) => (response) =>
  whole(response, status, { error: { message, type, param: null, code } }, headers);

/** A stream whose connection dies after so many words. */
export const cutAfter = (count) => async (response, body) => {
  beginStream(response);
  for (const word of WORDS.slice(0, count)) event(response, chunk(body, { role: "assistant", content: word }));
  await sleep(200); // what was sent must have been read before the reset
  response.socket.resetAndDestroy();
};

/** A stream that says a few words and then goes on for ever without any. */
export const pausesAfter = (count) => (response, body) => {
  beginStream(response);
  for (const word of WORDS.slice(0, count)) event(response, chunk(body, { role: "assistant", content: word }));
};

function whole(response, status, body, headers = {}) {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
}

const beginStream = (response) => response.writeHead(200, { "content-type": "text/event-stream" });
const event = (response, data) => response.write(`data: ${JSON.stringify(data)}\n\n`);
const shell = (body, object) => ({ id: "chatcmpl-test", object, created: 1_700_000_000, model: body.model });
const chunk = (body, delta, finish_reason = null) => ({ ...shell(body, "chat.completion.chunk"), choices: [{ index: 0, delta, finish_reason }] });
const toolCall = (name) => ({ id: "call_1", type: "function", function: { name, arguments: TOOL_ARGUMENTS } });
const wordDeltas = (content) => [{ role: "assistant", content: "" }, ...content.split(/(?<= )/).map((word) => ({ content: word }))];
const callDeltas = (call) => [
  { role: "assistant", content: null },
  { tool_calls: [{ index: 0, ...call, function: { ...call.function, arguments: "" } }] },
  ...call.function.arguments.match(/.{1,5}/g).map((piece) => ({ tool_calls: [{ index: 0, function: { arguments: piece } }] })),
];
