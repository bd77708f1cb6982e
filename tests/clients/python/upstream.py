"""A small OpenAI-style upstream whose every answer a test can choose.

One server plays many providers: the first part of the path is the provider's name, so `/first/v1/chat/completions` is asked of
"first". What a provider does is a list of acts; each call takes the next one and the last one stays. An act writes the raw
answer, so that the faults are exact bytes and not somebody's library's idea of them.
"""

import json
import os
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = "The curtain rises at eight and the stage door stays open for everyone who knocks – even the naïve 🎭 ones."
WORDS = [word + " " for word in TEXT.split(" ")[:-1]] + [TEXT.split(" ")[-1]]
USAGE = {"prompt_tokens": 7, "completion_tokens": len(WORDS), "total_tokens": 7 + len(WORDS)}
TOOL_ARGUMENTS = '{"city":"Wien","unit":"celsius"}'
STRUCTURED = '{"title":"Faust","seats":312}'


class Upstream:
    """The server, what each provider plays, and what each was sent."""

    def __init__(self):
        self.acts, self.calls, self.lock = {}, {}, threading.Lock()
        self.server = Server(("127.0.0.1", 0), type("Bound", (Stage,), {"upstream": self}))
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, provider):
        return f"http://127.0.0.1:{self.server.server_port}/{provider}/v1"

    def plays(self, provider, *acts):
        self.acts[provider] = list(acts)

    def count(self, provider):
        return len(self.calls.get(provider, []))

    def take(self, provider, call):
        with self.lock:
            self.calls.setdefault(provider, []).append(call)
            acts = self.acts.get(provider) or [healthy]
            return acts.pop(0) if len(acts) > 1 else acts[0]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Server(ThreadingHTTPServer):
    """Room for many callers at once: the default of five lets connections wait a second for their repeated SYN."""

    request_queue_size = 256
    daemon_threads = True


