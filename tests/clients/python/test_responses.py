"""OpenAI's Responses, by its SDK, over targets that speak something else: whole, streamed, with tools, parsed; and what comes back held
to the SDK's own models, strictly."""

import json

import openai
import pytest
from openai.lib._parsing._responses import type_to_text_format_param
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter
from upstream import TEXT, TOOL_ARGUMENTS, WORDS, claude, cut_after

ASK = {"model": "chat", "input": "When does it begin?", "instructions": "Be brief."}
EITHER = pytest.mark.parametrize("target", ["first", "claude"])
EVENTS = TypeAdapter(ResponseStreamEvent)


class Play(BaseModel):
    title: str
    seats: int


WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "unit": {"type": "string"}}, "required": ["city", "unit"], "additionalProperties": False},
    "strict": True,
}


@pytest.fixture
def door(open_door, upstream):
    """A gateway in front of a provider, "claude" being one of Anthropic's dialect."""
    upstream.plays("claude", claude)
    return open_door


def strictly(raw):
    text = raw.text() if callable(raw.text) else raw.text
    return Response.model_validate_json(text, strict=True)


def data(response):
    """The data of a stream's events, as they came."""
    return [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]


@EITHER
def test_a_whole_response(door, target):
    client = door(target).client()
    response = client.responses.create(**ASK)
    assert (response.output_text, response.status) == (TEXT, "completed")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (7, len(WORDS))
    assert (response.instructions, response._request_id is not None) == ("Be brief.", True)


@EITHER
def test_a_streamed_response(door, target):
    client = door(target).client()
    events = list(client.responses.create(**ASK, stream=True))
    assert [event.delta for event in events if event.type == "response.output_text.delta"] == WORDS
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    assert events[-1].response.output_text == TEXT
    with client.responses.stream(**ASK) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == final.output_text == TEXT


@EITHER
def test_a_tool_is_called_and_its_output_is_answered(door, target):
    client = door(target).client()
    response = client.responses.create(**ASK, tools=[WEATHER], tool_choice="required")
    [call] = [item for item in response.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("weather", json.loads(TOOL_ARGUMENTS))
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"}
    turns = [{"role": "user", "content": ASK["input"]}, *response.output, output]
    assert client.responses.create(**ASK | {"input": turns}, tools=[WEATHER]).output_text == TEXT
    with client.responses.stream(**ASK, tools=[WEATHER], tool_choice="required") as stream:
        pieces = "".join(event.delta for event in stream if event.type == "response.function_call_arguments.delta")
        [call] = [item for item in stream.get_final_response().output if item.type == "function_call"]
    assert json.loads(pieces) == json.loads(call.arguments) == json.loads(TOOL_ARGUMENTS)


@EITHER
def test_parse_gives_a_typed_answer(door, target):
    client = door(target).client()
    assert client.responses.parse(**ASK, text_format=Play).output_parsed == Play(title="Faust", seats=312)
    with client.responses.stream(**ASK, text_format=Play) as stream:
        assert stream.get_final_response().output_parsed == Play(title="Faust", seats=312)


@EITHER
def test_what_comes_is_openais_to_the_letter(door, target):
    client = door(target).client()
    for more in ({}, {"tools": [WEATHER], "tool_choice": "required"}, {"text": {"format": type_to_text_format_param(Play)}}):
        strictly(client.responses.with_raw_response.create(**ASK, **more))
        with client.responses.with_streaming_response.create(**ASK, **more, stream=True) as response:
            events = [EVENTS.validate_json(event, strict=True) for event in data(response)]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert events[-1].type == "response.completed"


def test_the_rehearsal_answers_and_keeps_to_a_schema(rehearsing):
    client = rehearsing.client(api_key="anything")
    ask = ASK | {"model": "gpt-4o"}
    assert strictly(client.responses.with_raw_response.create(**ask)).output_text.startswith("This is a rehearsal")
    with client.responses.with_streaming_response.create(**ask, stream=True) as response:
        assert [EVENTS.validate_json(event, strict=True) for event in data(response)][-1].type == "response.completed"
    assert isinstance(client.responses.parse(**ask, text_format=Play).output_parsed, Play)


def test_what_needs_kept_answers_is_refused_by_name(door):
    client = door("first").client(max_retries=0)
    for more in ({"previous_response_id": "resp_1"}, {"store": True}, {"background": True}, {"conversation": "conv_1"}):
        with pytest.raises(openai.BadRequestError, match="it keeps no") as raised:
            client.responses.create(**ASK, **more)
        assert raised.value.code == "no_fitting_target"


@EITHER
def test_a_stream_that_is_cut_raises(door, upstream, target):
    gateway = door(target, extra='[stream]\nrecovery = "error"\n')
    upstream.plays(target, cut_after(4, "fin") if target == "first" else cut_claude)
    with pytest.raises(openai.APIError, match="broke off"):
        for event in gateway.client().responses.create(**ASK, stream=True):
            assert event.type != "response.completed"


def cut_claude(stage, body):
    stage.begin_stream()
    begun = {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [], "usage": {"input_tokens": 7, "output_tokens": 1}}
    stage.named_event({"type": "message_start", "message": begun})
    stage.named_event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    stage.named_event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "The"}})
    stage.wfile.flush()
    stage.close_connection = True
