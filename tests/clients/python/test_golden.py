"""The golden fixtures of tests/golden, held to the vendors' own SDKs, whose types are made from the vendors' own descriptions: what a
fixture says that a dialect says, its SDK knows, field for field; and so it does what the gateway makes of it."""

import collections.abc
import enum
import json
import pathlib
import re
import types as builtin
import typing

import anthropic.types
import openai.types.chat
import openai.types.responses
import pydantic
import pytest
import typing_extensions
from anthropic.types.message_create_params import MessageCreateParams as MessagesRequest
from google.genai import types as genai
from openai.types.chat.completion_create_params import CompletionCreateParams as ChatRequest
from openai.types.responses.response_create_params import ResponseCreateParams as ResponsesRequest

GOLDEN = pathlib.Path(__file__).resolve().parents[3] / "tests/golden"


class GenerateRequest(typing_extensions.TypedDict, total=False):
    """generateContent's body, whose parts the SDK knows but not the whole: it writes it from settings of its own."""

    model: str
    contents: typing_extensions.Required[list[genai.Content]]
    systemInstruction: genai.Content
    tools: list[genai.Tool]
    toolConfig: genai.ToolConfig
    safetySettings: list[genai.SafetySetting]
    generationConfig: genai.GenerationConfig
    cachedContent: str


REQUESTS = {"openai": ChatRequest, "anthropic": MessagesRequest, "gemini": GenerateRequest, "responses": ResponsesRequest}
ANSWERS = {
    "openai": openai.types.chat.ChatCompletion,
    "anthropic": anthropic.types.Message,
    "gemini": genai.GenerateContentResponse,
    "responses": openai.types.responses.Response,
}
EVENTS = {
    "openai": openai.types.chat.ChatCompletionChunk,
    "anthropic": anthropic.types.RawMessageStreamEvent,
    "gemini": genai.GenerateContentResponse,
    "responses": openai.types.responses.ResponseStreamEvent,
}

# What is said all the same: what the SDKs' types lack of their own vendors' pages, and what others add to OpenAI's words. Each with who
# says so.
KNOWN = {
    r"\.(temperature|top_p|top_k) isn't known": "Anthropic's version 2023-06-01, by which it is asked; 2026-10-21 has none of them",
    r"\.store isn't known": "OpenAI's examples of a response",
    r"\.name isn't known$": "OpenAI's description of response.function_call_arguments.done until autumn 2026",
    r"\.(reasoning_content|thinking_blocks) isn't known": "DeepSeek; LiteLLM",
    r"\.stop_reason isn't known": "vLLM",
    r"(prompt_filter_results|content_filter_results) isn't known": "Azure",
    r"\.object is '', none of": "Azure's first event, which tells of the prompt alone",
    r"\.cache_control isn't known": "OpenRouter",
    r"\.(guided_json|new_thing) isn't known": "a field that nobody knows",
}


def complaints(value, hint, at=""):
    return [line for line in wrong(value, hint, at) if not any(re.search(known, line) for known in KNOWN)]


