"""``schemahold lint``: files in, words and an exit code out."""

from __future__ import annotations

import json
import pathlib
import stat
import subprocess
import sys

import pytest

from schemahold.cli import __main__ as command
from schemahold.cli import advice, lint, rules

GOOD = "ALTER TABLE orders ADD COLUMN note text;\n"
INDEX = "CREATE INDEX i ON orders (code);\n"
DROP = "ALTER TABLE orders DROP COLUMN note;\n"
VIEW = "CREATE OR REPLACE VIEW v AS SELECT 1;\n"


@pytest.fixture(autouse=True)
def here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(**files: str) -> None:
    """``migrations/<name>.sql``; ``__contract`` at the end of a name is the phase."""
    directory = pathlib.Path("migrations")
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / (name.lstrip("_").replace("__contract", ".contract") + ".sql")).write_text(text)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr; without squawk unless told."""
    given = ["lint", *arguments]
    if "--advice" in given:
        given.remove("--advice")
    else:
        given.append("--no-advice")
    code = command.main(given)
    said = capsys.readouterr()
    return code, said.out, said.err


# --- exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "arguments", "code", "summary"),
    [
        ({"_1_a": GOOD}, [], 0, "1 file, 0 errors, 0 warnings"),
        ({"_1_a": GOOD, "_2_b": INDEX + DROP, "_3_c": VIEW}, [], 1, "3 files, 2 errors, 1 warning"),
        ({"_1_a": VIEW}, [], 0, "1 file, 0 errors, 1 warning"),
        ({"_1_a": VIEW}, ["--fail-on", "warning"], 1, "1 file, 0 errors, 1 warning"),
        ({"_1_a": VIEW}, ["--fail-on", "error"], 0, "1 file, 0 errors, 1 warning"),
        ({"_1_a__contract": DROP}, [], 0, "1 file, 0 errors, 0 warnings"),
        ({"_1_a__contract": INDEX}, [], 1, "1 file, 1 error, 0 warnings"),
        ({"_1_a": f"-- schemahold:allow create-index: at night\n{INDEX}"}, [], 0, "1 file, 0 errors, 0 warnings, 1 allowed"),
        (
            {"_1_a": f"-- schemahold:allow create-index: at night\n{INDEX}"},
            ["--fail-on", "warning"],
            0,
            "1 file, 0 errors, 0 warnings, 1 allowed",
        ),
        ({"_1_a": f"-- schemahold:allow drop-table: no\n{GOOD}"}, [], 1, "1 file, 1 error, 0 warnings"),
        ({"_1_a": "CREATE TABEL x ();"}, [], 2, "1 file, 0 errors, 0 warnings"),
        ({"_1_a": "BEGIN; COMMIT; " + GOOD}, [], 2, "1 file, 0 errors, 0 warnings"),
        ({"_1_a": ""}, [], 0, "1 file, 0 errors, 0 warnings"),
    ],
)
def test_exit_codes(capsys, files: dict[str, str], arguments: list[str], code: int, summary: str) -> None:
    write(**files)
    got, out, _ = run(capsys, "migrations", *arguments)
    assert (got, out.splitlines()[-1]) == (code, summary)


@pytest.mark.parametrize(
    ("make", "path", "says"),
    [
        (lambda: None, "nowhere", "nowhere: there is no such file or directory"),
        (lambda: pathlib.Path("empty").mkdir(), "empty", "empty: there are no .sql files in this directory"),
        (lambda: write(_x=GOOD), "migrations", "x.sql"),
        (lambda: write(_1_a=GOOD, _1_b=GOOD), "migrations", "1_a.sql"),
        (
            lambda: pathlib.Path("a.sql").write_bytes(b"SELECT '\xff'"),
            "a.sql",
            "a.sql: byte 0xff is no UTF-8: save the file",
        ),
        (lambda: pathlib.Path("a.sql").write_text("\nCREATE TABEL x ();"), "a.sql", "a.sql:2: syntax error"),
    ],
)
def test_what_cannot_be_judged(capsys, make, path: str, says: str) -> None:
    make()
    code, out, _ = run(capsys, path)
    assert code == 2
    assert says in out


def test_all_that_cannot_be_judged_is_named(capsys) -> None:
    write(_1_a="CREATE TABEL x ();", _2_b=INDEX, _3_c="COPY x FROM STDIN;")
    code, out, _ = run(capsys, "migrations", "nowhere")
    assert code == 2
    assert "migrations/1_a.sql:1: " in out and "migrations/3_c.sql:1: " in out and "nowhere: " in out
    assert "create-index" not in out


# --- what is judged together ------------------------------------------------------------------------------------------


def test_a_directory_is_judged_in_its_order(capsys) -> None:
    write(
        _10_c="ALTER TABLE orders ALTER note SET NOT NULL;",
        _2_a="ALTER TABLE orders ADD CONSTRAINT c CHECK (note IS NOT NULL) NOT VALID;",
        _9_b="ALTER TABLE orders VALIDATE CONSTRAINT c;",
    )
    _, out, _ = run(capsys, "migrations")
    assert "new-constraint" in out and "set-not-null" not in out
    # On its own, nothing is known of the check.
    _, out, _ = run(capsys, "migrations/10_c.sql")
    assert "set-not-null-scan" in out


def test_expand_files_do_not_know_what_contract_files_do_later(capsys) -> None:
    check = "ALTER TABLE orders ADD CONSTRAINT c CHECK (note IS NOT NULL) NOT VALID; "
    valid = "ALTER TABLE orders VALIDATE CONSTRAINT c;"
    not_null = "ALTER TABLE orders ALTER note SET NOT NULL;"
    write(_1_a__contract=check, _2_b__contract=valid, _3_c=not_null)
    assert "migrations/3_c.sql" in run(capsys, "migrations")[1]
    pathlib.Path("migrations/3_c.sql").rename("migrations/3_c.contract.sql")
    assert run(capsys, "migrations")[0] == 0
    write(_1_a=check + "--", _2_b=valid)
    pathlib.Path("migrations/1_a.contract.sql").unlink()
    pathlib.Path("migrations/2_b.contract.sql").unlink()
    assert "3_c.contract.sql" not in run(capsys, "migrations")[1]


def test_single_files_may_have_any_name(capsys) -> None:
    pathlib.Path("x.contract.sql").write_text(DROP)
    pathlib.Path("x").write_text(DROP)
    assert run(capsys, "x.contract.sql")[0] == 0
    assert run(capsys, "x")[0] == 1
    code, out, _ = run(capsys, "x", "x.contract.sql")
    assert (code, out.splitlines()[-1]) == (1, "2 files, 1 error, 0 warnings")


def test_a_byte_order_mark_is_none_of_the_text(capsys) -> None:
    pathlib.Path("x.sql").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert run(capsys, "x.sql")[0] == 0


def test_files_of_another_kind_are_passed_over(capsys) -> None:
    write(_1_a=GOOD)
    pathlib.Path("migrations/README.md").write_text("no SQL")
    pathlib.Path("migrations/below.sql").mkdir()
    assert run(capsys, "migrations")[1] == "1 file, 0 errors, 0 warnings\n"


# --- options ----------------------------------------------------------------------------------------------------------

NEWER = "CREATE VIEW v WITH (security_invoker) AS SELECT 1;"


@pytest.mark.parametrize(
    ("version", "code"),
    [([], 1), (["--pg-version", "14"], 1), (["--pg-version", "15.2"], 0), (["--pg-version", "160004"], 0)],
)
def test_server_version(capsys, version: list[str], code: int) -> None:
    write(_1_a=NEWER)
    assert run(capsys, "migrations", *version)[0] == code


@pytest.mark.parametrize(("text", "number"), [("16", 160000), ("16.4", 160004), ("160004", 160004), ("13", 130000)])
def test_versions(text: str, number: int) -> None:
    assert lint.server_version(text) == number


@pytest.mark.parametrize("text", ["12", "12.9", "129999", "9.6", "sixteen", "16.", "1600", "-16", ""])
def test_versions_that_are_none(capsys, text: str) -> None:
    write(_1_a=GOOD)
    with pytest.raises(SystemExit) as caught:
        run(capsys, "migrations", f"--pg-version={text}")
    assert caught.value.code == 2
    assert f"'{text}'" in capsys.readouterr().err


# --- formats ----------------------------------------------------------------------------------------------------------


def test_text(capsys) -> None:
    write(
        _1_a=GOOD + INDEX,
        _2_b=f"{VIEW}-- schemahold:allow drop-column: never read\n{DROP}",
    )
    assert run(capsys, "migrations")[1] == (
        "migrations/1_a.sql\n"
        "  2: error: create-index (unsafe, SHARE lock)\n"
        "      Writes to 'orders' wait until the index is built.\n"
        "      Instead: CREATE INDEX CONCURRENTLY, in a file of its own. On a partitioned table: CREATE INDEX ON ONLY, then "
        "CONCURRENTLY on each partition, then ALTER INDEX … ATTACH PARTITION.\n"
        "\n"
        "migrations/2_b.sql\n"
        "  1: warning: replace-view (expand, ACCESS EXCLUSIVE lock)\n"
        "      Old code reads the new 'v' at once: only columns appended at its end leave it as it was.\n"
        "      Instead: append columns only; for anything else a view with a new name.\n"
        "  3: allowed: drop-column: never read\n"
        "\n"
        "2 files, 1 error, 1 warning, 1 allowed\n"
    )


def test_json(capsys) -> None:
    write(_1_a=INDEX)
    _, out, _ = run(capsys, "migrations", "nowhere", "--format", "json")
    document = json.loads(out)
    assert {name: document[name] for name in ("files", "errors", "warnings", "allowed")} == {
        "files": 1,
        "errors": 1,
        "warnings": 0,
        "allowed": 0,
    }
    (finding,) = document["findings"]
    assert finding | {"breaks": "", "fix": ""} == {
        "file": "migrations/1_a.sql",
        "line": 1,
        "statement": 1,
        "rule": "create-index",
        "severity": "error",
        "class": "unsafe",
        "lock": "SHARE",
        "breaks": "",
        "fix": "",
        "table": "orders",
        "allowed": "",
        "source": "schemahold",
    }
    (refused,) = document["refused"]
    assert refused == {"file": "nowhere", "line": 0, "message": "nowhere: there is no such file or directory"}


def test_github(capsys) -> None:
    write(_1_a=f"\n{DROP}{VIEW}-- schemahold:allow drop-column: 100% sure\n{DROP}")
    lines = run(capsys, "migrations", "nowhere", "--format", "github")[1].splitlines()
    assert lines[0] == "::error file=nowhere,title=cannot be judged::nowhere: there is no such file or directory"
    assert lines[1].startswith(
        "::error file=migrations/1_a.sql,line=2,title=drop-column::Old code that names 'orders.note' fails."
    )
    assert lines[2].startswith("::warning file=migrations/1_a.sql,line=3,title=replace-view::")
    assert lines[3] == "::notice file=migrations/1_a.sql,line=5,title=drop-column::allowed: 100%25 sure"
    assert lines[4] == "1 file, 1 error, 1 warning, 1 allowed"


def test_github_escapes(capsys) -> None:
    """What would end a property or the command, in a file's name and in what is said of a table."""
    path = pathlib.Path("a,b:c%.sql")
    path.write_text('DROP TABLE "x%0A\ny";')
    (line, _) = run(capsys, str(path), "--format", "github")[1].splitlines()
    assert line.startswith(
        "::error file=a%2Cb%3Ac%25.sql,line=1,title=drop-table::Old code that uses table 'x%250A%0Ay' fails."
    )


