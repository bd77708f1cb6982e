"""Google's SDK for Python before a target of each kind."""

import asyncio
import json

import pytest
from asks import ARGUMENTS, PLAY, QUESTION, RESULT, Play, Weather
from google import genai
from google.genai import errors, types
from letter import post
from upstream import TEXT, WORDS
from vendors import CUT_AFTER, REASON

CLIENT = ("google-genai", "google-genai (Python)")
WEATHER = {"name": "weather", "description": Weather.__doc__, "parameters_json_schema": Weather.model_json_schema()}
TOOLS = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[WEATHER])])


@pytest.fixture(params=["v1beta", "v1"], scope="module")
def models(stage, request):
    options = types.HttpOptions(base_url=stage.url, api_version=request.param, timeout=20_000)
    with genai.Client(api_key=stage.key, http_options=options) as client:
        yield client.models


@pytest.fixture(scope="module")
def client(stage):
    with genai.Client(api_key=stage.key, http_options=types.HttpOptions(base_url=stage.url, timeout=20_000)) as client:
        yield client


def test_a_whole_answer(models, target):
    config = types.GenerateContentConfig(system_instruction="Be brief.", temperature=0.5, max_output_tokens=200)
    answer = models.generate_content(model=target, contents=QUESTION, config=config)
    assert (answer.text, answer.candidates[0].finish_reason) == (TEXT, types.FinishReason.STOP)
    assert (answer.usage_metadata.prompt_token_count, answer.usage_metadata.total_token_count) == (7, 7 + len(WORDS))


def test_a_stream(models, target):
    chunks = list(models.generate_content_stream(model=target, contents=QUESTION))
    assert [chunk.text for chunk in chunks if chunk.text] == WORDS
    assert [c.candidates[0].finish_reason for c in chunks if c.candidates and c.candidates[0].finish_reason] == [types.FinishReason.STOP]
    assert chunks[-1].usage_metadata.total_token_count == 7 + len(WORDS)


def test_a_tool_and_its_result(client, target):
    answer = client.models.generate_content(model=target, contents=QUESTION, config=TOOLS)
    [call] = answer.function_calls
    assert (call.name, call.args) == ("weather", ARGUMENTS)
    result = types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": RESULT}))
    turns = [types.UserContent(QUESTION), answer.candidates[0].content, types.Content(role="user", parts=[result])]
    assert client.models.generate_content(model=target, contents=turns, config=TOOLS).text == TEXT


def test_a_streamed_tool_call(client, target):
    chunks = client.models.generate_content_stream(model=target, contents=QUESTION, config=TOOLS)
    [call] = [call for chunk in chunks for call in chunk.function_calls or []]
    assert (call.name, call.args) == ("weather", ARGUMENTS)


def test_structured_output(client, target):
    config = types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=Play.model_json_schema())
    assert Play.model_validate_json(client.models.generate_content(model=target, contents=QUESTION, config=config).text) == PLAY


def test_several_at_once_async(client, target):
    async def whole():
        return (await client.aio.models.generate_content(model=target, contents=QUESTION)).text

    async def streamed():
        return "".join([chunk.text or "" async for chunk in await client.aio.models.generate_content_stream(model=target, contents=QUESTION)])

    async def all_of_them():
        return await asyncio.gather(*(ask() for ask in [whole, streamed] * 5))

    assert asyncio.run(all_of_them()) == [TEXT] * 10


def test_counting_tokens(client, target):
    assert client.models.count_tokens(model=target, contents=QUESTION).total_tokens > 0


def test_what_the_target_refuses(client, target):
    with pytest.raises(errors.ClientError, match=REASON) as raised:
        client.models.generate_content(model=f"{target}-refuses", contents=QUESTION)
    assert (raised.value.code, raised.value.status) == (400, "INVALID_ARGUMENT")


def test_a_busy_target(client, target):
    with pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(model=f"{target}-busy", contents=QUESTION)
    assert (raised.value.code, raised.value.status) == (429, "RESOURCE_EXHAUSTED")


def test_a_target_that_fails(client, target):
    with pytest.raises(errors.ServerError) as raised:
        client.models.generate_content(model=f"{target}-ill", contents=QUESTION)
    assert raised.value.code == 502 and "secret" not in str(raised.value)


def test_a_stream_that_is_cut(client, target):
    words = []
    with pytest.raises(errors.APIError):
        for chunk in client.models.generate_content_stream(model=f"{target}-cut", contents=QUESTION):
            words += [chunk.text] if chunk.text else []
    assert words == WORDS[:CUT_AFTER]


# What each request of these asks for: words, a function's call, an answer by a schema.
SCHEMA = {"responseMimeType": "application/json", "responseJsonSchema": Play.model_json_schema()}
FUNCTION = {"name": "weather", "description": Weather.__doc__, "parametersJsonSchema": Weather.model_json_schema()}
WISHES = [{}, {"tools": [{"functionDeclarations": [FUNCTION]}]}, {"generationConfig": SCHEMA}]
BODY = {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}
# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 502: "UNAVAILABLE"}


def test_answers_to_the_letter(stage, target):
    for wish in WISHES:
        whole = post(stage, f"/v1beta/models/{target}:generateContent", BODY | wish)
        types.GenerateContentResponse.model_validate_json(whole.text, strict=True)
        for event in post(stage, f"/v1beta/models/{target}:streamGenerateContent?alt=sse", BODY | wish).data:
            types.GenerateContentResponse.model_validate_json(event, strict=True)
    types.CountTokensResponse.model_validate_json(post(stage, f"/v1beta/models/{target}:countTokens", BODY).text, strict=True)


def test_errors_to_the_letter(stage, target):
    for model, status in {f"{target}-refuses": 400, f"{target}-busy": 429, f"{target}-ill": 502, "nobody": 404}.items():
        for method in ("generateContent", "streamGenerateContent?alt=sse"):
            holds_an_error(post(stage, f"/v1beta/models/{model}:{method}", BODY), status)
    holds_an_error(post(stage, f"/v1beta/models/{target}:generateContent", BODY, key="sk-nobody-knows-this-key-here"), 401)


def holds_an_error(answer, status):
    error = json.loads(answer.text)
    error = (error[0] if isinstance(error, list) else error)["error"]
    assert (answer.status, error["code"], error["status"]) == (status, status, STATUS[status]), answer.text
    assert isinstance(error["message"], str)


def test_models_are_listed_and_found(client, target):
    assert f"models/{target}" in [model.name for model in client.models.list()]
    assert client.models.get(model=target).name == f"models/{target}"
