"""What a caller must notice of streams that break, and what it mustn't: every death at several points, with nobody behind and with somebody."""

import itertools
import time

import openai
import pytest
from test_chat import ASK
from upstream import DEATHS, TEXT, WORDS, by, chunk, dies, goes_on

SETTINGS = """
[breaker]
consecutive_failures = 100000
failure_ratio = 1.0
minimum_requests = 100000
[timeouts]
idle = "250ms"
"""
BEATING = {"server": 'heartbeat = "100ms"'}
POINTS = [1, 2, 9, len(WORDS) - 1, len(WORDS)]
WAYS = ["prefill", "prefix", "vllm", "quote", "splice"]


def test_with_nobody_behind_it_a_broken_stream_raises_wherever_and_however_it_breaks(open_door, upstream):
    client = open_door("first", extra=SETTINGS).client(max_retries=0)
    for words, death in itertools.product(POINTS, DEATHS):
        upstream.plays("first", dies(words, DEATHS[death]))
        said, finishes = [], []
        with pytest.raises(openai.APIError) as caught:
            hear(client, said, finishes)
        assert ("".join(said), finishes) == ("".join(WORDS[:words]), []), f"{death} after {words}"
        assert "first" in caught.value.message


@pytest.mark.parametrize("way", WAYS)
def test_with_somebody_behind_it_the_answer_is_whole_wherever_and_however_it_breaks(open_door, upstream, way):
    client = open_door("first", "second", extra=SETTINGS, rows={"second": f'continuation = "{way}"'}).client(max_retries=0)
    upstream.plays("second", goes_on(way))
    for words, death in itertools.product(POINTS, DEATHS):
        upstream.plays("first", dies(words, DEATHS[death]))
        said, finishes = [], []
        ids = hear(client, said, finishes)
        assert ("".join(said).rstrip(), finishes, ids) == (TEXT, ["stop"], {"chatcmpl-first"}), f"{death} after {words}"


def test_the_stream_helper_has_one_whole_completion(open_door, upstream):
    upstream.plays("first", dies(9, DEATHS["reset"]))
    upstream.plays("second", goes_on("prefill"))
    door = open_door("first", "second", extra=SETTINGS, rows={"second": 'continuation = "prefill"'})
    with door.client().chat.completions.stream(**ASK) as stream:
        final = stream.get_final_completion()
    assert (final.id, final.choices[0].finish_reason, final.choices[0].message.content.rstrip()) == ("chatcmpl-first", "stop", TEXT)


def test_comments_of_the_gateways_break_no_stream_whose_events_have_an_id(open_door, upstream):
    def numbered(stage, body):
        stage.begin_stream()
        for number, word in enumerate(WORDS[:3]):
            stage.event(by("first", chunk(body, {"content": word})), number)
            time.sleep(0.22)
        stage.close_connection = True

    upstream.plays("first", numbered)
    upstream.plays("second", goes_on("prefill"))
    door = open_door("first", "second", extra=SETTINGS, rows=BEATING | {"second": 'continuation = "prefill"'})
    said, finishes = [], []
    hear(door.client(max_retries=0), said, finishes)
    assert ("".join(said).rstrip(), finishes) == (TEXT, ["stop"])


def hear(client, said, finishes):
    """Reads a stream as the SDK hands it out; returns the ids of its events."""
    ids = set()
    for event in client.chat.completions.create(**ASK, stream=True):
        ids.add(event.id)
        for choice in event.choices:
            said.append(choice.delta.content or "")
            finishes += [choice.finish_reason] if choice.finish_reason else []
    return ids
