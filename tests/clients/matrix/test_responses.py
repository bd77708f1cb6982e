"""OpenAI's Responses, by OpenAI's SDK, before targets that speak something else, for which they are built over what those speak."""

import json

import openai
import pytest
from asks import ARGUMENTS, PLAY, QUESTION, RESULT, Play, Weather
from letter import post
from openai.lib._parsing._responses import type_to_text_format_param
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from upstream import TEXT, WORDS
from vendors import REASON

CLIENT = ("openai", "openai (Python), Responses")
TARGETS = ["openai", "anthropic", "gemini"]  # Azure's has Responses of its own, which pass as they are
EVENTS = TypeAdapter(ResponseStreamEvent)
SCHEMA = Weather.model_json_schema() | {"additionalProperties": False}
TOOL = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}


@pytest.fixture(scope="module")
def responses(stage):
    return openai.OpenAI(base_url=f"{stage.url}/v1", api_key=stage.key, timeout=20, max_retries=0).responses


def test_a_whole_answer(responses, target):
    response = responses.create(model=target, input=QUESTION, instructions="Be brief.")
    assert (response.output_text, response.status, response.usage.output_tokens) == (TEXT, "completed", len(WORDS))


def test_a_stream(responses, target):
    with responses.stream(model=target, input=QUESTION) as stream:
        words = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert (words, stream.get_final_response().output_text) == (WORDS, TEXT)


def test_a_tool_and_its_result(responses, target):
    response = responses.create(model=target, input=QUESTION, tools=[TOOL], tool_choice="required")
    [call] = [item for item in response.output if item.type == "function_call"]
    assert json.loads(call.arguments) == ARGUMENTS
    output = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
    turns = [{"role": "user", "content": QUESTION}, *response.output, output]
    assert responses.create(model=target, input=turns, tools=[TOOL]).output_text == TEXT


def test_structured_output(responses, target):
    assert responses.parse(model=target, input=QUESTION, text_format=Play).output_parsed == PLAY


def test_what_the_target_refuses(responses, target):
    with pytest.raises(openai.BadRequestError, match=REASON):
        responses.create(model=f"{target}-refuses", input=QUESTION)


def test_a_stream_that_is_cut(responses, target):
    with pytest.raises(openai.APIError):
        for event in responses.create(model=f"{target}-cut", input=QUESTION, stream=True):
            assert event.type != "response.completed"


def test_answers_to_the_letter(stage, target):
    for wish in ({}, {"tools": [TOOL], "tool_choice": "required"}, {"text": {"format": type_to_text_format_param(Play)}}):
        body = {"model": target, "input": QUESTION} | wish
        Response.model_validate_json(post(stage, "/v1/responses", body).text, strict=True)
        events = [EVENTS.validate_json(event, strict=True) for event in post(stage, "/v1/responses", body | {"stream": True}).data]
        assert events[-1].type == "response.completed"
