"""The mounted files: found as the kubelet mounts them, read as a stream, and never other than they were judged."""

from __future__ import annotations

import pathlib

import pytest

from schemahold.core.sql import names
from schemahold.core.sql.model import SourceError
from schemahold.runner import source

TEXT = "CREATE TABLE t (a int);\n-- größer\nSELECT 'ä';\n"


def config_map(directory: pathlib.Path, **files: str | bytes) -> pathlib.Path:
    real = directory / "..2026_11_22"
    real.mkdir(parents=True)
    (directory / "..data").symlink_to("..2026_11_22")
    for name, text in files.items():
        name = name.replace("__sql", ".sql").replace("f", "0", 1)
        (real / name).write_bytes(text.encode() if isinstance(text, str) else text)
        (directory / name).symlink_to(f"..data/{name}")
    return directory


def test_a_config_map_as_the_kubelet_mounts_it(tmp_path) -> None:
    config_map(tmp_path, f001_a__sql=TEXT)
    mounted = source.Mounted(tmp_path)
    assert mounted.read() == {"0001_a.sql": names.checksum(TEXT.encode())}
    found = list(mounted.statements(names.read("0001_a.sql")))
    assert [(one.number, one.line, one.text) for one in found] == [(1, 1, "CREATE TABLE t (a int)"), (2, 3, "SELECT 'ä'")]


def test_several_side_by_side_and_one_level_deep(tmp_path) -> None:
    config_map(tmp_path / "one", f001_a__sql=TEXT)
    config_map(tmp_path / "two", f002_b__sql=TEXT)
    (tmp_path / "two" / "deeper").mkdir()
    (tmp_path / "two" / "deeper" / "0003_c.sql").write_text(TEXT)
    (tmp_path / "0004_d.sql").write_text(TEXT)
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "0005_directory.sql").mkdir()
    assert sorted(source.Mounted(tmp_path).read()) == ["0001_a.sql", "0002_b.sql", "0004_d.sql"]


def test_a_name_that_is_there_twice(tmp_path) -> None:
    config_map(tmp_path / "one", f001_a__sql=TEXT)
    config_map(tmp_path / "two", f001_a__sql=TEXT)
    with pytest.raises(SourceError, match=r"0001_a.sql: is in one and in two"):
        source.Mounted(tmp_path).read()


def test_what_cannot_be_read_is_named(tmp_path) -> None:
    with pytest.raises(SourceError, match=r"/nowhere cannot be read: No such file"):
        source.Mounted(pathlib.Path("/nowhere")).read()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 18])
def test_characters_that_lie_across_pieces(tmp_path, monkeypatch, size) -> None:
    monkeypatch.setattr(source, "CHUNK", size)
    (tmp_path / "0001_a.sql").write_text("\ufeff" + TEXT)
    mounted = source.Mounted(tmp_path)
    mounted.read()
    assert [one.text for one in mounted.statements(names.read("0001_a.sql"))] == ["CREATE TABLE t (a int)", "SELECT 'ä'"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"SELECT 1;\nSELECT '\xe9';", r"0001_a.sql:2: byte 0xe9 is no UTF-8: save the file as UTF-8"),
        (b"SELECT 1;\n\n-- \xc3", r"0001_a.sql:3: byte 0xc3 is no UTF-8"),
        (b"SELECT 1;\n\xff\xfeS\0", r"0001_a.sql:2: "),
        (b"SELECT 1;\nSELECT '\0';", r"0001_a.sql:2: a NUL character"),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1 << 18])
def test_what_is_no_text_is_named_with_its_line(tmp_path, monkeypatch, data, message, size) -> None:
    monkeypatch.setattr(source, "CHUNK", size)
    (tmp_path / "0001_a.sql").write_bytes(data)
    mounted = source.Mounted(tmp_path)
    mounted.read()
    with pytest.raises(SourceError, match=message):
        list(mounted.statements(names.read("0001_a.sql")))


@pytest.mark.parametrize("change", ["other text", "gone", "longer"])
def test_a_file_that_changes_after_it_was_read_first(tmp_path, change) -> None:
    path = tmp_path / "0001_a.sql"
    path.write_text(TEXT)
    mounted = source.Mounted(tmp_path)
    mounted.read()
    name = names.read("0001_a.sql")
    if change == "gone":
        path.unlink()
    else:
        path.write_text("SELECT 2;" if change == "other text" else TEXT + "DROP TABLE t;")
    with pytest.raises(source.Changed, match=r"0001_a.sql was changed"):
        mounted.check(name)
    seen = []
    with pytest.raises(source.Changed):
        for statement in mounted.statements(name):
            seen.append(statement.text)
    assert "DROP TABLE t" not in seen, "its last statement is never handed out"
