"""Targets that nobody here wrote: aimock (npm, CopilotKit's) and stubllm (PyPI), each with its OpenAI, Anthropic and Gemini API, asked by
OpenAI's and Anthropic's SDKs."""

import contextlib

import anthropic
import openai
import pytest
from asks import ARGUMENTS, RESULT, Weather
from stage import Stage

TEXT = "The curtain rises at eight."
TARGETS = [f"{mock}-{kind}" for mock in ("aimock", "stubllm") for kind in ("openai", "anthropic", "gemini")]


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A stage of its own, with the mocks behind it."""
    with contextlib.closing(Stage(tmp_path_factory.mktemp("mocks"), mocks=True)) as opened:
        yield opened


class OfOpenAI:
    CLIENT = ("openai", "openai (Python), vendors' mocks")
    BadRequest, RateLimit = openai.BadRequestError, openai.RateLimitError
    TOOL = openai.pydantic_function_tool(Weather, name="weather")

    def __init__(self, stage, target):
        self.completions = openai.OpenAI(base_url=f"{stage.url}/v1", api_key=stage.key, timeout=20, max_retries=0).chat.completions
        self.model = target

    def says(self, question):
        return self.completions.create(model=self.model, messages=turns(question)).choices[0].message.content

    def streams(self, question):
        with self.completions.stream(model=self.model, messages=turns(question)) as stream:
            return stream.get_final_completion().choices[0].message.content

    def calls(self, question):
        return called(self.completions.parse(model=self.model, messages=turns(question), tools=[self.TOOL]))

    def streams_calls(self, question):
        with self.completions.stream(model=self.model, messages=turns(question), tools=[self.TOOL]) as stream:
            return called(stream.get_final_completion())

    def answers_with(self, question):
        message = self.completions.create(model=self.model, messages=turns(question), tools=[self.TOOL]).choices[0].message
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": RESULT}
        last = self.completions.create(model=self.model, messages=[*turns(question), message, result], tools=[self.TOOL])
        return last.choices[0].message.content


class OfAnthropic:
    CLIENT = ("anthropic", "anthropic (Python), vendors' mocks")
    BadRequest, RateLimit = anthropic.BadRequestError, anthropic.RateLimitError
    TOOL = {"name": "weather", "description": Weather.__doc__, "input_schema": Weather.model_json_schema()}

    def __init__(self, stage, target):
        self.messages = anthropic.Anthropic(base_url=stage.url, api_key=stage.key, timeout=20, max_retries=0).messages
        self.ask = {"model": target, "max_tokens": 200}

    def says(self, question):
        return self.messages.create(**self.ask, messages=turns(question)).content[0].text

    def streams(self, question):
        with self.messages.stream(**self.ask, messages=turns(question)) as stream:
            return stream.get_final_text()

    def calls(self, question):
        return used(self.messages.create(**self.ask, messages=turns(question), tools=[self.TOOL]))

    def streams_calls(self, question):
        with self.messages.stream(**self.ask, messages=turns(question), tools=[self.TOOL]) as stream:
            return used(stream.get_final_message())

    def answers_with(self, question):
        message = self.messages.create(**self.ask, messages=turns(question), tools=[self.TOOL])
        [call] = [block for block in message.content if block.type == "tool_use"]
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": RESULT}]}
        said = [*turns(question), {"role": "assistant", "content": message.content}, result]
        return self.messages.create(**self.ask, messages=said, tools=[self.TOOL]).content[0].text


def turns(question):
    return [{"role": "user", "content": question}]


def called(completion):
    return [call.function.parsed_arguments.model_dump() for call in completion.choices[0].message.tool_calls]


def used(message):
    return [block.input for block in message.content if block.type == "tool_use"]


# What a mock itself doesn't do as its vendor does.
LIMITS = {
    ("stream", "stubllm-anthropic"): "the mock's stream lacks its last word",
    ("streamed call", "stubllm-anthropic"): "the mock's streamed call has no arguments",
    ("streamed call", "stubllm-gemini"): "the mock's streamed call has no finish reason",
    ("result", "stubllm-openai"): "the mock doesn't tell a tool's result from a first question",
    ("result", "stubllm-anthropic"): "the mock doesn't tell a tool's result from a first question",
    ("result", "stubllm-gemini"): "the mock doesn't tell a tool's result from a first question",
}


def unless_the_mock_cannot(what, target):
    if reason := LIMITS.get((what, target)):
        pytest.skip(reason)


@pytest.fixture(params=[OfOpenAI, OfAnthropic], ids=["openai", "anthropic"])
def package(request):
    return request.param


@pytest.fixture
def caller(stage, package, target):
    return package(stage, target)


def test_a_whole_answer(caller):
    assert caller.says("When does it begin?") == TEXT


def test_a_stream(caller, target):
    unless_the_mock_cannot("stream", target)
    assert caller.streams("When does it begin?") == TEXT


def test_a_tool_call(caller):
    assert caller.calls("Is it warm?") == [ARGUMENTS]


def test_a_streamed_tool_call(caller, target):
    unless_the_mock_cannot("streamed call", target)
    assert caller.streams_calls("Is it warm?") == [ARGUMENTS]


def test_a_tool_and_its_result(caller, target):
    unless_the_mock_cannot("result", target)
    assert caller.answers_with("Is it warm?") == TEXT


def test_what_the_target_refuses(caller, package):
    with pytest.raises(package.BadRequest, match="temperature: at most 2"):
        caller.says("refuse this")


def test_a_busy_target(caller, package):
    with pytest.raises(package.RateLimit):
        caller.says("be busy")
