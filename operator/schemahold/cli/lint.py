"""``schemahold lint``: what the pod will say about SQL files, said before they leave the laptop.

No database is asked: every table is taken for large, and a server whose version is not told for the oldest.  Exit code 0:
nothing at or above ``--fail-on``; 1: findings; 2: something cannot be judged.
"""

from __future__ import annotations

import argparse
import codecs
import collections
import dataclasses
import json
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from schemahold.cli import advice
from schemahold.core.sql import judge, names, shape, split
from schemahold.core.sql.model import Finding, Name, Phase, Severity, SourceError, Statement, Surroundings, refusal

OLDEST = 13
CHUNK = 1 << 18


@dataclasses.dataclass(frozen=True)
class File:
    """``name``: with the path as it is shown, which is what findings carry."""

    name: Name
    path: pathlib.Path

    def statements(self) -> Iterator[Statement]:
        """Streamed.  SourceError when it cannot be read."""
        return split.statements(self._text(), file=self.name.name)

    def _text(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
        try:
            with self.path.open("rb") as file:
                while data := file.read(CHUNK):
                    yield decoder.decode(data)
            yield decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            text = f"byte 0x{error.object[error.start]:02x} is no UTF-8: save the file as UTF-8"
            raise refusal(text, file=self.name.name) from None
        except OSError as error:
            raise refusal(f"cannot be read: {error.strerror}", file=self.name.name) from None


@dataclasses.dataclass
class Report:
    """What was found in how many files, and what could not be judged."""

    files: int = 0
    findings: list[Finding] = dataclasses.field(default_factory=list)
    refused: list[SourceError] = dataclasses.field(default_factory=list)

    def count(self, kind: str) -> int:
        return sum(self.kind(finding) == kind for finding in self.findings)

    @staticmethod
    def kind(finding: Finding) -> str:
        """``error``, ``warning``, or ``allowed`` for what an override has lifted."""
        return "allowed" if finding.allowed else str(finding.severity)

    def code(self, fail_on: Severity) -> int:
        if self.refused:
            return 2
        return 1 if self.count("error") or (fail_on is Severity.WARNING and self.count("warning")) else 0

    def summary(self) -> str:
        counted = [_counted(self.files, "file"), _counted(self.count("error"), "error")]
        counted.append(_counted(self.count("warning"), "warning"))
        if allowed := self.count("allowed"):
            counted.append(f"{allowed} allowed")
        return ", ".join(counted)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# --- the command ------------------------------------------------------------------------------------------------------


def register(commands: Any) -> None:
    """Add the command to argparse's."""
    parser: argparse.ArgumentParser = commands.add_parser("lint", help="judge SQL migration files", description=__doc__)
    parser.add_argument("paths", nargs="+", metavar="PATH", type=pathlib.Path, help="a .sql file, or a directory of them")
    parser.add_argument("--format", choices=sorted(FORMATS), default="text")
    parser.add_argument(
        "--pg-version", type=server_version, default=0, metavar="VERSION", help="the server's: 16, or 160004"
    )
    parser.add_argument("--fail-on", type=Severity, choices=list(Severity), default=Severity.ERROR, help="default: error")
    parser.add_argument("--no-advice", action="store_true", help="without squawk's opinion")
    parser.set_defaults(run=run)


def server_version(text: str) -> int:
    """``16``, ``16.4`` or ``160004`` as ``server_version_num``; argparse's error for what is none, or too old."""
    found = re.fullmatch(r"(\d{2})(?:\.(\d{1,3}))?|(\d{6})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}' is no version of Postgres: write 16, 16.4 or 160004")
    version = int(found[3]) if found[3] else int(found[1]) * 10_000 + int(found[2] or 0)
    if version < OLDEST * 10_000:
        raise argparse.ArgumentTypeError(f"'{text}' is older than {OLDEST}, the first version that schemahold works with")
    return version


def run(given: argparse.Namespace) -> int:
    report = lint(given.paths, pg_version=given.pg_version, with_advice=not given.no_advice)
    sys.stdout.write(FORMATS[given.format](report))
    return report.code(given.fail_on)


def lint(paths: Sequence[pathlib.Path], *, pg_version: int = 0, with_advice: bool = True) -> Report:
    """Everything that is to be said about ``paths``."""
    report = Report()
    groups = [files for path in paths if (files := _collect(path, report))]
    report.files = sum(map(len, groups))
    for files in groups:
        if _can_be_run(files, pg_version, report):
            report.findings += _judge(files, Surroundings(server_version=pg_version))
    if with_advice and groups:
        shown = {file.name.name: file.path for files in groups for file in files}
        report.findings += advice.ask(shown, pg_version=pg_version, say=complain)
    order = {file.name.name: number for number, file in enumerate(file for files in groups for file in files)}
    report.findings.sort(key=lambda finding: (order[finding.file], finding.line))
    return report


def complain(line: str) -> None:
    sys.stderr.write(line + "\n")


def _collect(path: pathlib.Path, report: Report) -> list[File]:
    """The files that are judged together: a directory's in their order, or a single one."""
    try:
        if path.is_dir():
            arranged = names.arrange(sorted(entry.name for entry in path.iterdir() if entry.is_file()))
            if not arranged:
                raise refusal("there are no .sql files in this directory", file=str(path))
            return [File(dataclasses.replace(name, name=str(path / name.name)), path / name.name) for name in arranged]
        if not path.is_file():
            raise refusal("there is no such file or directory", file=str(path))
    except SourceError as error:
        report.refused.append(error)
        return []
    except OSError as error:
        report.refused.append(refusal(f"cannot be read: {error.strerror}", file=str(path)))
        return []
    phase = Phase.CONTRACT if path.name.endswith(".contract.sql") else Phase.EXPAND
    return [File(Name(key=(), phase=phase, name=str(path)), path)]


def _can_be_run(files: Sequence[File], pg_version: int, report: Report) -> bool:
    """Whether none of them has what a migration file must not have; all that have are named."""
    before = len(report.refused)
    for file in files:
        try:
            shape.shape(file.statements(), file=file.name.name, server_version=pg_version)
        except SourceError as error:
            report.refused.append(error)
    return len(report.refused) == before


def _judge(files: Sequence[File], surroundings: Surroundings) -> list[Finding]:
    """Both phases: the files of the second find those of the first applied."""
    expand = [file for file in files if file.name.phase is Phase.EXPAND]
    contract = [file for file in files if file.name.phase is Phase.CONTRACT]
    found: list[Finding] = []
    for phase, chosen in ((Phase.EXPAND, expand), (Phase.CONTRACT, [*expand, *contract] if contract else [])):
        read = [(file.name, file.statements()) for file in chosen]
        found += judge.judge(read, phase=phase, surroundings=surroundings)
    return found


# --- formats ----------------------------------------------------------------------------------------------------------


def text(report: Report) -> str:
    """By file, for people."""
    lines = [error.message for error in report.refused]
    by_file = collections.defaultdict(list)
    for finding in report.findings:
        by_file[finding.file].append(finding)
    for file, findings in by_file.items():
        lines += ["", file] if lines else [file]
        for finding in findings:
            lines += _told(finding)
    if lines:
        lines.append("")
    return "\n".join([*lines, report.summary()]) + "\n"


def _told(finding: Finding) -> Iterator[str]:
    where = f"  {finding.line}: {Report.kind(finding)}: {finding.rule}"
    if finding.allowed:
        yield f"{where}: {finding.allowed}"
        return
    if finding.source != "schemahold":
        yield f"{where} ({finding.source})"
    else:
        yield f"{where} ({finding.cls}, {finding.lock} lock)" if finding.lock else f"{where} ({finding.cls})"
    yield f"      {_capital(finding.breaks)}"
    if finding.fix:
        yield f"      Instead: {finding.fix}"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def as_json(report: Report) -> str:
    """One object: counts, findings, and what was refused."""
    document = {
        "files": report.files,
        **{f"{kind}s" if kind != "allowed" else kind: report.count(kind) for kind in ("error", "warning", "allowed")},
        "findings": [_fields(finding) for finding in report.findings],
        "refused": [{"file": error.file, "line": error.line, "message": error.message} for error in report.refused],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _fields(finding: Finding) -> dict[str, Any]:
    fields = dataclasses.asdict(finding)
    return {"class" if name == "cls" else name: value for name, value in fields.items()}


def github(report: Report) -> str:
    """Workflow commands, which GitHub shows beside the lines of a pull request."""
    lines = [_command("error", error.file, error.line, "cannot be judged", error.message) for error in report.refused]
    for finding in report.findings:
        said = f"allowed: {finding.allowed}" if finding.allowed else _capital(finding.breaks)
        if finding.fix and not finding.allowed:
            said += f" Instead: {finding.fix}"
        level = "notice" if finding.allowed else str(finding.severity)
        lines.append(_command(level, finding.file, finding.line, finding.rule, said))
    return "\n".join([*lines, report.summary()]) + "\n"


def _command(level: str, file: str, line: int, title: str, message: str) -> str:
    properties = {"file": file, "line": str(line) if line else "", "title": title}
    given = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
    return f"::{level} {given}::{_message(message)}"


def _message(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _message(value).replace(":", "%3A").replace(",", "%2C")


FORMATS: dict[str, Callable[[Report], str]] = {"text": text, "json": as_json, "github": github}
