"""OpenAI's Responses, by its SDK, over targets that speak something else: whole, streamed, with tools, parsed; and what comes back held
to the SDK's own models, strictly."""

import itertools
import json

import openai
import pytest
from gateway import KEY
from google import genai
from openai.lib._parsing._responses import type_to_text_format_param
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter
from test_streams import POINTS, SETTINGS
from upstream import DEATHS, TEXT, TOOL_ARGUMENTS, WORDS, claude, cut_after, dies, goes_on

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


def responds(words, death=None):
    """A stream of Responses' own, of these words; with a death it dies behind them."""

    def act(stage, body):
        numbers, item = itertools.count(), {"type": "message", "id": "msg_up", "role": "assistant", "status": "in_progress", "content": []}

        def tell(kind, **rest):
            stage.named_event({"type": f"response.{kind}", "sequence_number": next(numbers)} | rest)

        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        usage = {"input_tokens": 7, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens": len(words)}
        usage |= {"output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 7 + len(words)}
        response = {"id": f"resp_{'first' if death else 'second'}", "object": "response", "created_at": 1, "model": body["model"], "status": "in_progress"}
        response |= {"output": [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None}
        response |= {"instructions": None, "metadata": {}, "temperature": 1.0, "top_p": 1.0, "usage": None}
        place = {"item_id": "msg_up", "output_index": 0, "content_index": 0}
        stage.begin_stream()
        tell("created", response=response)
        tell("output_item.added", output_index=0, item=item)
        tell("content_part.added", part=part, **place)
        for word in words:
            tell("output_text.delta", delta=word, logprobs=[], **place)
        if death:
            return death(stage)
        part |= {"text": "".join(words)}
        item |= {"status": "completed", "content": [part]}
        tell("output_text.done", text=part["text"], logprobs=[], **place)
        tell("content_part.done", part=part, **place)
        tell("output_item.done", output_index=0, item=item)
        tell("completed", response=response | {"status": "completed", "output": [item], "usage": usage})
        stage.wfile.write(b"0\r\n\r\n")

    return act


@pytest.mark.parametrize(("first", "second"), list(itertools.product(["native", "chat"], repeat=2)))
def test_with_somebody_behind_it_a_response_is_whole_wherever_and_however_it_breaks(open_door, upstream, first, second):
    rows = {"first": "responses = true" if first == "native" else "", "second": "responses = true" if second == "native" else 'continuation = "prefill"'}
    client = open_door("first", "second", extra=SETTINGS, rows=rows).client(max_retries=0)
    upstream.plays("second", responds(WORDS) if second == "native" else goes_on("prefill"))
    for words, death in itertools.product(POINTS, DEATHS):
        upstream.plays("first", responds(WORDS[:words], DEATHS[death]) if first == "native" else dies(words, DEATHS[death]))
        with client.responses.stream(**ASK) as stream:
            said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
            final = stream.get_final_response()
        assert (said.rstrip(), final.output_text.rstrip(), final.status) == (TEXT, TEXT, "completed"), f"{death} after {words}"
        assert final.id == ("resp_first" if first == "native" else "resp_chatcmpl-first")
    with client.responses.with_streaming_response.create(**ASK, stream=True) as response:
        events = [EVENTS.validate_json(event, strict=True) for event in data(response)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events].count("response.created") == [event.type for event in events].count("response.completed") == 1


def test_a_response_by_its_id_is_not_here_and_the_error_says_what_to_do(door):
    responses = door("first").client(max_retries=0).responses
    kept = responses.create(**ASK)
    for ask in (responses.retrieve, responses.delete, responses.cancel, responses.input_items.list):
        with pytest.raises(openai.NotFoundError, match="send the turns so far as `input`") as raised:
            ask(kept.id)
        assert raised.value.code == "response_not_found"


def test_a_stream_that_can_be_come_back_to_is_read_as_any_other(door):
    gateway, header = door("first"), {"x-stagedoor-resume": "1m"}
    events = list(gateway.client().responses.create(**ASK, stream=True, extra_headers=header))
    assert events[-1].response.output_text == TEXT
    message = {"model": "chat", "max_tokens": 500, "messages": [{"role": "user", "content": "When does it begin?"}]}
    with gateway.anthropic().messages.stream(**message, extra_headers=header) as stream:
        assert stream.get_final_text() == TEXT
    google = genai.Client(api_key=KEY, http_options=genai.types.HttpOptions(base_url=gateway.url, headers=header))
    assert "".join(chunk.text or "" for chunk in google.models.generate_content_stream(model="chat", contents="When does it begin?")) == TEXT
