"""The migration files as they are mounted: found, hashed, and read as a stream.

Several ConfigMaps are mounted side by side, each in a directory of its own; the kubelet keeps their files behind a symbolic
link ``..data``, and exchanges that link when a ConfigMap is changed.  So what is read again is hashed again: the statements
of a file that is no longer what was judged end with :class:`Changed`, and are rolled back.
"""

from __future__ import annotations

import codecs
import hashlib
import pathlib
from collections.abc import Iterator, Mapping

from schemahold.core.sql import split
from schemahold.core.sql.model import Name, SourceError, Statement, refusal

CHUNK = 1 << 18


class Changed(Exception):
    """A file is no longer what was read first."""


class Mounted:
    """The ``.sql`` files in ``directory`` and one level below."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._paths: dict[str, pathlib.Path] = {}
        self._checksums: dict[str, str] = {}

    def read(self) -> Mapping[str, str]:
        """Name → SHA-256 in hex; SourceError when something cannot be read, or two files have one name."""
        self._paths = {}
        try:
            for path in sorted(self._found()):
                other = self._paths.setdefault(path.name, path)
                if other is not path:
                    text = f"is in {other.parent.name} and in {path.parent.name}: a file's name must be there once"
                    raise refusal(text, file=path.name)
            self._checksums = {name: _hash(path) for name, path in self._paths.items()}
        except OSError as error:
            raise SourceError(f"{error.filename} cannot be read: {error.strerror}") from None
        return self._checksums

    def _found(self) -> Iterator[pathlib.Path]:
        for path in self._directory.iterdir():
            if path.name.startswith(".."):
                continue
            if path.is_dir():
                yield from (below for below in path.iterdir() if _is_sql(below))
            elif _is_sql(path):
                yield path

    def checksum(self, file: Name) -> str:
        return self._checksums[file.name]

    def statements(self, file: Name) -> Iterator[Statement]:
        """The statements of ``file``, streamed."""
        return split.statements(self._text(file.name), file=file.name)

    def check(self, file: Name) -> None:
        """Raise :class:`Changed` unless the whole file is what was read first."""
        try:
            same = _hash(self._paths[file.name]) == self._checksums[file.name]
        except OSError:
            same = False
        if not same:
            raise _changed(file.name)

    def _text(self, name: str) -> Iterator[str]:
        """Pieces of one file; SourceError with the line of what is no UTF-8."""
        decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
        digest = hashlib.sha256()
        lines = 1
        try:
            with self._paths[name].open("rb") as file:
                while data := file.read(CHUNK):
                    digest.update(data)
                    if b"\0" in data:
                        raise _not_text(name, lines + data.count(b"\n", 0, data.index(b"\0")), "a NUL character")
                    yield decoder.decode(data)
                    lines += data.count(b"\n")
            if digest.hexdigest() != self._checksums[name]:
                raise _changed(name)
            yield decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            line = lines + error.object.count(b"\n", 0, error.start)
            raise _not_text(name, line, f"byte 0x{error.object[error.start]:02x} is no UTF-8") from None
        except OSError:
            raise _changed(name) from None


def _is_sql(path: pathlib.Path) -> bool:
    return path.name.lower().endswith(".sql") and not path.name.startswith("..") and path.is_file()


def _hash(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _changed(name: str) -> Changed:
    return Changed(f"{name} was changed in the pod after it had been judged")


def _not_text(name: str, line: int, what: str) -> SourceError:
    return refusal(f"{what}: save the file as UTF-8", file=name, line=line)
