"""What the gateway sends, byte for byte as it comes and not as an SDK was kind enough to read it: for holding it to the vendors' own
models, strictly."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass


@dataclass
class Answer:
    status: int
    text: str

    @property
    def data(self):
        """The data of a stream's events."""
        return [line.removeprefix("data: ") for line in self.text.splitlines() if line.startswith("data: ")]


def post(stage, path, body, key=None):
    """Asks with this body; every status is an answer."""
    bearer = {"authorization": f"Bearer {key or stage.key}"}
    return ask(urllib.request.Request(stage.url + path, json.dumps(body).encode(), {"content-type": "application/json"} | bearer))


def get(stage, path, key=None):
    return ask(urllib.request.Request(stage.url + path, headers={"authorization": f"Bearer {key or stage.key}"}))


def ask(request):
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return Answer(answer.status, answer.read().decode())
    except urllib.error.HTTPError as refused:
        with refused:
            return Answer(refused.code, refused.read().decode())