class Stage(BaseHTTPRequestHandler):
    """One connection to the upstream."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    upstream: Upstream

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        provider = self.path.split("/")[1]
        try:
            self.upstream.take(provider, {"body": body, "headers": dict(self.headers), "path": self.path})(self, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *_):
        pass

    def whole(self, status, body, kind="application/json", headers=()):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def begin_stream(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def event(self, data, number=None):
        text = data if isinstance(data, str) else json.dumps(data)
        piece = (f"data: {text}\n\n" if number is None else f"id: {number}\ndata: {text}\n\n").encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def named_event(self, data):
        piece = f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def end_stream(self):
        self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")


def healthy(stage, body):
    """The answer that the request asks for: words, tool calls or structured output, streamed or whole."""
    message, finish = said(body)
    if not body.get("stream"):
        answer = shell(body, "chat.completion", [{"index": 0, "message": message, "finish_reason": finish}]) | {"usage": USAGE}
        return stage.whole(200, json.dumps(answer).encode())
    stage.begin_stream()
    for delta in deltas(message):
        stage.event(chunk(body, delta))
    stage.event(chunk(body, {}, finish))
    if (body.get("stream_options") or {}).get("include_usage"):
        stage.event(shell(body, "chat.completion.chunk", []) | {"usage": USAGE})
    stage.end_stream()


def claude(stage, body):
    """The same in Anthropic's dialect: words, a tool's call or structured output, streamed or whole."""
    results = [block for block in body["messages"][-1]["content"] if isinstance(block, dict) and block["type"] == "tool_result"]
    structured = (body.get("output_config") or {}).get("format")
    if body.get("tools") and not results:
        given = arguments_for(body["tools"][0])
        block = {"type": "tool_use", "id": "toolu_1", "name": body["tools"][0]["name"], "input": json.loads(given)}
        pieces = [{"type": "input_json_delta", "partial_json": given[i : i + 5]} for i in range(0, len(given), 5) if given != "{}"]
        empty, reason = block | {"input": {}}, "tool_use"
    else:
        block = {"type": "text", "text": STRUCTURED if structured else TEXT}
        pieces = [{"type": "text_delta", "text": word} for word in ([STRUCTURED] if structured else WORDS)]
        empty, reason = {"type": "text", "text": ""}, "end_turn"
    usage = {"input_tokens": 7, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": len(WORDS)}
    message = {"id": "msg_test", "type": "message", "role": "assistant", "model": body["model"], "content": [block]}
    message |= {"stop_reason": reason, "stop_sequence": None, "usage": usage}
    if not body.get("stream"):
        return stage.whole(200, json.dumps(message).encode())
    stage.begin_stream()
    begun = message | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    stage.named_event({"type": "message_start", "message": begun})
    stage.named_event({"type": "content_block_start", "index": 0, "content_block": empty})
    stage.named_event({"type": "ping"})
    for piece in pieces:
        stage.named_event({"type": "content_block_delta", "index": 0, "delta": piece})
    stage.named_event({"type": "content_block_stop", "index": 0})
    delta = {"stop_reason": reason, "stop_sequence": None}
    stage.named_event({"type": "message_delta", "delta": delta, "usage": usage})
    stage.named_event({"type": "message_stop"})
    stage.wfile.write(b"0\r\n\r\n")


def refuses(status, message="no", code=None, kind="server_error", **headers):
    """An error of the vendor's, in OpenAI's shape; `retry_after="1"` becomes the header retry-after."""

    def act(stage, _):
        error = {"error": {"message": message, "type": kind, "param": None, "code": code}}
        stage.whole(status, json.dumps(error).encode(), headers=[(k.replace("_", "-"), v) for k, v in headers.items()])

    return act


def cut_after(events, how):
    """A stream that dies after so many words: `fin` closes without the last chunk, `rst` resets the connection."""

    def act(stage, body):
        stage.begin_stream()
        stage.event(chunk(body, {"role": "assistant", "content": ""}))
        for word in WORDS[:events]:
            stage.event(chunk(body, {"content": word}))
        time.sleep(0.2)  # a reset throws away what its receiver hasn't read yet
        stage.close_connection = True
        if how == "fin":
            return stage.connection.shutdown(socket.SHUT_RDWR)
        stage.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(stage.connection.detach())

    return act


def dies(words, death):
    """A stream of so many words by "chatcmpl-first" that then dies."""

    def act(stage, body):
        stage.begin_stream()
        stage.event(by("first", chunk(body, {"role": "assistant", "content": ""})))
        for word in WORDS[:words]:
            stage.event(by("first", chunk(body, {"content": word})))
        death(stage)

    return act


def resets(stage):
    time.sleep(0.05)  # a reset throws away what its receiver hasn't read yet
    stage.close_connection = True
    stage.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(stage.connection.detach())


def closes(stage):
    stage.close_connection = True
    stage.connection.shutdown(socket.SHUT_RDWR)


def stalls(stage):
    stage.close_connection = True
    stage.connection.recv(1)  # until the other side has had enough


def tells_an_error(stage):
    stage.event({"error": {"message": "internal", "type": "server_error", "code": None}})
    stage.wfile.write(b"0\r\n\r\n")


DEATHS = {
    "reset": resets,
    "fin": closes,
    "clean end": lambda stage: stage.wfile.write(b"0\r\n\r\n"),
    "stall": stalls,
    "error event": tells_an_error,
}


def goes_on(way):
    """Goes on with a half-said answer, as "chatcmpl-second", where it is asked in this way; refuses every other."""

    def act(stage, body):
        begun = said_before(body, way)
        if begun is None or not TEXT.startswith(begun):
            return refuses(400, "no", kind="invalid_request_error")(stage, body)
        stage.begin_stream()
        stage.event(by("second", chunk(body, {"role": "assistant", "content": ""})))
        for piece in TEXT[len(begun) :].split(" "):
            stage.event(by("second", chunk(body, {"content": piece + " "})))
        stage.event(by("second", chunk(body, {}, "stop")))
        stage.end_stream()

    return act


def said_before(body, way):
    """What the request brings along to be gone on with; None where it asks in another way."""
    *_, last = body["messages"]
    if len(body["messages"]) == 1:
        return ""
    shown = {"continue_final_message": True, "add_generation_prompt": False}
    marks = {"prefix": last.get("prefix") is True, "vllm": shown.items() <= body.items()}
    if way == "quote" and last["role"] == "user":
        return last["content"].split("<<<BEGIN>>>")[1].split("<<<END>>>")[0]
    asked = last["role"] == "assistant" and marks == {name: name == way for name in marks}
    return last["content"] if asked and way in ("prefill", *marks) else None


def by(speaker, event):
    return event | {"id": f"chatcmpl-{speaker}", "model": speaker}


def silent(seconds):
    """Takes the request and says nothing."""

    def act(stage, _):
        time.sleep(seconds)
        stage.close_connection = True

    return act


def says(kind, body):
    """A 200 with any bytes at all."""
    return lambda stage, _: stage.whole(200, body, kind)


def said(body):
    """The message and the finish reason for a request."""
    wants_tool = body.get("tools") and body["messages"][-1]["role"] != "tool"
    if wants_tool:
        function = {"name": body["tools"][0]["function"]["name"], "arguments": arguments_for(body["tools"][0])}
        call = {"id": "call_1", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
    structured = (body.get("response_format") or {}).get("type") == "json_schema"
    return {"role": "assistant", "content": STRUCTURED if structured else TEXT, "refusal": None}, "stop"


def arguments_for(tool):
    """What a tool is called with: those whose schema is the structured answer's get that, those without parameters none."""
    schema = json.dumps(tool)
    return STRUCTURED if '"seats"' in schema else TOOL_ARGUMENTS if '"city"' in schema or "weather" in schema else "{}"


def deltas(message):
    """The message as a stream tells it: the role first, then the pieces."""
    if not message.get("tool_calls"):
        yield {"role": "assistant", "content": ""}
        pieces = WORDS if message["content"] == TEXT else [message["content"][i : i + 4] for i in range(0, len(message["content"]), 4)]
        yield from ({"content": piece} for piece in pieces)
        return
    call = message["tool_calls"][0]
    yield {"role": "assistant", "content": None}
    yield {"tool_calls": [{"index": 0} | call | {"function": call["function"] | {"arguments": ""}}]}
    arguments = call["function"]["arguments"]
    for start in range(0, len(arguments), 5):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": arguments[start : start + 5]}}]}


def chunk(body, delta, finish=None):
    return shell(body, "chat.completion.chunk", [{"index": 0, "delta": delta, "finish_reason": finish}])


def shell(body, kind, choices):
    return {"id": "chatcmpl-test", "object": kind, "created": 1_700_000_000, "model": body["model"], "choices": choices}
