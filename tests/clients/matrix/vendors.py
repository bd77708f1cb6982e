"""What each vendor's own API answers, as the simulated upstreams play it: the same words, tool call and structured answer in each
dialect, its refusals, its busy signal, its failure, and a stream that is cut.

Written from the vendors' documentation (Anthropic: "Messages" and "Streaming messages"; Google: "generateContent" and
"streamGenerateContent"); OpenAI's and Azure's are the suite's own upstream.
"""

import json

from upstream import STRUCTURED, TEXT, WORDS, arguments_for, chunk, claude, closes, healthy, refuses

CUT_AFTER = 5
REASON = "temperature: at most 2"
EMBEDDING = [0.25, -0.5, 0.125]


def openai(stage, body):
    """OpenAI's own: chats, and embeddings as numbers or in base64."""
    if not stage.path.partition("?")[0].endswith("/embeddings"):
        return healthy(stage, body)
    rows = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [{"object": "embedding", "index": i, "embedding": EMBEDDING} for i, _ in enumerate(rows)]
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    stage.whole(200, json.dumps({"object": "list", "data": data, "model": body["model"], "usage": usage}).encode())


def anthropic(stage, body):
    """Anthropic's own: messages and the counting of tokens."""
    if stage.path.endswith("/count_tokens"):
        return stage.whole(200, b'{"input_tokens":7}')
    claude(stage, body)


def gemini(stage, body):
    """Google's own: words, a function's call or structured output, in one piece or as events."""
    parts = spoken(body)
    if stage.path.split("?")[0].endswith(":countTokens"):
        return stage.whole(200, b'{"totalTokens":7}')
    if ":streamGenerateContent" not in stage.path:
        return stage.whole(200, json.dumps(generated(parts, "STOP")).encode())
    assert "alt=sse" in stage.path
    stage.begin_stream()
    *_, last = parts
    for word in WORDS if last.get("text") == TEXT else []:
        google_event(stage, generated([{"text": word}]))
    google_event(stage, generated([{"text": ""}] if last.get("text") == TEXT else parts, "STOP"))
    stage.wfile.write(b"0\r\n\r\n")


def spoken(body):
    """What Gemini says to a request, as parts."""
    answered = any("functionResponse" in part for part in body["contents"][-1]["parts"])
    tools = [tool for group in body.get("tools", []) for tool in group.get("functionDeclarations", [])]
    if tools and not answered:
        return [{"functionCall": {"name": tools[0]["name"], "args": json.loads(arguments_for(tools[0]))}, "thoughtSignature": "c2lnbmVk"}]
    config = body.get("generationConfig", {})
    structured = config.get("responseJsonSchema") or config.get("responseSchema")
    return [{"text": STRUCTURED if structured else TEXT}]


def generated(parts, reason=None):
    candidate = {"content": {"parts": parts, "role": "model"}, "index": 0} | ({"finishReason": reason} if reason else {})
    count = len(WORDS) if reason else 1
    usage = {"promptTokenCount": 7, "candidatesTokenCount": count, "totalTokenCount": 7 + count}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-3.5-flash", "responseId": "resp-test"}


def google_event(stage, data):
    piece = f"data: {json.dumps(data)}\r\n\r\n".encode()
    stage.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))


def error(status, body, **headers):
    """An error with this very body."""
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return lambda stage, _: stage.whole(status, json.dumps(body).encode(), headers=named)


def anthropic_error(status, kind, message, **headers):
    return error(status, {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_test"}, **headers)


def google_error(status, kind, message, **headers):
    return error(status, {"error": {"code": status, "message": message, "status": kind}}, **headers)


def openai_cut(stage, body):
    stage.begin_stream()
    stage.event(chunk(body, {"role": "assistant", "content": ""}))
    for word in WORDS[:CUT_AFTER]:
        stage.event(chunk(body, {"content": word}))
    closes(stage)


def anthropic_cut(stage, body):
    stage.begin_stream()
    usage = {"input_tokens": 7, "output_tokens": 1}
    begun = {"id": "msg_test", "type": "message", "role": "assistant", "model": body["model"], "content": [], "usage": usage}
    stage.named_event({"type": "message_start", "message": begun | {"stop_reason": None, "stop_sequence": None}})
    stage.named_event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    for word in WORDS[:CUT_AFTER]:
        stage.named_event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
    closes(stage)


def gemini_cut(stage, _):
    stage.begin_stream()
    for word in WORDS[:CUT_AFTER]:
        google_event(stage, generated([{"text": word}]))
    closes(stage)


BUSY = {"retry_after": "30"}
OPENAI = {
    "": openai,
    "refuses": refuses(400, REASON, code="invalid_value", kind="invalid_request_error"),
    "busy": refuses(429, "slow down", code="rate_limit_exceeded", kind="rate_limit_error", **BUSY),
    "ill": refuses(500, "secret-internal-text"),
    "cut": openai_cut,
}

# What a target of each kind plays, by the ending of its model's name.
ACTS = {
    "openai": OPENAI,
    "azure": OPENAI | {"refuses": error(400, {"error": {"code": "invalid_value", "message": REASON, "type": "invalid_request_error", "param": None}})},
    "anthropic": {
        "": anthropic,
        "refuses": anthropic_error(400, "invalid_request_error", REASON),
        "busy": anthropic_error(429, "rate_limit_error", "slow down", **BUSY),
        "ill": anthropic_error(529, "overloaded_error", "secret-internal-text"),
        "cut": anthropic_cut,
    },
    "gemini": {
        "": gemini,
        "refuses": google_error(400, "INVALID_ARGUMENT", REASON),
        "busy": google_error(429, "RESOURCE_EXHAUSTED", "slow down", **BUSY),
        "ill": google_error(503, "UNAVAILABLE", "secret-internal-text"),
        "cut": gemini_cut,
    },
}
