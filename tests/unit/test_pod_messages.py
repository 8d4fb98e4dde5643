"""What operator and pod say to each other survives the way."""

from __future__ import annotations

import json

import pytest

from schemahold.api import pod

ASK = pod.Ask(ledger_name="ns/shop", phase="expand", version="1", inputs="i", attempt=1, job="shop-1")


def test_ask_round_trip() -> None:
    ask = pod.Ask(**{**json.loads(ASK.to_json()), "session_options": {"lock_timeout": "3s"}, "beat": 0.5})
    assert pod.Ask.from_json(ask.to_json()) == ask


@pytest.mark.parametrize("reason", list(pod.Reason))
def test_report_round_trip(reason: pod.Reason) -> None:
    report = pod.Report(reason=reason, message="ünïcode \"quotes\"\nlines", row=7, holder="pid 3", backends=2)
    assert pod.Report.from_json(report.to_json()) == report


def test_zero_is_a_value() -> None:
    # 0 == False in Python: an exit code of 0 must not be dropped as if it were empty.
    report = pod.Report(reason=pod.Reason.SUCCEEDED, row=0, exit_code=0, backends=0, lock_wait=0.0)
    assert pod.Report.from_json(report.to_json()) == report


def test_empty_fields_are_left_out() -> None:
    assert json.loads(pod.Report(reason=pod.Reason.FAILED).to_json()) == {"reason": "Failed"}


@pytest.mark.parametrize("text", ["x", "ü", "\n", '"', "\\", "\x01", "😀"])
@pytest.mark.parametrize("length", [3000, 4000, 4096, 5000, 50_000])
def test_a_report_fits_a_termination_message(text: str, length: int) -> None:
    report = pod.Report(reason=pod.Reason.ALREADY_FAILED, message=text * length, row=7, row_inputs="i" * 64)
    sent = report.to_json()
    assert len(sent.encode()) <= 4096
    read = pod.Report.from_json(sent)
    assert read is not None
    assert (read.reason, read.row, read.row_inputs) == (report.reason, 7, "i" * 64)


@pytest.mark.parametrize(
    "text", ["", "Error: no such table", "{}", "[]", "null", "7", '{"reason": "Nope"}', '{"reason": 1, "x": 2}']
)
def test_the_users_words_are_no_report(text: str) -> None:
    assert pod.Report.from_json(text) is None


def test_a_report_with_fields_of_a_newer_runner_is_none_of_ours() -> None:
    assert pod.Report.from_json('{"reason": "Failed", "more": 1}') is None