def in_camel(value):
    """Google's pages write a request's names either way, and its API takes both."""
    if isinstance(value, list):
        return [in_camel(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {re.sub("_([a-z])", lambda found: found[1].upper(), name): in_camel(inner) if name not in ("args", "response") else inner for name, inner in value.items()}


def wrong(value, hint, at=""):
    """Where a value isn't what a type of an SDK's says, which may be a TypedDict, a model, or what stands in one."""
    origin, inner = typing_extensions.get_origin(hint), typing_extensions.get_args(hint)
    if origin in (typing.Annotated, typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly):
        return wrong(value, inner[0], at)
    if origin in (typing.Union, builtin.UnionType):
        return least(value, inner, at)
    if origin is typing.Literal:
        return [] if any(value == known and type(value) is type(known) for known in inner) else [f"{at} is {value!r}, none of {inner}"]
    if isinstance(hint, typing.TypeVar) or hint in (typing.Any, object):
        return []
    if typing_extensions.is_typeddict(hint):
        required = {name for name in hint.__required_keys__}
        return members(value, typing_extensions.get_type_hints(hint, include_extras=False), required, at)
    if isinstance(hint, type) and issubclass(hint, pydantic.BaseModel):
        fields = {field.alias or name: field for name, field in hint.model_fields.items()}
        required = {name for name, field in fields.items() if field.is_required()}
        return members(value, {name: field.annotation for name, field in fields.items()}, required, at)
    if origin in (list, collections.abc.Iterable, collections.abc.Sequence):
        if not isinstance(value, list):
            return [f"{at} is no list"]
        return [complaint for place, item in enumerate(value) for complaint in wrong(item, inner[0], f"{at}[{place}]")]
    if origin in (dict, collections.abc.Mapping) or hint is dict:
        return [] if isinstance(value, dict) else [f"{at} is no object"]
    return scalar(value, hint, at)


def scalar(value, hint, at):
    if hint in (None, type(None)):
        good = value is None
    elif hint is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif hint in (int, bool, str):
        good = type(value) is hint
    elif hint is bytes:
        good = isinstance(value, str)
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        good = any(value == known.value for known in hint)
    else:
        good = False  # A file, a picture: nothing that JSON has.
    return [] if good else [f"{at} is {value!r}, no {hint}"]


def least(value, hints, at):
    """What is wrong by the one of several types that fits best: of the same kind, and by the name in its `type` where it has one."""

    def unlike(lines):
        return any(line.startswith((f"{at} is ", f"{at}.type ", f"{at}.role ")) for line in lines), len(lines)

    return min((wrong(value, hint, at) for hint in hints), key=unlike)


def members(value, hints, required, at):
    if not isinstance(value, dict):
        return [f"{at} is {value!r}, no object"]
    complaints = [f"{at}.{name} is missing" for name in sorted(required - value.keys())]
    for name, inner in value.items():
        complaints += wrong(inner, hints[name], f"{at}.{name}") if name in hints else [f"{at}.{name} isn't known"]
    return complaints


def dialects(folder):
    """What a folder's fixtures are read as, and what they become: `to_gemini`'s are OpenAI's."""
    read, _, written = folder.partition("to_")
    plain = {"": "openai", "azure": "openai"}
    read = read.rstrip("_")
    return plain.get(read, read), written or {"openai": "anthropic", "azure": "anthropic"}.get(folder, "openai")


def fixtures(what):
    for file in sorted(GOLDEN.glob("*/*.json")):
        fixture = json.loads(file.read_text())
        if fixture["what"] == what:
            yield pytest.param(fixture, *dialects(file.parent.name), id=f"{file.parent.name}/{file.stem}")


@pytest.mark.parametrize(("fixture", "read", "written"), fixtures("request"))
def test_a_request_is_one_of_its_dialect(fixture, read, written):
    asked = in_camel(fixture["in"]) if read == "gemini" else fixture["in"]
    assert complaints(asked, REQUESTS[read]) == []
    if "out" in fixture:
        assert complaints(fixture["out"], REQUESTS[written]) == []


@pytest.mark.parametrize(("fixture", "read", "written"), fixtures("answer"))
def test_an_answer_is_one_of_its_dialect(fixture, read, written):
    assert complaints(fixture["in"], ANSWERS[read]) == []
    assert complaints(fixture["out"], ANSWERS[written]) == []


@pytest.mark.parametrize(("fixture", "read", "written"), fixtures("stream"))
def test_a_streams_events_are_its_dialects(fixture, read, written):
    for dialect, events in ((read, fixture["in"]), (written, fixture["out"])):
        for number, event in enumerate(events):
            if not is_beside(event):
                assert complaints(event, EVENTS[dialect], str(number)) == []


def is_beside(event):
    """Whether an event is none of an answer's: OpenAI's last, a comment, a sign of life, an error, and a kind that is yet to come."""
    return isinstance(event, str) or "error" in event or event.get("type") in ("ping", "error", "something_new")
