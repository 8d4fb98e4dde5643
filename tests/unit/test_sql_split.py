"""Where statements end: case by case, however the file comes in, and against libpg_query's own reading."""

from __future__ import annotations

from collections.abc import Iterator

import postgast
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from postgast import pg_query_pb2

from schemahold.core.sql import split
from schemahold.core.sql.model import Allow, SourceError, Statement

SIZES = (1, 2, 3, 7, 10_000)
SPACE = " \t\n\r\f\v"


@pytest.fixture(autouse=True, scope="module")
def _small_buffer() -> Iterator[None]:
    """Read on as little as possible: every place in a statement is then the end of what has been read, some time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "AT_LEAST", 1)
        yield


def chunks(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def read(text: str) -> list[Statement]:
    """The statements, which are the same whatever the size of the chunks."""
    one, *others = (list(split.statements(chunks(text, size), file="a.sql")) for size in SIZES)
    assert all(other == one for other in others)
    return one


def refused(text: str) -> SourceError:
    """Why a file is refused, which is the same whatever the size of the chunks."""
    messages = set()
    for size in SIZES:
        with pytest.raises(SourceError) as caught:
            list(split.statements(chunks(text, size), file="a.sql"))
        messages.add(caught.value.message)
    assert len(messages) == 1
    return caught.value


# --- case by case -----------------------------------------------------------------------------------------------------

ATOMIC = "create function f() returns int begin atomic"
WHOLE = [
    "select 'a;b'",
    "select 'a'';b'",
    "select ';'';'",
    "select 'a\\'",
    "select E'a\\';b'",
    "select e'a\\\\'",
    "select E'a'';b\\''",
    "select E'a'\n'\\';b'",
    "select E'a' \r\n\t '\\';b' \n 'c\\';'",
    "select type'a\\'",
    "select x.e, ';'",
    "select 1e, ';'",
    "select U&'\\0041;'",
    'select U&"a;\\0041"',
    "select N';', B'0', X'1F'",
    'select "a;b"',
    'select "a"";b"',
    "select 'a\"' , ';\"'",
    "select $$a;'b$$",
    "select $a$;$$;$b$;$a$",
    "select $é$;$é$",
    "select $_1$;$_1$",
    "select a$b, ';$b'",
    "select a$$, ';$$'",
    "select $1, ';$1'",
    "select 1 -- ;'\"$$ /*\n, 2",
    "select 1 -- ;\r, 2",
    "select 1 /* ; ' \" $$ -- */ , 2",
    "select 1 /* ; /* ; */ ; */ , 2",
    "select 1 /*/ ; */, 2",
    "select 1 /**/, 2",
    "select 1 /***/, 2",
    "select 2*/*;*/3",
    "select 2//*;*/3",
    "select 1--;\n-1",
    "select 1 - -1, - 2",
    "select 1 - ';'",
    "select 6 / 2 - 1",
    "select ';'/';'-';'",
    "select a\u00a0';'",
    "copy (select ';') to stdout",
    f"{ATOMIC} select 1; end",
    f"{ATOMIC} end",
    f"{ATOMIC} select 1; select 2; END",
    f"{ATOMIC} select case when true then 1 end; select 2; end",
    f'{ATOMIC} select 1 as end; select 2 as "end"; end',
    f"{ATOMIC} select 1 end; end",
    f"{ATOMIC} select a.end from a; end",
    f"{ATOMIC} -- ;\n ; /* ; /**/ */ ; select ';', $$;$$, E'\\';'; ; end -- ;\n",
    "CREATE/**/OR -- ;\nREPLACE PROCEDURE p(begin int default 1) BEGIN\nATOMIC; insert into t values (1); END",
    "create function f(begin atomic) returns int as 'select 1;' language sql",
    "create function f() returns int language sql as $$ select 1; $$",
    "create function f(a text default ';') returns int return 1",
    "create rule r as on insert to t do (insert into a values (1); delete from b)",
    "create or replace rule r as on insert to t do also (insert into a values (1); ; delete from b;)",
    "create rule r as on insert to t do (insert into a values ((1)); delete from b where c = ')' /*)*/; select 1)",
    "create rule r as on insert to t do (select $$)'$$; select $a$($$$a$, '('; select 1)",
    "create function f() returns text return $$ begin atomic ' $$",
    "create rule r as on insert to t do nothing",
    "create table function (begin int, atomic int)",
    "begin",
    "end",
]


@pytest.mark.parametrize("text", WHOLE)
@pytest.mark.parametrize("after", ["", ";", " ;", "\n;\n", "; ;", ";;"])
def test_one_statement(text: str, after: str) -> None:
    text = text.strip()
    if "-- ;" in text.rpartition("\n")[2]:
        after = f"\n{after}"
    assert [one.text.rstrip() for one in read(text + after)] == [text]


@pytest.mark.parametrize("text", WHOLE)
@pytest.mark.parametrize(
    "before", ["\ufeff", "\n", ";", " ; ; ", "-- c\n", "/* ; /* ; */ */", "-- c\r\n\r\n/* d */ ; -- e\n"]
)
def test_between_others(before: str, text: str) -> None:
    text = text.strip()
    found = read(f"{before}{text}\n;select 'next;'")
    assert [one.text.rstrip() for one in found] == [text, "select 'next;'"]
    assert [one.number for one in found] == [1, 2]


@pytest.mark.parametrize(
    "text", ["", "\ufeff", " \n\t\r\n", ";", " ; ;; ", "-- c", "-- c\n", "/* c */", "\ufeff-- c\r\n;\r\n"]
)
def test_no_statement(text: str) -> None:
    assert read(text) == []


def test_no_chunk_at_all() -> None:
    assert list(split.statements([])) == []
    assert [one.text for one in split.statements(["", "\ufeffsel", "", "ect 1", ""])] == ["select 1"]


def test_a_byte_order_mark_counts_only_at_the_beginning() -> None:
    assert [one.text for one in read("select 1;\ufeffselect 2")] == ["select 1", "\ufeffselect 2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select 1; select 2", ["select 1", "select 2"]),
        ("select 1;select 2;", ["select 1", "select 2"]),
        # Not the two statements that have semicolons inside.
        ("create table t (a int; b int)", ["create table t (a int", "b int)"]),
        (
            "create function f() returns int as 'x' language sql; end",
            ["create function f() returns int as 'x' language sql", "end"],
        ),
        ("create view rule as select (1); select 2", ["create view rule as select (1)", "select 2"]),
        (f"{ATOMIC} select 1; end; end", [f"{ATOMIC} select 1; end", "end"]),
        (
            "create rule r as on insert to t do nothing; select 1)",
            ["create rule r as on insert to t do nothing", "select 1)"],
        ),
        # What is not finished ends with the file.
        (f"{ATOMIC} select 1; select 2;", [f"{ATOMIC} select 1; select 2;"]),
        ("create rule r as on insert to t do (select 1; ", ["create rule r as on insert to t do (select 1;"]),
        # psql's commands end with their line.
        ("\\set x 'it''\nselect 1;", ["\\set x 'it''", "select 1"]),
        ("select 1;\r\n  \\i it's.sql\r\nselect 2", ["select 1", "\\i it's.sql", "select 2"]),
        ("\\q", ["\\q"]),
        # Junk is not for here.
        ("select $x; {{ y }}; ${z};", ["select $x", "{{ y }}", "${z}"]),
        ("'a';$$b$$;\"c\";E'\\''", ["'a'", "$$b$$", '"c"', "E'\\''"]),
    ],
)
def test_several(text: str, expected: list[str]) -> None:
    assert [one.text for one in read(text)] == expected


def test_lines_are_those_of_the_first_word() -> None:
    text = "select 1;\n\n  select\n2; select 3;\r\n-- c\r\n/*\r\n*/ select '\r\n';\r\n\r\nselect 5"
    assert [one.line for one in read(text)] == [1, 3, 4, 7, 10]


def test_statements_are_handed_out_before_all_is_read() -> None:
    given = iter(["select 1; sel", "ect 2; select 'x", "unread"])
    statements = split.statements(given)
    assert [next(statements).text, next(statements).text] == ["select 1", "select 2"]
    assert next(given) == "unread"


def test_what_is_done_with_is_let_go() -> None:
    reader = split._Reader(("select 1;" for _ in range(10_000)), "")
    for _ in range(10_000):
        assert reader.gap() == ()
        assert reader.statement()[1] == "select 1"
        assert len(reader.text) < 50
    assert reader.gap() is None


# --- what does not end ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("select 1;\nselect\n 'a;\n\n", 3, "close it with '"),
        ("select\n'a'';\n\n", 2, "close it with '"),
        ("select\nE'a\\';\n\n", 2, "close it with '"),
        ("select 1,\nE'a'\n\n'b\\'", 2, "close it with '"),
        ('select\n"a;\n\n', 2, 'close it with "'),
        ("select\n$$a;\n$a$\n", 2, "close it with $$"),
        ("select\n$a$ ;\n$$ $A$\n", 2, "close it with $a$"),
        ("select\n/* ;\n/* */\n", 2, "close it with */"),
        ("\n\n/* ;\n\n", 3, "close it with */"),
        ("select 1;\n/*/", 2, "close it with */"),
    ],
)
def test_what_does_not_end(text: str, line: int, words: str) -> None:
    error = refused(text)
    assert (error.file, error.line) == ("a.sql", line)
    assert error.message.startswith(f"a.sql:{line}: ")
    assert words in error.message


def test_what_stands_above_it_is_handed_out() -> None:
    statements = split.statements(["select 1;\nselect 'a"])
    assert next(statements).text == "select 1"
    with pytest.raises(SourceError, match="line 2: "):
        next(statements)


@pytest.mark.parametrize(("text", "line"), [("select\n1;\n\0select 2", 3), ("select '\n\0'", 2), ("\n-- \0", 2)])
def test_a_nul(text: str, line: int) -> None:
    error = refused(text)
    assert error.line == line
    assert "NUL" in error.message


# --- overrides --------------------------------------------------------------------------------------------------------

ALLOW = "-- schemahold:allow drop-column: nobody reads it"


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        (f"{ALLOW}\nselect 1", 2, [Allow(rule="drop-column", reason="nobody reads it", line=1)]),
        (f"{ALLOW}\r\nselect 1", 2, [Allow(rule="drop-column", reason="nobody reads it", line=1)]),
        ("--schemahold:allow\tx  :\ty: z  \nselect 1", 2, [Allow(rule="x", reason="y: z", line=1)]),
        (f"\ufeff{ALLOW}\n  select 1", 2, [Allow(rule="drop-column", reason="nobody reads it", line=1)]),
        (f"-- a\n  {ALLOW}\n-- b\n/* c\n */\nselect 1", 6, [Allow(rule="drop-column", reason="nobody reads it", line=2)]),
        (
            f"-- schemahold:allow lock_table: é\n{ALLOW}\nselect 1",
            3,
            [Allow(rule="lock_table", reason="é", line=1), Allow(rule="drop-column", reason="nobody reads it", line=2)],
        ),
        (f"select 0;\n{ALLOW}\nselect 1;\nselect 2", 3, [Allow(rule="drop-column", reason="nobody reads it", line=2)]),
        (f"select 0; -- a\n{ALLOW}\nselect 1", 3, [Allow(rule="drop-column", reason="nobody reads it", line=2)]),
        (f"/* a */ {ALLOW}\nselect 1", 2, [Allow(rule="drop-column", reason="nobody reads it", line=1)]),
        (f"{ALLOW}\n\\i x", 2, [Allow(rule="drop-column", reason="nobody reads it", line=1)]),
        ("-- schemahold runs this before the rollout\nselect 1", 2, []),
        ("-- schemahold: this allows for old pods\nselect 1", 2, []),
        ("-- allow drop-column: nobody\nselect 1", 2, []),
        (f"select '{ALLOW}'", 1, []),
        (f"select $$\n{ALLOW}\n$$", 1, []),
    ],
)
def test_overrides(text: str, line: int, expected: list[Allow]) -> None:
    found = {one.line: list(one.allows) for one in read(text)}
    assert found.pop(line) == expected
    assert all(not allows for allows in found.values())


FORM = "-- schemahold:allow <rule>: <reason>"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        # Without a rule or a reason.
        ("-- schemahold:allow\nselect 1", 1, FORM),
        ("-- schemahold:allow drop-column\nselect 1", 1, FORM),
        ("-- schemahold:allow drop-column:  \nselect 1", 1, FORM),
        ("-- schemahold:allow : why\nselect 1", 1, FORM),
        ("-- schemahold:allow drop-column why\nselect 1", 1, FORM),
        ("-- schemahold:allow drop-column, drop-table: why\nselect 1", 1, FORM),
        # Misspelt.
        ("\n-- schemahold: allow drop-column: why\nselect 1", 2, FORM),
        ("-- schemahold :allow drop-column: why\nselect 1", 1, FORM),
        ("-- Schemahold:Allow drop-column: why\nselect 1", 1, FORM),
        ("-- schemahold-allow drop-column: why\nselect 1", 1, FORM),
        ("-- schemahold.allow drop-column: why\nselect 1", 1, FORM),
        ("-- schema-hold:allow drop-column: why\nselect 1", 1, FORM),
        ("-- schemahold allow drop-column: why\nselect 1", 1, FORM),
        ("-- schemahold:ignore drop-column: why\nselect 1", 1, FORM),
        ("-- schemahold:alow drop-column: why\nselect 1", 1, FORM),
        ("-- note: schemahold:allow drop-column: why\nselect 1", 1, FORM),
        ("/* schemahold:allow drop-column: why */\nselect 1", 1, FORM),
        # In the wrong place.
        (f"select 1; {ALLOW}\nselect 2", 1, "behind a statement"),
        (f"select 1;\n; {ALLOW}\nselect 2", 2, "behind a statement"),
        (f"select 1\n{ALLOW}\n;", 2, f"inside a statement: write `{FORM}`"),
        (f"select 1 {ALLOW}", 1, "inside a statement"),
        (f"select 1\n,2 /* a\n {ALLOW} */", 2, "inside a statement"),
        (f"{ATOMIC}\n{ALLOW}\nselect 1; end", 2, "inside a statement"),
        # Above nothing.
        (f"select 1;\n{ALLOW}\n", 2, "no statement directly under it"),
        (f"{ALLOW}", 1, "no statement directly under it"),
        (f"{ALLOW}\n-- more\n", 1, "no statement directly under it"),
        (f"{ALLOW}\n\nselect 1", 1, "no blank line"),
        (f"{ALLOW}\r\n \r\nselect 1", 1, "no blank line"),
        (f"{ALLOW}\n-- a\n\n-- b\nselect 1", 1, "no blank line"),
        (f"{ALLOW}\n;\nselect 1", 1, "no statement directly under it"),
    ],
)
def test_overrides_that_are_refused(text: str, line: int, words: str) -> None:
    error = refused(text)
    assert (error.file, error.line) == ("a.sql", line)
    assert error.message.startswith(f"a.sql:{line}: ")
    assert words in error.message


def test_a_long_comment_is_quoted_in_part() -> None:
    assert len(refused("-- schemahold:allow " + "x" * 1000 + "\nselect 1").message) < 300


@pytest.mark.parametrize(
    "marker", ["-- migrate:down", "--migrate:down transaction:false", "-- +goose Down", "-- +migrate Down"]
)
@pytest.mark.parametrize("above", ["create table t ();\n", "create table t ()\n"])
def test_both_directions_in_one_file(marker: str, above: str) -> None:
    error = refused(f"-- migrate:up\n{above}{marker}\ndrop table t;")
    assert error.line == 3
    assert marker in error.message


# --- against libpg_query ----------------------------------------------------------------------------------------------

GAPS = [
    "",
    " ",
    "\n",
    "\r\n",
    "\t",
    "\f",
    "-- ;'\n",
    "--\r",
    "/* ; */",
    "/* ' /* ; */ \" */",
    "/**/",
    " -- /* \n ",
    "\n-- $$;\n",
]
LITERALS = [
    "';'", "'it''s;'", "'\\'", "E';\\''", "e'\\\\'", "E'a'\n';\\''", "$$;'$$", "$t$;$$;$t$", "U&'\\003b;'", "N';'", "B'0'",
    "date'\\'", "\"i;\"", '"i"";"', 'U&"d;"', "a$b", "a$$", "E", "e", "1", "1.5", "-1", "@-1", "(1)", "-(2)", "$1", "é",
    "_e", "case when true then ';' end", "array[1,2]", "f(';')", "a.e", "a.end",
]  # fmt: skip
gaps = st.lists(st.sampled_from(GAPS), max_size=2).map("".join)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """Literals and operators, with anything in between that may stand there."""
    text = draw(st.sampled_from(LITERALS))
    for literal in draw(st.lists(st.sampled_from(LITERALS), max_size=3)):
        text += f" {draw(gaps)}{draw(st.sampled_from(['||', '+', '-', '*', '/', '<>', ',']))} {draw(gaps)}{literal}"
    return text


@st.composite
def plain(draw: st.DrawFn) -> str:
    form = draw(
        st.sampled_from(
            [
                "select %s",
                "insert into t values (%s)",
                "select 1 as end, %s",
                'delete from "t;" where a in (%s)',
                "do $x$;'%s$x$",
            ]
        )
    )
    return form.replace("%s", draw(gaps) + draw(expressions()) + draw(gaps))


@st.composite
def with_semicolons(draw: st.DrawFn) -> str:
    """A statement that has statements inside."""
    inner = draw(st.lists(st.one_of(plain(), gaps.map(lambda gap: gap + " ")), max_size=3))
    gap = draw(gaps)
    if draw(st.booleans()):
        body = "".join(f"{one}{draw(gaps)};" for one in inner)
        head = draw(st.sampled_from(["create function f(a int)", "create or replace procedure p(begin int)"]))
        return f"{head} {gap} returns int begin {gap} atomic {body} {gap} end".replace(
            "returns int" if "procedure" in head else "returns  int", ""
        )
    head = draw(st.sampled_from(["create rule", "create or replace rule"]))
    return f"{head} r as on {gap} insert to t do also {gap} ({'; '.join(one for one in inner if one.strip()) or 'select 1'})"


@st.composite
def files(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(["", "\n", "-- a\n"]))
    for statement in draw(st.lists(st.one_of(plain(), plain(), with_semicolons(), st.just("")), max_size=4)):
        text += draw(gaps) + statement + draw(gaps) + ";"
    return text + draw(gaps) + draw(st.one_of(plain(), st.just("")))


def told(text: str) -> list[str]:
    """libpg_query's split, each without the space and the comments before its first word."""
    found = postgast.split(text, method="parser")
    return [one[first_word(one) :].rstrip(SPACE) for one in found]


