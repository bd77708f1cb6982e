"""One stage for the whole run, each call against each kind of target, and a line for each call's result that the table is made from."""

import asyncio
import contextlib
import importlib.metadata
import json
import os
import pathlib

import pytest
from stage import KINDS, Stage

RESULTS = os.environ.get("STAGEDOOR_RESULTS")


@pytest.fixture(scope="session")
def stage(tmp_path_factory):
    with contextlib.closing(Stage(tmp_path_factory.mktemp("stage"))) as opened:
        yield opened


@pytest.fixture(scope="session")
def run():
    """One event loop for the whole run: some frameworks keep their connections beyond a call."""
    with asyncio.Runner() as runner:
        yield runner.run


def pytest_generate_tests(metafunc):
    """A test that takes a `target` runs against each kind; a module may name others in TARGETS."""
    if "target" in metafunc.fixturenames:
        metafunc.parametrize("target", getattr(metafunc.module, "TARGETS", KINDS))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    told = report.when == "call" or (report.when == "setup" and not report.passed)
    if RESULTS and told and "target" in getattr(item, "fixturenames", ()):
        package, name = getattr(item.callspec.params.get("package"), "CLIENT", None) or item.module.CLIENT
        row = {
            "client": f"{name} {importlib.metadata.version(package)}",
            "call": item.originalname.removeprefix("test_").replace("_", " "),
            "target": item.callspec.params["target"],
            "result": "not offered" if report.skipped else report.outcome,
            "note": report.longrepr[2].removeprefix("Skipped: ") if report.skipped else dict(item.user_properties).get("note"),
        }
        with pathlib.Path(RESULTS).open("a") as file:
            file.write(json.dumps(row) + "\n")
