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
    report = pod.Report(reason=reason, message='ünïcode "quotes"\nlines', row=7, holder="pid 3", backends=2)
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


def test_a_fault_of_ours_is_told_to_the_gate_while_it_waits(tmp_path, monkeypatch, capsys) -> None:
    from schemahold.runner import __main__ as entry
    from schemahold.runner import lock, messages

    monkeypatch.setenv(pod.ENV_ASK, ASK.to_json())
    monkeypatch.setenv(pod.ENV_POD_UID, "u")
    monkeypatch.setenv("SCHEMAHOLD_SHARED", str(tmp_path))
    monkeypatch.setenv("SCHEMAHOLD_TERMINATION_LOG", str(tmp_path / "termination"))

    def fault(_env: object) -> int:
        raise RuntimeError("password=Hunter2")

    monkeypatch.setattr(lock, "run", fault)
    for held in (False, True):
        if held:
            (tmp_path / messages.STOPPED).unlink()
            (tmp_path / messages.HELD).touch()
        assert entry.main(["lock"]) == 1
        report = pod.Report.from_json((tmp_path / "termination").read_text())
        assert report is not None
        assert (report.reason, report.message) == (pod.Reason.RUNNER_ERROR, "RuntimeError: password=***")
        # After the gate has passed there is no one to tell: the kubelet starts lock again, and it goes on.
        assert (tmp_path / messages.STOPPED).exists() == (not held)
    assert "Hunter2" not in capsys.readouterr().out


def test_what_is_missing_in_the_environment_is_named(tmp_path, monkeypatch) -> None:
    from schemahold.runner import __main__ as entry

    monkeypatch.delenv(pod.ENV_ASK, raising=False)
    monkeypatch.setenv("SCHEMAHOLD_TERMINATION_LOG", str(tmp_path / "termination"))
    assert entry.main(["gate"]) == 1
    report = pod.Report.from_json((tmp_path / "termination").read_text())
    assert report is not None
    assert report.message == f"variable {pod.ENV_ASK} is missing"
