"""A conversation with a real model through the gateway, during which the first of its two servers is killed and comes back.

Prints who served each call. Exits with 1 if a single call failed, or if the wrong server answered.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
from gateway import Gateway, Program, free_port

CALLS, KILLED_IN = 40, 20  # the call in whose middle the first server dies is a whole one: a stream under way would be cut
QUESTIONS = ["Name three colours.", "Say hello in French.", "What is the capital of Italy?", "Count to five."]


class LlamaServer(Program):
    """llama-server with one thread and one slot; more threads than free cores make it ten times slower."""

    def __init__(self, folder, name, port):
        self.log = folder / f"{name}.log"
        model, server = os.environ["MODEL_FILE"], os.environ["LLAMA_SERVER"]
        flags = f"--host 127.0.0.1 --port {port} -t 1 -tb 1 -c 2048 -np 1 --cache-ram 0 --alias smollm2-135m --offline"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([server, "-m", model, *flags.split()], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait_until(f"http://127.0.0.1:{port}/health")

    def kill(self):
        self.process.kill()
        self.process.wait()


def main():
    with contextlib.ExitStack() as running:
        folder = pathlib.Path(running.enter_context(tempfile.TemporaryDirectory()))
        ports = {"first": free_port(), "second": free_port()}
        servers = {name: LlamaServer(folder, name, port) for name, port in ports.items()}
        running.callback(lambda: [server.kill() for server in servers.values()])
        gateway = start_gateway(folder, ports)
        running.callback(gateway.stop)
        client = gateway.client(max_retries=0)

        print("a whole answer, then a streamed one:")
        served = [
            ask(client, 0, "Name three colours.", stream=False),
            ask(client, 0, "Tell me a story about a door.", stream=True, tokens=48, aloud=True),
        ]
        assert served == ["first", "first"], served

        print(f"\n{CALLS} calls in a row; the first server is killed in the middle of call {KILLED_IN}:")
        served = [one_of_many(client, number, servers["first"]) for number in range(1, CALLS + 1)]
        assert served == ["first"] * (KILLED_IN - 1) + ["second"] * (CALLS - KILLED_IN + 1), served
        tell_health(gateway)

        print("\nthe first server is started again:")
        servers["first"] = LlamaServer(folder, "first", ports["first"])
        comes_back(client)
        tell_health(gateway)
        print(f"\n{CALLS} calls, {CALLS} answers, 0 failed")


def start_gateway(folder, ports):
    port = free_port()
    providers = "".join(
        f'[providers.{name}]\ndialect = "openai"\nbase_url = "http://127.0.0.1:{at}/v1"\nkeys = []\n' for name, at in ports.items()
    )
    file = folder / "stagedoor.toml"
    file.write_text(
        f"""
[server]
port = {port}
[breaker]
open_for = "2s"
ramp = "1s"
{providers}
[models.smol]
strategy = "ordered"
targets = [{{ provider = "first", model = "smollm2-135m" }}]
failover = ["smol-too"]
[models.smol-too]
targets = [{{ provider = "second", model = "smollm2-135m" }}]
"""
    )
    return Gateway(folder, port, "--settings", str(file))


def one_of_many(client, number, victim):
    if number == KILLED_IN:
        threading.Timer(0.15, victim.kill).start()
        return ask(client, number, "Count from one to forty.", stream=False, tokens=64)
    return ask(client, number, QUESTIONS[number % len(QUESTIONS)], stream=number % 2 == 1)


def ask(client, number, question, stream, tokens=16, aloud=False):
    """Asks, prints one line about the answer, and returns who served it."""
    began = time.monotonic()
    raw = client.chat.completions.with_raw_response.create(
        model="smol", messages=[{"role": "user", "content": question}], stream=stream, max_tokens=tokens, temperature=0
    )
    text, finish = read(raw.parse(), stream, aloud)
    assert text and finish in ("stop", "length"), f"call {number}: {text!r}, finish reason {finish}"
    provider, attempts = raw.headers["x-stagedoor-provider"], raw.headers["x-stagedoor-attempts"]
    way = "streamed" if stream else "whole"
    shown = textwrap.shorten(json.dumps(text, ensure_ascii=False), 60, placeholder=" ...")
    print(f"{number:4} {way:8} {provider:6} attempts {attempts} {time.monotonic() - began:5.2f} s  {shown}", flush=True)
    return provider


def read(answer, stream, aloud):
    if not stream:
        return answer.choices[0].message.content, answer.choices[0].finish_reason
    text, finish = "", None
    for chunk in answer:
        if not chunk.choices:
            continue
        word = chunk.choices[0].delta.content or ""
        text, finish = text + word, chunk.choices[0].finish_reason or finish
        if aloud:
            print(word, end="|", flush=True)
    if aloud:
        print()
    return text, finish


def comes_back(client):
    """Asks on until the first server has been let in again; the open period is at most 20 s."""
    for number in range(1, 200):
        if ask(client, CALLS + number, "Say hello.", stream=False, tokens=4) == "first":
            return
        time.sleep(0.5)
    raise AssertionError("the first server was never asked again")


def tell_health(gateway):
    for name, provider in json.loads(gateway.get("/health"))["providers"].items():
        print(f"     /health: {name}: {provider['status']}, breaker {provider['breaker']}, {provider['reason'] or 'no reason'}")


main()
