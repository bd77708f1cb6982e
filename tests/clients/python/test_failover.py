"""What a caller doesn't notice: a target that is dead, ill or lying. And what it must notice: a stream that was cut."""

import json

import openai
import pytest
from test_chat import ASK
from upstream import TEXT, WORDS, cut_after, refuses, says

ILL = {
    "an error": refuses(503, "down"),
    "a wrong key": refuses(401, "bad key", code="invalid_api_key"),
    "a rate limit": refuses(429, "slow down", retry_after="30"),
    "a missing model": refuses(404, "The model does not exist", code="model_not_found"),
    "a page": says("text/html", b"<html>busy</html>"),
    "half a document": says("application/json", b'{"id":"x","choices":['),
    "an error in a 200": says("application/json", b'{"error":{"message":"overloaded","type":"server_error","code":null}}'),
    "an empty stream": says("text/event-stream", b""),
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_dead_first_target_is_a_plain_success(open_door, stream):
    door = open_door("dead", "second", extra="[retry]\nsame_target = 0\n")
    raw = door.client().chat.completions.with_raw_response.create(**ASK, stream=stream)
    assert words_of(raw.parse(), stream) == TEXT
    assert raw.headers["x-stagedoor-provider"] == "second"
    assert raw.headers["x-stagedoor-attempts"] == "2"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("illness", ILL)
def test_an_ill_first_target_is_a_plain_success(open_door, upstream, illness, stream):
    upstream.plays("first", ILL[illness])
    raw = open_door("first", "second").client().chat.completions.with_raw_response.create(**ASK, stream=stream)
    assert words_of(raw.parse(), stream) == TEXT
    assert raw.headers["x-stagedoor-provider"] == "second"


def test_a_failover_model_serves_when_no_target_of_the_model_can(open_door):
    door = open_door("dead", extra='[models.main]\ntargets = [{ provider = "dead", model = "m" }]\nfailover = ["whisper"]\n')
    raw = door.client().chat.completions.with_raw_response.create(**ASK | {"model": "main"})
    assert raw.parse().model == "quiet-model" and raw.headers["x-stagedoor-provider"] == "quiet"


def test_an_ill_target_is_left_alone_after_a_few_calls(open_door, upstream):
    upstream.plays("first", refuses(503, "down"))
    door = open_door("first", "second")
    client = door.client(max_retries=0)
    for _ in range(20):
        assert client.chat.completions.create(**ASK).choices[0].message.content == TEXT
    assert upstream.count("first") <= 6
    assert json.loads(door.get("/health"))["providers"]["first"]["breaker"] == "open"


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_stream_cut_after_ten_words_raises_and_never_ends_well(open_door, upstream, how):
    upstream.plays("first", cut_after(10, how))
    words = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in open_door("first").client().chat.completions.create(**ASK, stream=True):
            words.append(chunk.choices[0].delta.content)
            assert chunk.choices[0].finish_reason is None, "a made-up finish reason"
    assert [word for word in words if word] == WORDS[:10]
    assert "first" in caught.value.message


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_the_stream_helper_raises_too(open_door, upstream, how):
    upstream.plays("first", cut_after(10, how))
    with pytest.raises(openai.APIError), open_door("first").client().chat.completions.stream(**ASK) as stream:
        stream.get_final_completion()


def test_a_stream_cut_before_its_first_word_is_served_by_the_next(open_door, upstream):
    upstream.plays("first", cut_after(0, "fin"))
    raw = open_door("first", "second").client().chat.completions.with_raw_response.create(**ASK, stream=True)
    assert words_of(raw.parse(), True) == TEXT
    assert raw.headers["x-stagedoor-provider"] == "second"


def words_of(answer, stream):
    if not stream:
        return answer.choices[0].message.content
    return "".join(chunk.choices[0].delta.content or "" for chunk in answer)
