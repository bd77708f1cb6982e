"""Anthropic's SDK for Python before a target of each kind."""

import asyncio
import json

import anthropic
import pytest
from anthropic.types import ErrorResponse, Message, MessageTokensCount, RawMessageStreamEvent
from asks import ARGUMENTS, PLAY, QUESTION, RESULT, Play, Weather
from letter import post
from pydantic import TypeAdapter
from upstream import TEXT, WORDS
from vendors import CUT_AFTER, REASON

CLIENT = ("anthropic", "anthropic (Python)")
MESSAGES = [{"role": "user", "content": QUESTION}]
TOOL = {"name": "weather", "description": Weather.__doc__, "input_schema": Weather.model_json_schema()}


@pytest.fixture(scope="module")
def messages(stage):
    return client(stage).messages


def client(stage, kind=anthropic.Anthropic, key=None):
    return kind(base_url=stage.url, api_key=key or stage.key, timeout=20, max_retries=0)


def ask(target, **more):
    return {"model": target, "max_tokens": 200, "messages": MESSAGES} | more


def test_a_whole_answer(messages, target):
    message = messages.create(**ask(target, system="Be brief."))
    assert (message.content[0].text, message.stop_reason) == (TEXT, "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, len(WORDS))
    assert message._request_id


def test_a_stream(messages, target):
    with messages.stream(**ask(target)) as stream:
        words, final = list(stream.text_stream), stream.get_final_message()
    assert (words, final.stop_reason) == (WORDS, "end_turn")
    assert (final.usage.input_tokens, final.usage.output_tokens) == (7, len(WORDS))


def test_a_tool_and_its_result(messages, target):
    message = messages.create(**ask(target, tools=[TOOL], tool_choice={"type": "any"}))
    [call] = [block for block in message.content if block.type == "tool_use"]
    assert (message.stop_reason, call.name, call.input) == ("tool_use", "weather", ARGUMENTS)
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": RESULT}]}
    turns = [*MESSAGES, {"role": "assistant", "content": message.content}, result]
    assert messages.create(**ask(target, messages=turns, tools=[TOOL])).content[0].text == TEXT


def test_a_streamed_tool_call(messages, target):
    with messages.stream(**ask(target, tools=[TOOL], tool_choice={"type": "any"})) as stream:
        final = stream.get_final_message()
    assert (final.stop_reason, final.content[-1].input) == ("tool_use", ARGUMENTS)


def test_structured_output(messages, target):
    assert messages.parse(**ask(target, output_format=Play)).parsed_output == PLAY


def test_several_at_once_async(stage, target):
    async def whole(messages):
        return (await messages.create(**ask(target))).content[0].text

    async def streamed(messages):
        async with messages.stream(**ask(target)) as stream:
            return await stream.get_final_text()

    async def all_of_them():
        async with client(stage, anthropic.AsyncAnthropic) as asynchronous:
            return await asyncio.gather(*(ask(asynchronous.messages) for ask in [whole, streamed] * 5))

    assert asyncio.run(all_of_them()) == [TEXT] * 10


def test_counting_tokens(messages, target):
    assert messages.count_tokens(model=target, messages=MESSAGES).input_tokens > 0


def test_what_the_target_refuses(messages, target):
    with pytest.raises(anthropic.BadRequestError, match=REASON) as raised:
        messages.create(**ask(f"{target}-refuses"))
    assert raised.value.body["error"]["type"] == "invalid_request_error"


def test_a_busy_target(messages, target):
    with pytest.raises(anthropic.RateLimitError) as raised:
        messages.create(**ask(f"{target}-busy"))
    assert raised.value.body["error"]["type"] == "rate_limit_error" and 0 < int(raised.value.response.headers["retry-after"]) <= 30


def test_a_target_that_fails(messages, target):
    with pytest.raises(anthropic.InternalServerError) as raised:
        messages.create(**ask(f"{target}-ill"))
    assert raised.value.body["error"]["type"] == "api_error" and "secret" not in str(raised.value)


def test_a_stream_that_is_cut(messages, target):
    words = []
    with pytest.raises(anthropic.APIError), messages.stream(**ask(f"{target}-cut")) as stream:
        words.extend(stream.text_stream)
    assert words == WORDS[:CUT_AFTER]


# What each request of these asks for: words, a tool's call, an answer by a schema.
SCHEMA = {"type": "json_schema", "schema": anthropic.transform_schema(Play)}
WISHES = [{}, {"tools": [TOOL], "tool_choice": {"type": "any"}}, {"output_config": {"format": SCHEMA}}]
EVENTS = TypeAdapter(RawMessageStreamEvent)


def test_answers_to_the_letter(stage, target):
    for wish in WISHES:
        Message.model_validate_json(post(stage, "/v1/messages", ask(target, **wish)).text, strict=True)
        events = post(stage, "/v1/messages", ask(target, stream=True, **wish)).data
        for event in events:
            if json.loads(event) != {"type": "ping"}:
                EVENTS.validate_json(event, strict=True)
        assert json.loads(events[-1]) == {"type": "message_stop"}
    counted = post(stage, "/v1/messages/count_tokens", {"model": target, "messages": MESSAGES})
    MessageTokensCount.model_validate_json(counted.text, strict=True)


def test_errors_to_the_letter(stage, target):
    for model, status in {f"{target}-refuses": 400, f"{target}-busy": 429, f"{target}-ill": 502, "nobody": 404}.items():
        holds_an_error(post(stage, "/v1/messages", ask(model)), status)
        holds_an_error(post(stage, "/v1/messages", ask(model, stream=True)), status)
    holds_an_error(post(stage, "/v1/messages", ask(target), key="sk-nobody-knows-this-key-here"), 401)
    ErrorResponse.model_validate_json(post(stage, "/v1/messages", ask(f"{target}-cut", stream=True)).data[-1], strict=True)


def holds_an_error(answer, status):
    assert answer.status == status, answer.text
    ErrorResponse.model_validate_json(answer.text, strict=True)
