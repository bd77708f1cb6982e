"""Pydantic AI before a target of each kind, by its OpenAI and its Anthropic model."""

import pytest
from asks import PLAY, QUESTION, RESULT, Play
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from upstream import TEXT
from vendors import REASON


class OfOpenAI:
    CLIENT = ("pydantic-ai-slim", "Pydantic AI, OpenAIChatModel")

    @staticmethod
    def model(stage, name):
        return OpenAIChatModel(name, provider=OpenAIProvider(base_url=f"{stage.url}/v1", api_key=stage.key))


class OfAnthropic:
    CLIENT = ("pydantic-ai-slim", "Pydantic AI, AnthropicModel")

    @staticmethod
    def model(stage, name):
        # By its name alone it wouldn't know that the model can.
        able = ModelProfile(supports_json_schema_output=True)
        return AnthropicModel(name, provider=AnthropicProvider(base_url=stage.url, api_key=stage.key), profile=able)


@pytest.fixture(params=[OfOpenAI, OfAnthropic], ids=["openai", "anthropic"])
def package(request):
    return request.param


@pytest.fixture
def model(stage, package, target):
    return package.model(stage, target)


def test_a_whole_answer(run, model):
    answer = run(Agent(model, instructions="Be brief.").run(QUESTION))
    assert (answer.output, answer.usage.input_tokens) == (TEXT, 7)


def test_a_stream(run, model):
    async def streamed():
        async with Agent(model).run_stream(QUESTION) as run:
            return "".join([piece async for piece in run.stream_text(delta=True, debounce_by=None)])

    assert run(streamed()) == TEXT


def test_a_tool_and_its_result(run, model):
    asked, agent = [], Agent(model)

    @agent.tool_plain
    def weather(city: str, unit: str) -> str:
        asked.append((city, unit))
        return RESULT

    assert run(agent.run(QUESTION)).output == TEXT
    assert asked == [("Wien", "celsius")]


def test_structured_output(run, model):
    assert run(Agent(model, output_type=NativeOutput(Play)).run(QUESTION)).output == PLAY


def test_what_the_target_refuses(run, stage, package, target):
    with pytest.raises(ModelHTTPError, match=REASON) as raised:
        run(Agent(package.model(stage, f"{target}-refuses")).run(QUESTION))
    assert raised.value.status_code == 400


def test_a_stream_that_is_cut(run, stage, package, target):
    async def streamed():
        async with Agent(package.model(stage, f"{target}-cut")).run_stream(QUESTION) as run:
            return [piece async for piece in run.stream_text(delta=True, debounce_by=None)]

    with pytest.raises(Exception, match="broke off"):
        run(streamed())
