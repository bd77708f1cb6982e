"""What a caller sees when it can't be served: the SDK's own error classes, a message that helps, and no needless repeats."""

import time

import openai
import pytest
from gateway import NARROW_KEY
from test_chat import ASK
from upstream import TEXT, healthy, refuses, silent

BUSY = refuses(429, "slow down", code="rate_limit_exceeded", kind="rate_limit_error", retry_after="30")
ONE_CALL = "[retry]\nattempts = 1\n"


def test_a_wrong_key_is_an_authentication_error(open_door, upstream):
    with pytest.raises(openai.AuthenticationError) as caught:
        open_door("first").client(api_key="sk-not-a-key-of-this-gateway").chat.completions.create(**ASK)
    assert caught.value.code == "invalid_api_key" and caught.value.request_id
    assert upstream.count("first") == 0


def test_a_model_that_the_key_may_not_use_is_a_permission_error(open_door):
    client = open_door("first").client(api_key=NARROW_KEY)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(**ASK)
    assert caught.value.code == "model_not_allowed"
    assert [model.id for model in client.models.list()] == ["whisper"]
    assert client.chat.completions.create(**ASK | {"model": "whisper"}).choices[0].message.content == TEXT


@pytest.mark.parametrize("call", [lambda c: c.chat.completions.create(**ASK | {"model": "chta"}), lambda c: c.models.retrieve("chta")])
def test_an_unknown_model_is_not_found_and_the_nearest_is_named(client, call):
    with pytest.raises(openai.NotFoundError) as caught:
        call(client)
    assert caught.value.code == "model_not_found" and "chat" in caught.value.message.replace("chta", "")


def test_a_model_of_the_wrong_type_is_a_bad_request(client):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**ASK | {"model": 5})


def test_the_upstreams_own_bad_request_passes_as_it_is(open_door, upstream):
    upstream.plays("first", refuses(400, "temperature: at most 2", code="invalid_value", kind="invalid_request_error"))
    with pytest.raises(openai.BadRequestError) as caught:
        open_door("first", "second").client().chat.completions.create(**ASK, temperature=3)
    assert caught.value.code == "invalid_value" and "temperature: at most 2" in caught.value.message
    assert (upstream.count("first"), upstream.count("second")) == (1, 0)


def test_all_targets_rate_limited_is_a_rate_limit_error_that_says_how_long(open_door, upstream):
    upstream.plays("first", BUSY)
    upstream.plays("second", refuses(429, "slow down", code="rate_limit_exceeded", retry_after="60"))
    with pytest.raises(openai.RateLimitError) as caught:
        open_door("first", "second").client(max_retries=0).chat.completions.create(**ASK)
    assert caught.value.code == "upstream_rate_limited"
    assert 25 <= int(caught.value.response.headers["retry-after"]) <= 30
    assert caught.value.response.headers["x-should-retry"] == "true"


def test_the_sdk_waits_as_told_and_is_then_served(open_door, upstream):
    upstream.plays("first", refuses(429, retry_after="2"), healthy)
    door, began = open_door("first", extra=ONE_CALL), time.monotonic()
    assert door.client().chat.completions.create(**ASK).choices[0].message.content == TEXT
    assert 1.5 < time.monotonic() - began < 6
    assert upstream.count("first") == 2


def test_a_failure_of_every_target_is_told_once_and_not_repeated(open_door, upstream):
    upstream.plays("first", refuses(500, "secret-internal-text"))
    upstream.plays("second", refuses(503, "down"))
    door = open_door("first", "second")
    with pytest.raises(openai.InternalServerError) as caught:
        door.client().chat.completions.create(**ASK)
    assert caught.value.status_code == 502 and caught.value.code == "all_targets_failed"
    assert "first" in caught.value.message and "second" in caught.value.message
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert door.requests_answered() == 1, "the SDK repeated what the gateway had already retried"


def test_a_stream_that_never_begins_is_the_same_error(open_door, upstream):
    upstream.plays("first", refuses(500))
    door = open_door("first")
    with pytest.raises(openai.InternalServerError) as caught:
        door.client().chat.completions.create(**ASK, stream=True)
    assert caught.value.status_code == 502 and caught.value.request_id
    assert door.requests_answered() == 1


def test_a_silent_upstream_is_a_timeout_of_the_gateways(open_door, upstream):
    upstream.plays("first", silent(5))
    door = open_door("first", extra='[timeouts]\nfirst_byte = "400ms"\n')
    began = time.monotonic()
    with pytest.raises(openai.InternalServerError) as caught:
        door.client().chat.completions.create(**ASK)
    assert caught.value.status_code == 504 and caught.value.code == "upstream_timeout"
    assert time.monotonic() - began < 3 and door.requests_answered() == 1


@pytest.mark.parametrize("status", [401, 403])
def test_the_operators_key_trouble_never_reaches_the_caller(open_door, upstream, status):
    upstream.plays("first", refuses(status, "Incorrect key upstream-secret-of-first for org-42", code="invalid_api_key"))
    with pytest.raises(openai.InternalServerError) as caught:
        open_door("first").client().chat.completions.create(**ASK)
    assert "upstream-secret" not in caught.value.message and "org-42" not in caught.value.message


HOPELESS = {
    "a model that the only provider lacks": refuses(404, "The model does not exist", code="model_not_found"),
    "a key that was refused": refuses(401, "bad key", code="invalid_api_key"),
}


@pytest.mark.parametrize("why", HOPELESS)
def test_what_no_repeat_can_mend_is_not_repeated_the_second_time_either(open_door, upstream, why):
    upstream.plays("first", HOPELESS[why])
    door = open_door("first")
    for _ in range(2):
        with pytest.raises(openai.APIStatusError):
            door.client().chat.completions.create(**ASK)
    assert door.requests_answered() == 2
