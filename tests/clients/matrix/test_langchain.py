"""LangChain before a target of each kind, by its OpenAI and its Anthropic package."""

import asyncio

import anthropic
import openai
import pytest
from asks import ARGUMENTS, PLAY, QUESTION, RESULT, Play, Weather
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from upstream import TEXT
from vendors import REASON


class OfOpenAI:
    CLIENT = ("langchain-openai", "LangChain, langchain-openai")
    BadRequest, APIError = openai.BadRequestError, openai.APIError

    @staticmethod
    def model(stage, name):
        return ChatOpenAI(model=name, base_url=f"{stage.url}/v1", api_key=stage.key, timeout=20, max_retries=0, stream_usage=True)


class OfAnthropic:
    CLIENT = ("langchain-anthropic", "LangChain, langchain-anthropic")
    BadRequest, APIError = anthropic.BadRequestError, anthropic.APIError

    @staticmethod
    def model(stage, name):
        return ChatAnthropic(model_name=name, base_url=stage.url, api_key=stage.key, timeout=20, max_retries=0, max_tokens_to_sample=200)


@pytest.fixture(params=[OfOpenAI, OfAnthropic], ids=["openai", "anthropic"])
def package(request):
    return request.param


@pytest.fixture
def model(stage, package, target):
    return package.model(stage, target)


def test_a_whole_answer(model):
    answer = model.invoke([SystemMessage("Be brief."), HumanMessage(QUESTION)])
    assert (answer.text, answer.usage_metadata["input_tokens"]) == (TEXT, 7)


def test_a_stream(model):
    whole = None
    for chunk in model.stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert (whole.text, whole.usage_metadata["input_tokens"]) == (TEXT, 7)


def test_a_tool_and_its_result(model):
    bound = model.bind_tools([Weather])
    asked = [HumanMessage(QUESTION), bound.invoke(QUESTION)]
    [call] = asked[1].tool_calls
    assert (call["name"], call["args"]) == ("Weather", ARGUMENTS)
    assert bound.invoke([*asked, ToolMessage(RESULT, tool_call_id=call["id"])]).text == TEXT


def test_a_streamed_tool_call(model):
    whole = None
    for chunk in model.bind_tools([Weather]).stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("Weather", ARGUMENTS)]


def test_structured_output(model):
    assert model.with_structured_output(Play, method="json_schema").invoke(QUESTION) == PLAY


def test_several_at_once_async(run, model):
    async def streamed():
        return "".join([chunk.text async for chunk in model.astream(QUESTION)])

    async def all_of_them():
        whole = [model.ainvoke(QUESTION) for _ in range(5)]
        return [answer.text for answer in await asyncio.gather(*whole)] + await asyncio.gather(*(streamed() for _ in range(5)))

    assert run(all_of_them()) == [TEXT] * 10


def test_what_the_target_refuses(stage, package, target):
    with pytest.raises(package.BadRequest, match=REASON):
        package.model(stage, f"{target}-refuses").invoke(QUESTION)


def test_a_stream_that_is_cut(stage, package, target):
    with pytest.raises(package.APIError):
        list(package.model(stage, f"{target}-cut").stream(QUESTION))