# --- squawk -----------------------------------------------------------------------------------------------------------

CHAR = "CREATE TABLE t (code char(3));\n"


def advised(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[tuple[str, int, str]]:
    out = run(capsys, "migrations", "--advice", "--format", "json", *arguments)[1]
    found = [each for each in json.loads(out)["findings"] if each["source"] == "squawk"]
    assert all(each["severity"] == "warning" for each in found)
    return [(each["file"], each["line"], each["rule"]) for each in found]


def test_advice_is_a_warning_with_its_line(capsys) -> None:
    write(_1_a=GOOD, _2_b=f"\n\n{CHAR}")
    assert advised(capsys) == [("migrations/2_b.sql", 3, "ban-char-field")]
    code, out, err = run(capsys, "migrations", "--advice", "--fail-on", "warning")
    assert (code, err) == (1, "")
    assert "  3: warning: ban-char-field (squawk)\n      Using `character`" in out


@pytest.mark.parametrize(
    "comment",
    [
        "-- squawk-ignore-file\n",
        "-- squawk-ignore ban-char-field\n",
        "/* squawk-ignore-file */ ",
        "-- squawk-disable-file\n",
        "-- é squawk-ignore-file\n",
    ],
)
def test_its_ignoring_comments_do_not_count(capsys, comment: str) -> None:
    write(_1_a=comment + CHAR)
    assert [rule for _, _, rule in advised(capsys)] == ["ban-char-field"]
    assert len(advice.neutral(comment.encode())) == len(comment.encode())


@pytest.mark.parametrize("where", [".squawk.toml", "migrations/.squawk.toml"])
def test_no_configuration_of_another_counts(capsys, where: str) -> None:
    write(_1_a=CHAR)
    pathlib.Path(where).write_text('excluded_rules = ["ban-char-field"]\n')
    assert advised(capsys) == [("migrations/1_a.sql", 1, "ban-char-field")]


def test_what_our_rules_say_it_does_not_say_again(capsys) -> None:
    write(
        _1_a=INDEX + DROP + "ALTER TABLE orders ADD COLUMN id serial PRIMARY KEY; ALTER TABLE orders ALTER id TYPE bigint;"
        "ALTER TABLE orders ALTER id SET NOT NULL; ALTER TABLE orders RENAME TO o; DROP TABLE o; DROP VIEW v; DROP SCHEMA s;"
        "ALTER TABLE orders ADD CONSTRAINT c UNIQUE (id); ALTER TABLE orders ADD FOREIGN KEY (id) REFERENCES o;"
        "TRUNCATE o CASCADE;"
    )
    assert advised(capsys) == []
    assert not any(advice.wanted(rule) for rule in ("prefer-robust-stmts", "syntax-error", "prefer-bigint-over-int"))


def test_its_version_is_ours(capsys, monkeypatch: pytest.MonkeyPatch, here: pathlib.Path) -> None:
    write(_1_a=GOOD)
    squawk = here / "squawk"
    squawk.write_text('#!/bin/sh\necho "$@" > "$OUT"\necho "[]"\n')
    squawk.chmod(stat.S_IRWXU)
    monkeypatch.setattr(advice, "_program", lambda: str(squawk))
    monkeypatch.setenv("OUT", str(here / "out"))
    run(capsys, "migrations", "--advice", "--pg-version", "16.4")
    assert (here / "out").read_text().split() == ["-c", "squawk.toml", "--reporter", "json", "--pg-version=16.4", "0.sql"]
    run(capsys, "migrations", "--advice")
    assert "pg-version" not in (here / "out").read_text()


def test_squawk_missing_is_one_line_and_no_error(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    write(_1_a=CHAR)
    monkeypatch.setattr(advice, "_program", lambda: "")
    code, _, err = run(capsys, "migrations", "--advice")
    assert (code, err) == (0, advice.MISSING + "\n")
    assert "pip install 'schemahold[lint]'" in err
    assert run(capsys, "migrations")[2] == ""


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo broken >&2; exit 3", "squawk gave no advice: broken\n"),
        ("echo 'no JSON'", "squawk gave no advice: exit code 0\n"),
        ("echo '[]'; exit 101", "squawk gave no advice: exit code 101\n"),
    ],
)
def test_squawk_failing_is_one_line_and_no_error(capsys, monkeypatch, here, script: str, says: str) -> None:
    write(_1_a=CHAR)
    squawk = here / "squawk"
    squawk.write_text(f"#!/bin/sh\n{script}\n")
    squawk.chmod(stat.S_IRWXU)
    monkeypatch.setattr(advice, "_program", lambda: str(squawk))
    code, _, err = run(capsys, "migrations", "--advice")
    assert (code, err) == (0, says)


def test_many_files_are_asked_about_in_parts(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "AT_ONCE", 2)
    write(**{f"_{number}_a": CHAR for number in range(1, 6)})
    assert [file for file, _, _ in advised(capsys)] == [f"migrations/{number}_a.sql" for number in range(1, 6)]


# --- the process ------------------------------------------------------------------------------------------------------


def test_the_command_needs_little() -> None:
    """It runs where only SQL is checked: no cluster's libraries, no driver."""
    heavy = "{'kopf', 'kubernetes', 'psycopg', 'pydantic', 'asyncio', 'prometheus_client'}"
    code = f"import sys, schemahold.cli.__main__; sys.exit(str({heavy} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "\n"


def test_as_a_module() -> None:
    write(_1_a=DROP)
    done = subprocess.run(
        [sys.executable, "-m", "schemahold.cli", "lint", "migrations", "--no-advice"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.endswith("1 file, 1 error, 0 warnings\n")


def test_the_page_of_rules_is_generated() -> None:
    """`make generate` writes it."""
    page = pathlib.Path(__file__).parents[2] / "docs/rules.md"
    assert page.read_text() == rules.text()
