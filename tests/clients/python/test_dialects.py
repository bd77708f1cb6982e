"""Callers and targets that don't speak the same: both SDKs in front of both kinds of upstream, and what they are sent held to their
own models, strictly."""

import json

import anthropic
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from gateway import KEY
from openai import pydantic_function_tool
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, TypeAdapter
from upstream import TEXT, TOOL_ARGUMENTS, WORDS, claude, cut_after, refuses

ASK = {"model": "chat", "messages": [{"role": "user", "content": "When does it begin?"}]}
MESSAGE = ASK | {"max_tokens": 500}
TOOL = {"name": "weather", "description": "Tells the weather of a city.", "input_schema": {"type": "object"}}
EITHER = pytest.mark.parametrize("target", ["first", "claude"])


class Weather(BaseModel):
    """Tells the weather of a city."""

    city: str
    unit: str


class Play(BaseModel):
    title: str
    seats: int


WEATHER = pydantic_function_tool(Weather, name="weather")


@pytest.fixture
def door(open_door, upstream):
    """A gateway in front of a provider, "claude" being one of Anthropic's dialect."""
    upstream.plays("claude", claude)
    return open_door


def lines(response):
    """The data of a stream's events, as they came."""
    return [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]


def test_openais_sdk_is_answered_by_anthropics_target(door):
    client = door("claude").client()
    answer = client.chat.completions.create(**ASK)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (TEXT, "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.model) == (7, len(WORDS), "claude-model")
    chunks = list(client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}))
    words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert (words, chunks[-1].usage.total_tokens) == (WORDS, 7 + len(WORDS))
    assert client.chat.completions.parse(**ASK, response_format=Play).choices[0].message.parsed == Play(title="Faust", seats=312)


def test_openais_tools_are_called_by_anthropics_target(door):
    client = door("claude").client()
    answer = client.chat.completions.parse(**ASK, tools=[WEATHER], tool_choice="required")
    [call] = answer.choices[0].message.tool_calls
    assert (call.id, call.function.parsed_arguments) == ("toolu_1", Weather(city="Wien", unit="celsius"))
    turn = [answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    last = client.chat.completions.create(model="chat", messages=[*ASK["messages"], *turn], tools=[WEATHER])
    assert last.choices[0].message.content == TEXT
    with client.chat.completions.stream(**ASK, tools=[WEATHER], tool_choice="required") as stream:
        [call] = stream.get_final_completion().choices[0].message.tool_calls
    assert call.function.parsed_arguments == Weather(city="Wien", unit="celsius")


def test_what_openais_sdk_gets_is_openais_to_the_letter(door):
    client = door("claude").client()
    for more in ({}, {"tools": [WEATHER]}):
        raw = client.chat.completions.with_raw_response.create(**ASK, **more).text
        ChatCompletion.model_validate_json(raw() if callable(raw) else raw, strict=True)
        with client.chat.completions.with_streaming_response.create(**ASK, **more, stream=True) as response:
            data = lines(response)
        assert data.pop() == "[DONE]"
        for chunk in data:
            ChatCompletionChunk.model_validate_json(chunk, strict=True)


@EITHER
def test_anthropics_sdk_is_answered(door, target):
    client = door(target).anthropic()
    message = client.messages.create(**MESSAGE, system="Be brief.")
    assert (message.content[0].text, message.stop_reason, message.usage.output_tokens) == (TEXT, "end_turn", len(WORDS))
    assert message._request_id
    with client.messages.stream(**MESSAGE) as stream:
        words = list(stream.text_stream)
        final = stream.get_final_message()
    assert (words, final.stop_reason) == (WORDS, "end_turn")
    assert (final.usage.input_tokens, final.usage.output_tokens) == (7, len(WORDS))


@EITHER
def test_anthropics_tools_are_called(door, target):
    client = door(target).anthropic()
    message = client.messages.create(**MESSAGE, tools=[TOOL], tool_choice={"type": "any"})
    [call] = message.content
    assert (message.stop_reason, call.name, call.input) == ("tool_use", "weather", json.loads(TOOL_ARGUMENTS))
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "18 degrees"}]}
    turns = [*MESSAGE["messages"], {"role": "assistant", "content": message.content}, result]
    assert client.messages.create(**MESSAGE | {"messages": turns}, tools=[TOOL]).content[0].text == TEXT
    with client.messages.stream(**MESSAGE, tools=[TOOL]) as stream:
        final = stream.get_final_message()
    assert final.content[0].input == json.loads(TOOL_ARGUMENTS)


@EITHER
def test_what_anthropics_sdk_gets_is_anthropics_to_the_letter(door, target):
    client = door(target).anthropic()
    events = TypeAdapter(RawMessageStreamEvent)
    for more in ({}, {"tools": [TOOL]}):
        raw = client.messages.with_raw_response.create(**MESSAGE, **more).text
        Message.model_validate_json(raw() if callable(raw) else raw, strict=True)
        with client.messages.with_streaming_response.create(**MESSAGE, **more, stream=True) as response:
            data = lines(response)
        for event in data:
            if json.loads(event)["type"] != "ping":
                events.validate_json(event, strict=True)


def test_errors_are_each_sdks_own(door, upstream):
    gateway = door("first", "claude")
    for key, model, error in (("wrong", "chat", anthropic.AuthenticationError), (KEY, "nobody", anthropic.NotFoundError)):
        with pytest.raises(error) as raised:
            gateway.anthropic(api_key=key).messages.create(**MESSAGE | {"model": model})
        assert raised.value.body["type"] == "error"
    upstream.plays("first", refuses(500))
    assert gateway.anthropic().messages.create(**MESSAGE).content[0].text == TEXT
    upstream.plays("first", refuses(400, "that won't do", kind="invalid_request_error"))
    with pytest.raises(anthropic.BadRequestError, match="that won't do"):
        gateway.anthropic().messages.create(**MESSAGE)


def test_a_stream_that_dies_at_openais_ends_at_anthropics(door, upstream):
    def rest(stage, body):
        last = body["messages"][-1]["content"][-1]["text"]
        said = last.split("<<<BEGIN>>>")[1].split("<<<END>>>")[0]
        words, at = [], len(said)
        while at < len(TEXT):
            words.append(TEXT[at : at + 9])
            at += 9
        stage.begin_stream()
        begun = {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [], "usage": {"input_tokens": 7, "output_tokens": 1}}
        stage.named_event({"type": "message_start", "message": begun})
        stage.named_event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        for word in words:
            stage.named_event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
        stage.named_event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}})
        stage.named_event({"type": "message_stop"})
        stage.wfile.write(b"0\r\n\r\n")

    gateway = door("first", "claude")
    upstream.plays("first", cut_after(5, "fin"))
    upstream.plays("claude", rest)
    chunks = list(gateway.client(max_retries=0).chat.completions.create(**ASK, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == TEXT
