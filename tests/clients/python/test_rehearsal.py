"""What a newcomer sees: the gateway with no key at all, and `stagedoor sim`, the same stand-in behind a port of its own."""

import json

import openai
import pytest
from gateway import Gateway, free_port
from test_chat import ASK, WEATHER, Play

ROUTED = ["claude-haiku", "claude-sonnet", "deepseek-chat", "deepseek-reasoner", "gemini-flash", "gpt-4o", "gpt-4o-mini"]
REHEARSED = ASK | {"model": "gpt-4o"}


def test_without_any_key_every_listed_model_is_rehearsed(rehearsing):
    client = rehearsing.client(api_key="anything")
    assert set(ROUTED) <= {model.id for model in client.models.list()}
    for model in ROUTED:
        raw = client.chat.completions.with_raw_response.create(**ASK | {"model": model})
        assert raw.headers["x-stagedoor-provider"] == "rehearsal"
        assert raw.parse().choices[0].message.content


def test_a_rehearsed_answer_is_streamed_calls_tools_and_keeps_to_a_schema(rehearsing):
    completions = rehearsing.client(api_key="anything").chat.completions
    with completions.stream(**REHEARSED) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content and final.choices[0].finish_reason == "stop"
    with completions.stream(**REHEARSED, tools=[WEATHER], tool_choice="required") as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.parsed_arguments
    assert isinstance(completions.parse(**REHEARSED, response_format=Play).choices[0].message.parsed, Play)


def test_a_rehearsing_gateway_says_so_and_is_ready(rehearsing):
    health = json.loads(rehearsing.get("/health"))
    assert health["status"] == "ok" and "rehearsal" in health["providers"]
    rehearsing.get("/health/ready")
    assert "rehears" in rehearsing.log.read_text().lower()


def test_sim_is_an_upstream_that_fails_by_script_and_the_next_one_serves(start, sim):
    ill = sim("ill", 'text = "I am well again."\nfaults = [ { kind = "status", status = 500, count = 2 } ]')
    client = start(in_front_of(ill=ill, well=sim("well", 'text = "I stand in."'))).client(api_key="anything")
    answers = [client.chat.completions.create(**ASK).choices[0].message.content for _ in range(3)]
    assert answers == ["I stand in.", "I stand in.", "I am well again."]


@pytest.mark.parametrize("end", ["fin", "reset", "clean"])
def test_a_stream_that_sim_cuts_raises_however_it_ends(start, sim, end):
    faults = f'faults = [ {{ kind = "cut", events = 6, end = "{end}" }} ]'
    client = start(in_front_of(only=sim("only", faults))).client(api_key="anything")
    with pytest.raises(openai.APIError):
        for chunk in client.chat.completions.create(**ASK, stream=True):
            assert chunk.choices[0].finish_reason is None


def in_front_of(**upstreams):
    """Makes a gateway whose model "chat" is served by these base URLs in order, without any key."""
    port = free_port()
    providers = "".join(
        f'[providers.{name}]\ndialect = "openai"\nbase_url = "{url}"\nkeys = []\n[providers.{name}.timeouts]\nidle = "5s"\n'
        for name, url in upstreams.items()
    )
    rows = ", ".join(f'{{ provider = "{name}", model = "gpt-4o" }}' for name in upstreams)

    def make(folder):
        file = folder / "stagedoor.toml"
        chain = f'[models.chat]\nstrategy = "ordered"\ntargets = [{rows}]\n'
        file.write_text(f"[server]\nport = {port}\n[retry]\nsame_target = 0\n{providers}{chain}")
        return Gateway(folder, port, "--settings", str(file))

    return make
