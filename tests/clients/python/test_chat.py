"""What a caller does on a good day: whole and streamed answers, tools, structured output, several at once."""

import asyncio

from gateway import KEY
from openai import pydantic_function_tool
from pydantic import BaseModel
from upstream import TEXT, TOOL_ARGUMENTS, USAGE, WORDS

ASK = {"model": "chat", "messages": [{"role": "user", "content": "When does it begin?"}]}


class Weather(BaseModel):
    """Tells the weather of a city."""

    city: str
    unit: str


class Play(BaseModel):
    title: str
    seats: int


WEATHER = pydantic_function_tool(Weather, name="weather")


def test_a_whole_answer_is_the_upstreams(client):
    answer = client.chat.completions.create(**ASK)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == USAGE["total_tokens"]
    assert answer.model == "first-model"


def test_a_streams_words_join_to_the_whole_answer(client):
    chunks = list(client.chat.completions.create(**ASK, stream=True))
    words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert words == WORDS
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert all(chunk.choices for chunk in chunks), "a usage chunk that nobody asked for"


def test_a_stream_tells_its_usage_when_asked(client):
    chunks = list(client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.model_dump(exclude_none=True) == USAGE


def test_a_tool_is_called_and_its_result_is_answered(client):
    answer = client.chat.completions.create(**ASK, tools=[WEATHER], tool_choice="required")
    assert answer.choices[0].finish_reason == "tool_calls"
    [call] = answer.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", TOOL_ARGUMENTS)

    turn = [answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    last = client.chat.completions.create(model="chat", messages=[*ASK["messages"], *turn], tools=[WEATHER])
    assert last.choices[0].message.content == TEXT


def test_a_streamed_tool_call_comes_in_pieces_that_join(client):
    arguments, names, finish = "", [], None
    for chunk in client.chat.completions.create(**ASK, tools=[WEATHER], tool_choice="required", stream=True):
        finish = chunk.choices[0].finish_reason or finish
        for call in chunk.choices[0].delta.tool_calls or []:
            names += [call.function.name] if call.function.name else []
            arguments += call.function.arguments or ""
    assert (names, arguments, finish) == (["weather"], TOOL_ARGUMENTS, "tool_calls")


def test_parse_gives_a_typed_answer(client, upstream):
    answer = client.chat.completions.parse(**ASK, response_format=Play)
    assert answer.choices[0].message.parsed == Play(title="Faust", seats=312)
    [call] = upstream.calls["first"]
    assert call["body"]["response_format"]["json_schema"]["strict"] is True


def test_parse_gives_typed_tool_arguments(client):
    answer = client.chat.completions.parse(**ASK, tools=[WEATHER], tool_choice="required")
    assert answer.choices[0].message.tool_calls[0].function.parsed_arguments == Weather(city="Wien", unit="celsius")


def test_the_stream_helper_tells_events_and_the_final_answer(client):
    with client.chat.completions.stream(**ASK) as stream:
        words = [event.delta for event in stream if event.type == "content.delta" and event.delta]
        final = stream.get_final_completion()
    assert words == WORDS
    assert (final.choices[0].message.content, final.choices[0].finish_reason) == (TEXT, "stop")


def test_the_stream_helper_parses_structured_output_and_tools(client):
    with client.chat.completions.stream(**ASK, response_format=Play) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == Play(title="Faust", seats=312)
    with client.chat.completions.stream(**ASK, tools=[WEATHER], tool_choice="required") as stream:
        [call] = stream.get_final_completion().choices[0].message.tool_calls
    assert call.function.parsed_arguments == Weather(city="Wien", unit="celsius")


def test_a_stream_left_early_leaves_the_client_usable(client):
    with client.chat.completions.create(**ASK, stream=True) as stream:
        next(iter(stream))
    assert client.chat.completions.create(**ASK).choices[0].message.content == TEXT


def test_the_async_client_does_forty_at_once(open_door):
    door = open_door("first")

    async def whole(client):
        return (await client.chat.completions.create(**ASK)).choices[0].message.content

    async def streamed(client):
        stream = await client.chat.completions.create(**ASK, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_of_them():
        async with door.async_client() as client:
            return await asyncio.gather(*([whole(client) for _ in range(20)] + [streamed(client) for _ in range(20)]))

    assert asyncio.run(all_of_them()) == [TEXT] * 40


def test_unknown_fields_reach_the_upstream_and_the_callers_key_does_not(client, upstream):
    client.chat.completions.create(**ASK, temperature=0.30, extra_body={"made_up": {"deep": [1, None]}})
    [call] = upstream.calls["first"]
    assert call["body"]["made_up"] == {"deep": [1, None]} and call["body"]["model"] == "first-model"
    assert KEY not in str(call)
    assert call["headers"].get("authorization", call["headers"].get("Authorization")) == "Bearer upstream-secret-of-first"


def test_every_answer_has_its_request_id_and_tells_who_served(client):
    raw = client.chat.completions.with_raw_response.create(**ASK)
    assert raw.parse()._request_id == raw.headers["x-request-id"]
    assert raw.headers["x-stagedoor-provider"] == "first"
    assert raw.headers["x-stagedoor-model"] == "first-model"
    assert raw.headers["x-stagedoor-attempts"] == "1"
    with client.chat.completions.with_streaming_response.create(**ASK, stream=True) as streamed:
        assert streamed.headers["x-request-id"] and streamed.headers["x-stagedoor-provider"] == "first"


def test_a_request_id_of_the_callers_is_kept(client):
    assert client.chat.completions.create(**ASK, extra_headers={"x-request-id": "act-1.scene_2"})._request_id == "act-1.scene_2"


def test_models_are_listed_and_found(client):
    assert sorted(model.id for model in client.models.list()) == ["chat", "whisper"]
    found = client.models.retrieve("chat")
    assert (found.id, found.object) == ("chat", "model")
