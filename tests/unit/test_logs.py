"""Log lines: one JSON object each, and nothing secret in them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import pytest

from schemahold.controller import logs

SECRET = "postgres://app:hunter2@db/shop"


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What has gone to stderr; the root logger is as before afterwards."""
    root, kept = logging.getLogger(), list(logging.getLogger().handlers)
    level = root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = kept
    root.setLevel(level)


def test_json(written: Callable[[], str]) -> None:
    logs.configure("json")
    logging.getLogger("schemahold.x").info("größer: %s\nnext", 3, extra={"namespace": "ns", "migration": "shop", "other": 1})
    [line] = written().splitlines()
    fields = json.loads(line)
    assert {**fields, "time": ""} == {
        "time": "", "level": "info", "logger": "schemahold.x", "message": "größer: 3\nnext", "namespace": "ns",
        "migration": "shop",
    }  # fmt: skip


@pytest.mark.parametrize("log_format", ["json", "plain"])
def test_secrets_in_messages_arguments_and_exceptions(written: Callable[[], str], log_format: str) -> None:
    logs.configure(log_format)
    log = logging.getLogger("schemahold.x")
    log.info("plain %s", SECRET)
    log.info(f"in the text: {SECRET}")
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        log.exception("a fault: %s", error)
        log.warning("once more", exc_info=error)
    text = written()
    assert "hunter2" not in text
    assert text.count("***@db/shop") >= 5 and "ValueError" in text


def test_others_speak_only_of_what_went_wrong(written: Callable[[], str]) -> None:
    logs.configure("json")
    for name in ("kopf.objects", "aiohttp.access", "kubernetes.client"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("trouble of %s", name)
    text = written()
    assert "chatter" not in text and text.count("trouble") == 3
