"""The gateway under test as a process: the real binary, on a free port, with a settings file made for the test."""

import urllib.request

from anthropic import Anthropic
from openai import AsyncOpenAI, OpenAI
from program import Program, free_port

KEY = "sk-test-caller-key-for-the-client-suites"
NARROW_KEY = "sk-test-caller-key-that-may-only-whisper"


class Gateway(Program):
    """`stagedoor serve`, and clients that point at it."""

    def __init__(self, folder, port, *args, **env):
        super().__init__(folder, "serve", *args, **env)
        self.url = f"http://127.0.0.1:{port}"
        self.wait_until(f"{self.url}/health/live")

    def client(self, **options):
        return OpenAI(base_url=f"{self.url}/v1", **({"api_key": KEY, "timeout": 20} | options))

    def async_client(self, **options):
        return AsyncOpenAI(base_url=f"{self.url}/v1", **({"api_key": KEY, "timeout": 20} | options))

    def anthropic(self, **options):
        return Anthropic(base_url=self.url, **({"api_key": KEY, "timeout": 20, "max_retries": 0} | options))

    def get(self, path):
        with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:
            return answer.read().decode()

    def requests_answered(self):
        """How many requests the gateway's own counter has seen, whatever their status."""
        lines = [line for line in self.get("/metrics").splitlines() if line.startswith("stagedoor_requests_total{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def settings(port, upstream, targets, extra="", rows=None):
    """A settings file: model "chat" over the named providers in order, "whisper" over one that is always well. "dead" is a closed
    port. `rows` are more settings of a provider's, by its name, or of the server's. Who is
    called "claude…" speaks Anthropic's dialect."""
    rows = rows or {}
    providers = "".join(
        f"""
[providers.{name}]
dialect = "{"anthropic" if name.startswith("claude") else "openai"}"
base_url = "{f"http://127.0.0.1:{free_port()}/v1" if name == "dead" else upstream.url(name)}"
keys = [{{ value = "upstream-secret-of-{name}" }}]
{rows.get(name, "")}
"""
        for name in [*targets, "quiet"]
    )
    chain = ", ".join(f'{{ provider = "{name}", model = "{name}-model" }}' for name in targets)
    return f"""
[server]
port = {port}
shutdown_grace = "2s"
{rows.get("server", "")}

[auth]
mode = "keys"
[[auth.keys]]
name = "suite"
key = {{ value = "{KEY}" }}
[[auth.keys]]
name = "narrow"
key = {{ value = "{NARROW_KEY}" }}
models = ["whisper"]
{providers}
[models.chat]
strategy = "ordered"
targets = [{chain}]
[models.whisper]
targets = [{{ provider = "quiet", model = "quiet-model" }}]
{extra}"""
