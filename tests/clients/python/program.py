"""One `stagedoor` process: the real binary, in a folder and an environment of its own. Nothing but the standard library, so that
suites of other languages can start it too."""

import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
BINARY = os.environ.get("STAGEDOOR_BIN") or str(REPOSITORY / "target/debug/stagedoor")


class Program:
    """One `stagedoor` process with its log, in a folder of its own and an environment without anybody's keys."""

    def __init__(self, folder, *args, **env):
        self.folder = folder
        self.log = folder / f"{args[0]}.log"
        clean = {name: os.environ[name] for name in ("PATH", "HOME", "RUST_BACKTRACE") if name in os.environ}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([BINARY, *args], cwd=folder, env=clean | env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_until(self, url):
        """Waits until the address answers 200; a process that ends meanwhile shows its log."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"stagedoor ended at its start:\n{self.log.read_text()}"
            try:
                return urllib.request.urlopen(url, timeout=2).close()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.02)
        raise AssertionError(f"{url} didn't answer in 20 s:\n{self.log.read_text()}")

    def stop(self):
        """Asks for a clean stop and holds it to that."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"SIGTERM didn't stop it in 10 s:\n{self.log.read_text()}") from None
        text = self.log.read_text()
        assert code == 0 and "panicked" not in text, f"exit code {code}:\n{text}"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
