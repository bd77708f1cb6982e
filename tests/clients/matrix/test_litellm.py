"""LiteLLM as a client before a target of each kind, speaking OpenAI's dialect and Anthropic's."""

import asyncio
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it fetches a price list at its import

import litellm  # noqa: E402
import pytest  # noqa: E402
from asks import PLAY, QUESTION, RESULT, WEATHER, Play, Weather  # noqa: E402
from openai import pydantic_function_tool  # noqa: E402
from upstream import TEXT  # noqa: E402
from vendors import REASON  # noqa: E402

MESSAGES = [{"role": "user", "content": QUESTION}]
TOOL = pydantic_function_tool(Weather, name="weather")


class OfOpenAI:
    CLIENT = ("litellm", "LiteLLM, openai/…")
    PREFIX, BASE = "openai", "/v1"


class OfAnthropic:
    CLIENT = ("litellm", "LiteLLM, anthropic/…")
    PREFIX, BASE = "anthropic", ""


@pytest.fixture(params=[OfOpenAI, OfAnthropic], ids=["openai", "anthropic"])
def package(request):
    return request.param


@pytest.fixture
def asked(stage, package):
    def ask(target, **more):
        where = {"api_base": stage.url + package.BASE, "api_key": stage.key, "timeout": 20, "max_retries": 0}
        return {"model": f"{package.PREFIX}/{target}", "messages": MESSAGES} | where | more

    return ask


def test_a_whole_answer(asked, target):
    answer = litellm.completion(**asked(target, max_tokens=200))
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason, answer.usage.prompt_tokens) == (TEXT, "stop", 7)


def test_a_stream(asked, target):
    chunks = list(litellm.completion(**asked(target, stream=True)))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_tool_and_its_result(asked, target):
    answer = litellm.completion(**asked(target, tools=[TOOL]))
    [call] = answer.choices[0].message.tool_calls
    assert Weather.model_validate_json(call.function.arguments) == WEATHER
    turn = [answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    last = litellm.completion(**asked(target, messages=[*MESSAGES, *turn], tools=[TOOL]))
    assert last.choices[0].message.content == TEXT


def test_a_streamed_tool_call(asked, target):
    chunks = litellm.completion(**asked(target, tools=[TOOL], stream=True))
    pieces = [call.function.arguments or "" for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert Weather.model_validate_json("".join(pieces)) == WEATHER


def test_structured_output(asked, target):
    answer = litellm.completion(**asked(target, response_format=Play))
    assert Play.model_validate_json(answer.choices[0].message.content) == PLAY


def test_several_at_once_async(asked, target):
    async def all_of_them():
        return await asyncio.gather(*(litellm.acompletion(**asked(target)) for _ in range(5)))

    assert [answer.choices[0].message.content for answer in asyncio.run(all_of_them())] == [TEXT] * 5


def test_what_the_target_refuses(asked, target):
    with pytest.raises(litellm.BadRequestError, match=REASON):
        litellm.completion(**asked(f"{target}-refuses"))


def test_a_busy_target(asked, target):
    with pytest.raises(litellm.RateLimitError):
        litellm.completion(**asked(f"{target}-busy"))


def test_a_stream_that_is_cut(asked, target):
    with pytest.raises(Exception, match="broke off"):
        list(litellm.completion(**asked(f"{target}-cut", stream=True)))
