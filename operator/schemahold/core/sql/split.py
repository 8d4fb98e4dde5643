"""A file's statements, streamed: where each one ends, as Postgres's own lexer sees it.

``standard_conforming_strings`` is taken to be on, as it is by default.  One regular expression does most of the work, in
possessive form: it goes over the text once, in C, and never back.  What it cannot do is done by hand around it: comments
(they nest, and may hold a ``schemahold:allow``), dollar quotes, and the two statements that have semicolons inside (rules,
and functions with ``BEGIN ATOMIC``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from schemahold.core.sql.model import Allow, SourceError, Statement, refusal

AT_LEAST = 1 << 16  #: characters to read on at once, so that small chunks do not cost a round each

_ALLOW_FORM = "`-- schemahold:allow <rule>: <reason>`"

_SPACE = " \t\n\r\f\v"
# The letters of a word: to Postgres, everything above ASCII is one, the no-break space included.
_FIRST = r"A-Za-z_\x80-\U0010ffff"
_REST = r"A-Za-z0-9_$\x80-\U0010ffff"

# E'a' and 'b' with a line end between them are one string with escapes.  (To the server also with a comment there, which
# libpg_query refuses, so nothing depends on it here.)
_BETWEEN = r"[ \t\f\v]*+[\n\r][ \t\n\r\f\v]*+"
_PIECE = r"'(?:[^'\\]|\\[\s\S]|'')*+'"
_ESCAPED = rf"{_PIECE}(?:{_BETWEEN}{_PIECE})*+"
_NO_MORE = rf"(?!{_BETWEEN}')(?=[ \t\n\r\f\v]*+[^ \t\n\r\f\v])"  # pieces, for all that can be told without reading on

# Goes on up to a semicolon, a comment, a dollar quote, or whatever cannot be told before more is read.
# A doubled quote is taken for the end of one string and the beginning of the next, which comes to the same.
_PLAIN = re.compile(
    rf"""
    [^;'"$/\-]*+
    (?:
        (?:
            (?<!(?<![{_REST}])[eE]) '[^']*+'
          | (?<=(?<![{_REST}])[eE]) {_ESCAPED} {_NO_MORE}
          | "[^"]*+"
          | -(?=[^\-])
          | /(?=[^*])
          | (?<=[{_REST}])\$
          | \$(?=[^{_FIRST}$])
        )
        [^;'"$/\-]*+
    )*+
    """,
    re.VERBOSE | re.ASCII,
)
_SPACES = re.compile(rf"[{_SPACE}]*+")
_LINE_END = re.compile(r"[\n\r]")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_DOLLAR = re.compile(r"\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*+)?\$")
_DOLLAR_BEGUN = re.compile(r"\$[A-Za-z0-9_\x80-\U0010ffff]*+\Z")


def statements(chunks: Iterable[str], *, file: str = "") -> Iterator[Statement]:
    """The statements in ``chunks`` (pieces of one file, of any size, in order), one at a time.

    Holds the statement at hand and as much again, or 64 Ki characters, or a chunk.  SourceError (unterminated quote or
    comment, misplaced ``schemahold:allow``) comes when the reading gets there: the statements above are out by then.
    A line that begins with a backslash where a statement should is a statement, for :mod:`.parse` to refuse.
    """
    reader = _Reader(chunks, file)
    for number in itertools.count(1):
        allows = reader.gap()
        if allows is None:
            return
        line, text = reader.statement()
        yield Statement(number=number, line=line, text=text, allows=allows)


class _Reader:
    """The part of the file that is being looked at.

    ``text[kept:]`` is still needed, ``text[:at]`` is understood.  ``limit`` is the end of the file once it has been read: a
    line end and a semicolon of ours stand there, so that the last statement ends like any other.
    """

    def __init__(self, chunks: Iterable[str], file: str) -> None:
        self.chunks = iter(chunks)
        self.file = file
        self.text = ""
        self.kept = 0
        self.at = 0
        self.limit: int | None = None
        self.begun = False
        self.line, self.counted = 1, 0  # the line in which text[counted] stands
        self.own_line = True  # there is nothing but space before ``at`` on its line

    # --- the buffer ---------------------------------------------------------------------------------------------------

    def more(self) -> bool:
        """Read on, as much again as is still needed, so that nothing is looked at often.  False at the end."""
        if self.limit is not None:
            return False
        self.line_of(max(self.kept, self.counted))
        pieces = [self.text[self.kept :]]
        wanted = max(AT_LEAST, len(pieces[0]))
        for chunk in self.chunks:
            pieces.append(chunk)
            wanted -= len(chunk)
            if wanted <= 0:
                break
        self.text = "".join(pieces)
        self.at, self.counted, self.kept = self.at - self.kept, self.counted - self.kept, 0
        if not self.begun and self.text:
            self.begun = True
            self.text = self.text.removeprefix("\ufeff")
        if wanted > 0:
            self.limit = len(self.text)
            self.text += "\n;"
        self.refuse_nul(len(pieces[0]))
        return True

    def refuse_nul(self, start: int) -> None:
        """SourceError for the one character that Postgres does not take."""
        if (at := self.text.find("\0", start)) >= 0:
            text = "a NUL character, which Postgres does not take: is this a text file in UTF-8?"
            raise refusal(text, file=self.file, line=self.line_of(at))

    def line_of(self, at: int) -> int:
        """The line of ``text[at]``, which must not lie before what was asked for last."""
        self.line += self.text.count("\n", self.counted, at)
        self.counted = at
        return self.line

    def refusal(self, text: str) -> SourceError:
        """SourceError for what stands at ``at``."""
        return refusal(text, file=self.file, line=self.line_of(self.at))

    # --- between statements -------------------------------------------------------------------------------------------

    def gap(self) -> tuple[Allow, ...] | None:
        """Go to the next statement; the overrides directly above it, or None when the file has ended."""
        allows: list[Allow] = []
        line_ends = 0  # since the last comment
        while True:
            start = self.at
            self.kept = self.at = _SPACES.match(self.text, start).end()  # type: ignore[union-attr]
            ends = self.text.count("\n", start, self.at)
            self.own_line |= ends > 0
            line_ends += ends
            ended = self.limit is not None and self.at >= self.limit
            mark = self.text[self.at : self.at + 2]
            if len(mark) < 2 and not ended and self.more():
                continue
            if allows and (line_ends > 1 or mark[0] == ";"):
                raise _stray(allows[-1], self.file)
            if ended:
                return None
            if mark[0] == ";":
                self.at += 1
                self.own_line = False
            elif mark in ("--", "/*"):
                allows += self.override(self.comment())
                line_ends = 0
            else:
                return tuple(allows)

    def comment(self) -> str:
        """Go behind the comment at ``at``; its text."""
        while (end := _comment_end(self.text, self.at)) < 0:
            if not self.more():
                raise self.refusal("a comment begins here that does not end: close it with */ (they nest)")
        self.line_of(self.at)
        start, self.at = self.at, end
        return self.text[start:end]

    def override(self, comment: str) -> list[Allow]:
        """The override that ``comment`` is, above a statement; none when it is just a comment."""
        allow = _ALLOW.fullmatch(comment.rstrip())
        if allow is None:
            self.refuse_comment(comment)
            return []
        if not self.own_line:
            text = (
                f"{_quoted(comment)} stands behind a statement: write it on a line of its own directly above the statement"
            )
            raise refusal(text, file=self.file, line=self.line)
        return [Allow(rule=allow[1], reason=allow[2], line=self.line)]

    def refuse_comment(self, comment: str, *, inside: bool = False) -> None:
        """SourceError when ``comment`` was meant to do something and does not."""
        if _MEANT.search(comment):
            why = "stands inside a statement" if inside else "is not the form of an override"
            text = f"{_quoted(comment)} {why}: write {_ALLOW_FORM} on a line of its own directly above the statement"
            raise refusal(text, file=self.file, line=self.line)
        if _DOWN.match(comment):
            text = f"{_quoted(comment)}: what follows takes the migration back, and would be run as well: remove it"
            raise refusal(text, file=self.file, line=self.line)

    # --- a statement --------------------------------------------------------------------------------------------------

    def statement(self) -> tuple[int, str]:
        """Go behind the statement at ``at``; its line and its text."""
        self.kept = self.at
        line = self.line_of(self.at)
        if self.text[self.at] == "\\":
            return line, self.backslash()
        inner: _Inner | None = None
        part = 0  # where the part of it that follows its last semicolon begins, from ``kept``
        while True:
            self.at = _PLAIN.match(self.text, self.at).end()  # type: ignore[union-attr]
            mark = self.text[self.at : self.at + 2]
            if mark in ("--", "/*"):
                self.refuse_comment(self.comment(), inside=True)
            elif mark[:1] == "$":
                self.dollar()
            elif mark[:1] != ";":
                self.read_on(_UNTERMINATED.get(mark[:1], "something"))
            else:
                if self.limit is not None and self.at >= self.limit:
                    break
                inner = inner or _Inner(self.text[self.kept : self.at])
                if inner.ends(self.text[self.kept + part : self.at]):
                    break
                self.at += 1
                part = self.at - self.kept
        text = self.text[self.kept : self.at].rstrip(_SPACE)
        self.at += 1
        self.own_line = False
        return line, text

    def backslash(self) -> str:
        """Go to the end of a psql command, which is the end of its line."""
        while (end := _LINE_END.search(self.text, self.at)) is None:
            self.more()  # there is a line end of ours at the end
        self.at = end.start()
        return self.text[self.kept : self.at].rstrip(_SPACE)

    def dollar(self) -> None:
        """Go behind the dollar quote at ``at``, or behind the dollar if it is none."""
        quote = _DOLLAR.match(self.text, self.at)
        if quote is None:
            if _DOLLAR_BEGUN.match(self.text, self.at):
                self.read_on("")
            else:
                self.at += 1
        elif (end := self.text.find(quote[0], quote.end())) >= 0:
            self.at = end + len(quote[0])
        else:
            self.read_on(f"a dollar quote begins here that does not end: close it with {quote[0]}")

    def read_on(self, unterminated: str) -> None:
        """Read more of what stands at ``at``; SourceError when there is no more."""
        if not self.more():
            raise self.refusal(unterminated)


_UNTERMINATED = {
    "'": "a string begins here that does not end: close it with ' (a quote inside a string is written '')",
    '"': 'a name in double quotes begins here that does not end: close it with "',
}


def _comment_end(text: str, at: int) -> int:
    """Where the comment at ``at`` ends; -1 when it does not."""
    if text[at] == "-":
        end = _LINE_END.search(text, at)
        return end.start() if end else -1
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, at):
        depth += 1 if edge[0] == "/*" else -1
        if not depth:
            return edge.end()
    return -1


# --- statements with semicolons inside --------------------------------------------------------------------------------

_TOKEN = re.compile(
    rf"""
      [{_SPACE}]++ | --[^\n\r]*+
    | (?P<comment>/\*)
    | (?P<token>
          [eE]{_ESCAPED} | '[^']*+' | "[^"]*+"
        | (?P<dollar>\$(?:[{_FIRST}][A-Za-z0-9_\x80-\U0010ffff]*+)?\$)
        | [{_FIRST}][{_REST}]*+
        | [\s\S]
      )
    """,
    re.VERBOSE | re.ASCII,
)


def _tokens(text: str) -> Iterator[str]:
    """The tokens in ``text`` (no half ones), lower case, without spaces and comments.  Of a dollar quote, its beginning."""
    at = 0
    while found := _TOKEN.match(text, at):
        at = found.end()
        if found["comment"]:
            at = _comment_end(text, found.start())
        elif found["dollar"]:
            at = text.find(found["dollar"], at) + len(found["dollar"])
        if found["token"]:
            yield found["token"].lower()


class _Inner:
    """What tells a semicolon inside a statement from the one at its end.

    ``CREATE RULE … DO (a; b)``: those in parentheses are inside.  ``CREATE FUNCTION … BEGIN ATOMIC a; b; END``: the one at
    the end follows an END that directly follows another semicolon, or ATOMIC.  An END anywhere else ends a CASE or is a
    label; in the header, only outside parentheses can there be a BEGIN ATOMIC.
    """

    def __init__(self, text: str) -> None:
        """``text``: the statement up to its first semicolon."""
        words = list(itertools.islice(_tokens(text), 4)) if text[:1] in "cC" else []
        if words[1:3] == ["or", "replace"]:
            del words[1:3]
        self.what = words[1] if words[:1] == ["create"] and len(words) > 1 else ""
        self.depth = 0
        self.body = False

    def ends(self, part: str) -> bool:
        """Whether the semicolon behind ``part`` ends the statement.  ``part``: all that follows the semicolon before it."""
        if self.what == "rule":
            for token in _tokens(part):
                self.depth += (token == "(") - (token == ")")
            return self.depth <= 0
        if self.what not in ("function", "procedure"):
            return True
        tokens = _tokens(part)
        if not self.body:
            self.body = _find_body(tokens)
        return not self.body or list(itertools.islice(tokens, 2)) == ["end"]


def _find_body(tokens: Iterator[str]) -> bool:
    """Go behind BEGIN ATOMIC; False when there is none."""
    depth, before = 0, ""
    for token in tokens:
        if depth == 0 and (before, token) == ("begin", "atomic"):
            return True
        depth += (token == "(") - (token == ")")
        before = token
    return False


# --- comments that mean something -------------------------------------------------------------------------------------

_ALLOW = re.compile(r"--[ \t]*schemahold:allow[ \t]+([A-Za-z0-9][\w-]*)[ \t]*:[ \t]*(\S.*)", re.ASCII)
_MEANT = re.compile(
    r"schema[-_ ]?hold[ \t]*[:._=/-][ \t]*(?:allow|ignore|disable|skip)"  # anywhere, and nearly right
    r"|^(?:--|/\*)\W*schema[-_ ]?hold(?::\S|[ \t]+allow\b)",
    re.IGNORECASE | re.ASCII,
)
# dbmate, goose, sql-migrate: both directions in one file.
_DOWN = re.compile(r"--[ \t]*(?:migrate:down|\+(?:goose|migrate)[ \t]+down)\b", re.IGNORECASE)


def _stray(allow: Allow, file: str) -> SourceError:
    text = (
        f"schemahold:allow {allow.rule} has no statement directly under it: move it to the line above its statement, "
        "with no blank line between them, or remove it"
    )
    return refusal(text, file=file, line=allow.line)


def _quoted(comment: str) -> str:
    """The first line of a comment, for messages."""
    first = comment.splitlines()[0].rstrip()
    return f"`{first if len(first) <= 80 else first[:79] + '…'}`"