def first_word(text: str) -> int:
    for token in postgast.scan(text).tokens:
        if token.token not in (pg_query_pb2.SQL_COMMENT, pg_query_pb2.C_COMMENT):
            return len(text.encode()[: token.start].decode())
    return len(text)


@settings(max_examples=400, deadline=None)
@given(text=files(), size=st.integers(1, 40))
@example(text="create function f() returns int begin atomic select case 1 when 1 then 2 end end; end; select 1", size=1)
@example(text="create rule r as on insert to t do (select 1;); select 2", size=1)
def test_statements_are_those_of_libpg_query(text: str, size: int) -> None:
    try:
        expected = told(text)
    except postgast.PgQueryError:
        assume(False)
    assert [one.text for one in split.statements(chunks(text, size))] == expected


# Adjacent in these are only things that libpg_query's lexer takes as the server's does; text that no grammar takes, such as
# 1$$a$$ or $$a$$E'b', is left out: it may be split elsewhere, and is refused anyway.
SCRAPS = [
    "'", "''", "'a'", '"', '"b"', "E'", "e'x\\'y'", "E'a'", "+\\", "+\\'", " $ ", " $$ ", " $a$ ", " $1 ", " $é$ ", "a", "e",
    "E", "_x", "é", " 1 ", " 1.5 ", "-", "--", "/*", "*/", "/", "*", ";", ";", "\n", "\r", " ", "\t", "(", ")", "U&'", "N'",
    "B'0'", "x$y", "select", "+", "@", "\n'b\\''", "-- c\n", "\u00a0", "\f", "\v", "\r\n", "::", ":", ".",
]  # fmt: skip


def lexed(text: str) -> list[str]:
    """The text between the semicolons that libpg_query's lexer sees, where there is any token."""
    raw, found, start = text.encode(), [], -1
    for token in postgast.scan(text).tokens:
        if token.token == pg_query_pb2.ASCII_59:
            if start >= 0:
                found.append(raw[start : token.start])
            start = -1
        elif start < 0 and token.token not in (pg_query_pb2.SQL_COMMENT, pg_query_pb2.C_COMMENT):
            start = token.start
    if start >= 0:
        found.append(raw[start:])
    return [one.decode().rstrip(SPACE) for one in found]


@settings(max_examples=1500, deadline=None)
@given(scraps=st.lists(st.sampled_from(SCRAPS), max_size=14), size=st.integers(1, 40))
def test_tokens_are_those_of_libpg_query(scraps: list[str], size: int) -> None:
    text = "".join(scraps)
    try:
        expected = lexed(text)
    except postgast.PgQueryError as error:
        assume("unterminated" in error.message)
        with pytest.raises(SourceError):
            list(split.statements(chunks(text, size)))
        return
    assert [one.text for one in split.statements(chunks(text, size))] == expected
