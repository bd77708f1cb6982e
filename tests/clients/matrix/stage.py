"""The stage that every suite of the matrix plays on: one gateway in front of a target of each kind, and the vendors' mocks that nobody
here wrote, where they are installed.

A model is named by its kind of target ("anthropic"), with an ending for what that target does ("anthropic-busy"; see vendors.py).
As a program it prints where the gateway is, as one line of JSON, and stops everything when its input ends: for suites that
aren't Python's.
"""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "python")]

from program import Program, free_port  # noqa: E402
from upstream import Upstream  # noqa: E402
from vendors import ACTS  # noqa: E402

KEY = "sk-test-caller-key-for-the-client-suites"
KINDS = ["openai", "azure", "anthropic", "gemini"]
MODELS = {"openai": "gpt-4o", "azure": "deployed", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-3.5-flash"}
CACHE = HERE.parent / ".cache"
AIMOCK = os.environ.get("STAGEDOOR_AIMOCK") or CACHE / "node/node_modules/@copilotkit/aimock/dist/cli.js"
STUBLLM = os.environ.get("STAGEDOOR_STUBLLM") or CACHE / "python/bin/stubllm"
SECRET = "upstream-secret-of-the-operator"


class Stage:
    """The upstreams, the gateway before them, and what the gateway has counted."""

    def __init__(self, folder, mocks=False):
        self.key, self.running = KEY, contextlib.ExitStack()
        with contextlib.ExitStack() as begun:
            self.upstream = Upstream()
            begun.callback(self.upstream.close)
            rows = [self.simulated(kind, act) for kind in KINDS for act in ACTS[kind]]
            if mocks:
                rows += [provider(f"{name}-{kind}", kind, base) for name, base in foreign(begun).items() for kind in KINDS if kind != "azure"]
            port = free_port()
            self.url = f"http://127.0.0.1:{port}"
            file = folder / "stagedoor.toml"
            file.write_text(DOOR.format(port=port, key=KEY) + "".join(rows))
            gateway = Program(folder, "serve", "--settings", str(file))
            begun.callback(gateway.stop)
            gateway.wait_until(f"{self.url}/health/live")
            self.running = begun.pop_all()

    def simulated(self, kind, act):
        """The settings of a simulated target that plays this act."""
        name = f"{kind}-{act}".rstrip("-")
        self.upstream.plays(name, ACTS[kind][act])
        return provider(name, kind, self.upstream.url(name).removesuffix("/v1"))

    def close(self):
        self.running.close()

    def requests_answered(self):
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as answer:
            lines = [line for line in answer.read().decode().splitlines() if line.startswith("stagedoor_requests_total{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


# The breakers stay closed: what one test's target does mustn't decide another's.
DOOR = """
[server]
port = {port}
shutdown_grace = "2s"
[auth]
mode = "keys"
[[auth.keys]]
name = "suite"
key = {{ value = "{key}" }}
[retry]
same_target = 0
[breaker]
consecutive_failures = 100000
failure_ratio = 1.0
minimum_requests = 100000
"""


def provider(name, kind, base):
    """The settings of one target and of the model that it alone serves."""
    base += "/v1" if kind == "openai" else ""
    return f"""
[providers.{name}]
dialect = "{kind}"
base_url = "{base}"
keys = [{{ value = "{SECRET}" }}]
[models.{name}]
targets = [{{ provider = "{name}", model = "{MODELS[kind]}" }}]
"""


def foreign(begun):
    """Starts the mocks that nobody here wrote; where each is, by its name."""
    ports = {"aimock": free_port(), "stubllm": free_port()}
    commands = {
        "aimock": ["node", AIMOCK, "--port", ports["aimock"], "--fixtures", HERE / "aimock.json", "--log-level", "warn"],
        "stubllm": [STUBLLM, "serve", "--port", ports["stubllm"], "--fixture-file", HERE / "stubllm.yaml", "--log-level", "warning"],
    }
    for command in commands.values():
        process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=sys.stderr)
        begun.callback(process.wait)
        begun.callback(process.terminate)
    for port in ports.values():
        answers(port)
    return {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}


def answers(port, deadline=30):
    """Waits until somebody listens there."""

    end = time.monotonic() + deadline
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens on {port} after {deadline} s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Stage(pathlib.Path(folder))) as stage:
        print(json.dumps({"url": stage.url, "key": KEY, "kinds": KINDS}), flush=True)
        sys.stdin.read()
        os.close(1)
