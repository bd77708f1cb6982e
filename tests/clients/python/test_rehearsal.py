"""What a newcomer sees: the gateway with no key at all, and `stagedoor sim` as an upstream of another gateway."""

import json

from gateway import Gateway, free_port
from test_chat import ASK

ROUTED = ["claude-haiku", "claude-sonnet", "deepseek-chat", "deepseek-reasoner", "gemini-flash", "gpt-4o", "gpt-4o-mini"]


def test_without_any_key_every_listed_model_is_rehearsed(rehearsing):
    client = rehearsing.client(api_key="anything")
    assert set(ROUTED) <= {model.id for model in client.models.list()}
    for model in ROUTED:
        raw = client.chat.completions.with_raw_response.create(**ASK | {"model": model})
        assert raw.headers["x-stagedoor-provider"] == "rehearsal"
        assert raw.parse().choices[0].message.content


def test_a_rehearsed_stream_is_whole(rehearsing):
    with rehearsing.client(api_key="anything").chat.completions.stream(**ASK | {"model": "gpt-4o"}) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content and final.choices[0].finish_reason == "stop"


def test_a_rehearsing_gateway_says_so_and_is_ready(rehearsing):
    health = json.loads(rehearsing.get("/health"))
    assert health["status"] == "ok" and "rehearsal" in health["providers"]
    rehearsing.get("/health/ready")
    assert "rehears" in rehearsing.log.read_text().lower()


def test_sim_is_an_upstream_like_any_other(start, sim):
    base, port = sim(), free_port()
    text = f"""
[server]
port = {port}
[providers.stand-in]
dialect = "openai"
base_url = "{base}"
keys = []
[models.chat]
targets = [{{ provider = "stand-in", model = "gpt-4o" }}]
"""

    def make(folder):
        file = folder / "stagedoor.toml"
        file.write_text(text)
        return Gateway(folder, port, "--settings", str(file))

    client = start(make).client(api_key="anything")
    raw = client.chat.completions.with_raw_response.create(**ASK)
    assert raw.parse().choices[0].message.content and raw.headers["x-stagedoor-provider"] == "stand-in"
    with client.chat.completions.stream(**ASK) as stream:
        assert stream.get_final_completion().choices[0].finish_reason == "stop"
