"""What every test of the suite starts from: a scripted upstream, and a way to open a gateway in front of it."""

import contextlib

import pytest
from gateway import Gateway, Program, free_port, settings
from upstream import Upstream


@pytest.fixture
def upstream():
    server = Upstream()
    yield server
    server.close()


@pytest.fixture
def start(tmp_path):
    """Starts programs and stops them after the test, in reverse; a stop that isn't clean fails the test."""
    with contextlib.ExitStack() as running:

        def begin(make):
            program = make(tmp_path)
            running.callback(program.stop)
            return program

        yield begin


@pytest.fixture
def open_door(start, upstream):
    """`open_door("first", "second", extra="[retry]…")`: a gateway whose model "chat" is served by these providers in order."""

    def opened(*targets, extra="", rows=None):
        port = free_port()

        def make(folder):
            file = folder / "stagedoor.toml"
            file.write_text(settings(port, upstream, targets, extra, rows))
            return Gateway(folder, port, "--settings", str(file))

        return start(make)

    return opened


@pytest.fixture
def client(open_door):
    """The SDK in front of one well provider."""
    return open_door("first").client()


@pytest.fixture
def rehearsing(start):
    """A gateway as a newcomer first starts it: no settings file, no key of any provider."""
    port = free_port()
    return start(lambda folder: Gateway(folder, port, STAGEDOOR__SERVER__PORT=str(port)))


@pytest.fixture
def sim(start):
    """`sim(name, script)`: the stand-in that `stagedoor sim` puts behind a port, playing this script; returns its base URL."""

    def begin(name, script):
        port = free_port()

        def make(folder):
            (folder / name).mkdir()
            file = folder / name / "script.toml"
            file.write_text(script)
            return Program(folder / name, "sim", "--port", str(port), "--script", str(file))

        start(make).wait_until(f"http://127.0.0.1:{port}/__sim/stats")
        return f"http://127.0.0.1:{port}/v1"

    return begin
