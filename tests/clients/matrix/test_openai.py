"""OpenAI's SDK for Python before a target of each kind."""

import asyncio
import json

import openai
import pytest
from asks import PLAY, QUESTION, RESULT, WEATHER, Play, Weather
from letter import get, post
from openai.lib._pydantic import to_strict_json_schema
from openai.types import ErrorObject, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from upstream import TEXT, WORDS
from vendors import CUT_AFTER, EMBEDDING, REASON

CLIENT = ("openai", "openai (Python)")
MESSAGES = [{"role": "user", "content": QUESTION}]
TOOL = openai.pydantic_function_tool(Weather, name="weather")


@pytest.fixture(scope="module")
def client(stage):
    return caller(stage)


@pytest.fixture
def chat(client):
    return client.chat.completions


def caller(stage, kind=openai.OpenAI):
    return kind(base_url=f"{stage.url}/v1", api_key=stage.key, timeout=20, max_retries=0)


def words_of(chunks):
    return [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]


def test_a_whole_answer(chat, target):
    answer = chat.create(model=target, messages=[{"role": "system", "content": "Be brief."}, *MESSAGES], max_tokens=200, temperature=0.5)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (TEXT, "stop")
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (7, 7 + len(WORDS))


def test_a_stream(chat, target):
    chunks = list(chat.create(model=target, messages=MESSAGES, stream=True, stream_options={"include_usage": True}))
    assert words_of(chunks) == WORDS
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].usage.total_tokens == 7 + len(WORDS)


def test_a_tool_and_its_result(chat, target):
    answer = chat.create(model=target, messages=MESSAGES, tools=[TOOL], tool_choice="required")
    [call] = answer.choices[0].message.tool_calls
    assert (answer.choices[0].finish_reason, call.function.name) == ("tool_calls", "weather")
    turn = [answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    last = chat.create(model=target, messages=[*MESSAGES, *turn], tools=[TOOL])
    assert (last.choices[0].message.content, last.choices[0].message.tool_calls) == (TEXT, None)


def test_a_streamed_tool_call(chat, target):
    with chat.stream(model=target, messages=MESSAGES, tools=[TOOL], tool_choice="required") as stream:
        final = stream.get_final_completion().choices[0]
    assert (final.finish_reason, final.message.tool_calls[0].function.parsed_arguments) == ("tool_calls", WEATHER)


def test_a_tool_without_arguments(chat, target):
    now = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    answer = chat.create(model=target, messages=MESSAGES, tools=[now])
    assert json.loads(answer.choices[0].message.tool_calls[0].function.arguments) == {}
    with chat.stream(model=target, messages=MESSAGES, tools=[now]) as stream:
        final = stream.get_final_completion()
    assert json.loads(final.choices[0].message.tool_calls[0].function.arguments) == {}


def test_structured_output(chat, target):
    assert chat.parse(model=target, messages=MESSAGES, response_format=Play).choices[0].message.parsed == PLAY
    with chat.stream(model=target, messages=MESSAGES, response_format=Play) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == PLAY


def test_several_at_once_async(stage, target):
    async def whole(chat):
        return (await chat.create(model=target, messages=MESSAGES)).choices[0].message.content

    async def streamed(chat):
        return "".join(words_of([chunk async for chunk in await chat.create(model=target, messages=MESSAGES, stream=True)]))

    async def all_of_them():
        async with caller(stage, openai.AsyncOpenAI) as asynchronous:
            chat = asynchronous.chat.completions
            return await asyncio.gather(*(ask(chat) for ask in [whole, streamed] * 5))

    assert asyncio.run(all_of_them()) == [TEXT] * 10


def test_what_the_target_refuses(chat, target):
    with pytest.raises(openai.BadRequestError, match=REASON):
        chat.create(model=f"{target}-refuses", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match=REASON):
        chat.create(model=f"{target}-refuses", messages=MESSAGES, stream=True)


def test_a_busy_target(chat, target):
    with pytest.raises(openai.RateLimitError) as raised:
        chat.create(model=f"{target}-busy", messages=MESSAGES)
    assert raised.value.code == "upstream_rate_limited" and 0 < int(raised.value.response.headers["retry-after"]) <= 30


def test_a_target_that_fails(chat, target):
    with pytest.raises(openai.InternalServerError) as raised:
        chat.create(model=f"{target}-ill", messages=MESSAGES)
    assert raised.value.code == "all_targets_failed" and "secret" not in raised.value.message


def test_a_stream_that_is_cut(chat, target):
    words = []
    with pytest.raises(openai.APIError):
        for chunk in chat.create(model=f"{target}-cut", messages=MESSAGES, stream=True):
            assert not chunk.choices or chunk.choices[0].finish_reason is None
            words += words_of([chunk])
    assert words == WORDS[:CUT_AFTER]


def test_embeddings(client, target):
    if target in ("anthropic", "gemini"):
        with pytest.raises(openai.BadRequestError) as raised:
            client.embeddings.create(model=target, input=["one", "two"])
        assert raised.value.code == "no_fitting_target"
        pytest.skip("targets of this dialect have none: 400 no_fitting_target")
    answer = client.embeddings.create(model=target, input=["one", "two"])
    assert [row.embedding for row in answer.data] == [EMBEDDING] * 2


# What each request of these asks for: words, a tool's call, an answer by a schema.
SCHEMA = {"type": "json_schema", "json_schema": {"name": "play", "strict": True, "schema": to_strict_json_schema(Play)}}
WISHES = [{}, {"tools": [TOOL], "tool_choice": "required"}, {"response_format": SCHEMA}]


def test_answers_to_the_letter(stage, target):
    for wish in WISHES:
        answer = post(stage, "/v1/chat/completions", {"model": target, "messages": MESSAGES} | wish)
        ChatCompletion.model_validate_json(answer.text, strict=True)
        usage = {"stream": True, "stream_options": {"include_usage": True}}
        *chunks, done = post(stage, "/v1/chat/completions", {"model": target, "messages": MESSAGES} | wish | usage).data
        assert done == "[DONE]"
        for chunk in chunks:
            ChatCompletionChunk.model_validate_json(chunk, strict=True)


def test_errors_to_the_letter(stage, target):
    asked = {f"{target}-refuses": 400, f"{target}-busy": 429, f"{target}-ill": 502, "nobody": 404}
    for model, status in asked.items():
        holds_an_error(post(stage, "/v1/chat/completions", {"model": model, "messages": MESSAGES}), status)
        holds_an_error(post(stage, "/v1/chat/completions", {"model": model, "messages": MESSAGES, "stream": True}), status)
    holds_an_error(post(stage, "/v1/chat/completions", {"model": target, "messages": MESSAGES}, key="sk-nobody-knows-this-key-here"), 401)
    cut = post(stage, "/v1/chat/completions", {"model": f"{target}-cut", "messages": MESSAGES, "stream": True})
    ErrorObject.model_validate_json(json.dumps(json.loads(cut.data[-1])["error"]), strict=True)


def holds_an_error(answer, status):
    assert answer.status == status, answer.text
    ErrorObject.model_validate_json(json.dumps(json.loads(answer.text)["error"]), strict=True)


def test_models_to_the_letter(stage, target):
    listed = json.loads(get(stage, "/v1/models").text)
    assert (listed["object"], target in [row["id"] for row in listed["data"]]) == ("list", True)
    for row in [*listed["data"], json.loads(get(stage, f"/v1/models/{target}").text)]:
        Model.model_validate_json(json.dumps(row), strict=True)
