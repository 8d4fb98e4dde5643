"""What a statement is, what is said of one that cannot be read, and which inserts need no parse."""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schemahold
from schemahold.core.sql import parse
from schemahold.core.sql.model import SourceError, Statement

ROOT = pathlib.Path(schemahold.__file__).parent


def tree(text: str, line: int = 1) -> parse.Tree:
    return parse.parse(Statement(number=1, line=line, text=text), file="a.sql")


def test_one_module_knows_libpg_query() -> None:
    knowing = {str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if "postgast" in path.read_text()}
    assert knowing == {"core/sql/parse.py"}


# --- trees ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("alter table t add column a int", "alter_table_stmt"),
        ("create index concurrently i on t (a)", "index_stmt"),
        ("select 1", "select_stmt"),
        ("begin", "transaction_stmt"),
        ("do $$ begin end $$", "do_stmt"),
        ("alter table t alter a set not null, validate constraint c", "alter_table_stmt"),
        ("alter table t add constraint c not null a not valid", "alter_table_stmt"),
        ("select 1 -- done", "select_stmt"),
    ],
)
def test_kinds(text: str, kind: str) -> None:
    assert tree(text).kind == kind


def test_nodes_have_postgres_fields() -> None:
    node = tree("alter table only s.t add column a int check (a > f(1)), drop column b").node
    assert (node.relation.schemaname, node.relation.relname, node.relation.inh) == ("s", "t", False)
    commands = [parse.inner(command) for command in node.cmds]
    assert [(kind.kind, parse.word(kind.node, "subtype")) for kind in commands] == [
        ("alter_table_cmd", "AT_AddColumn"),
        ("alter_table_cmd", "AT_DropColumn"),
    ]
    assert parse.inner(node.relation).kind == "range_var"


def test_an_empty_node_is_nothing() -> None:
    assert parse.inner(tree("select 1").node.where_clause) == parse.Tree("", None)


def test_every_node_comes_once_and_in_order() -> None:
    root = tree("select f(a), 1 from t where b = (select c from u)").node
    assert [found.kind for found in parse.every(root)] == [
        "select_stmt", "res_target", "func_call", "string", "column_ref", "string", "res_target", "a_const", "integer",
        "range_var", "a_expr", "string", "column_ref", "string", "sub_link", "select_stmt", "res_target", "column_ref",
        "string", "range_var",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "select " + "||".join(["a"] * 3000),
        "select " + "case when a then 1 else " * 500 + "2" + " end" * 500,
        "select " + "f(" * 500 + "1" + ")" * 500,
        "select 1 " + "union all select 1 " * 3000,
    ],
)
def test_deep_statements(text: str) -> None:
    found = tree(text)
    assert found.kind == "select_stmt"
    assert sum(1 for _ in parse.every(found.node)) > 500


# --- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("selec 1", 7, ['syntax error at or near "selec"']),
        ("select 1,\n\n from t", 9, ['syntax error at or near "from"']),
        ("select 'ééééééé\n',\n from t", 9, ['syntax error at or near "from"']),
        ("create table t (a int\n", 8, ["syntax error at end of input"]),
        ("create table t (a int)\n\nselect 1", 9, ['syntax error at or near "select"']),
        ("select 1; select 2", 7, ["2 statements"]),
        ("-- nothing", 7, ["0 statements"]),
        ("select 1\n\0; drop table t", 8, ["NUL"]),
        # psql
        ("\\i other.sql", 7, ["\\i is a command of psql", "a file of its own"]),
        ("\\copy t from 'x'", 7, ["\\copy is a command of psql", "INSERT"]),
        ("\\set x 1", 7, ["\\set is a command of psql"]),
        ("select 1\n\\gexec", 8, ["\\gexec is a command of psql"]),
        # Placeholders
        ("create table ${schema}.t ()", 7, ["${schema} is a placeholder", "syntax error at or near", "fills in none"]),
        ("create table t_${x} ()", 7, ["${x} is a placeholder"]),
        ("create table #{x} ()", 7, ["#{x} is a placeholder"]),
        ("create table\n {{ schema }}.t ()", 8, ["{{ schema }} is a placeholder"]),
        ("create table t_{{x}} ()", 7, ["{{x}} is a placeholder"]),
        ("{% if x %} select 1", 7, ["{% if x %} is a placeholder"]),
        ("drop table :name", 7, [":name is a placeholder"]),
        ("select :'name'", 7, [":'name' is a placeholder"]),
        ('select * from :"name"', 7, [':"name" is a placeholder']),
        ("insert into t values (%(x)s)", 7, ["%(x)s is a placeholder"]),
        ("insert into t values (%s)", 7, ["%s is a placeholder"]),
        ("select <%= x %>", 7, ["<%= x %> is a placeholder"]),
        ("create schema <%= x %>", 7, ["<%= x %> is a placeholder"]),
    ],
)
def test_what_cannot_be_read(text: str, line: int, words: list[str]) -> None:
    with pytest.raises(SourceError) as caught:
        tree(text, line=7)
    assert (caught.value.file, caught.value.line) == ("a.sql", line)
    assert caught.value.message.startswith(f"a.sql:{line}: ")
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "select a[1:n] from from t",
        "select a::int4 from from t",
        "select '${x}' from from t",
        "select a from from t where b = '${x}'",
        "select ':x', '{{ y }}' from from t",
    ],
)
def test_what_is_no_placeholder(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        tree(text)
    assert caught.value.message == 'a.sql:1: syntax error at or near "from"'


# --- plain inserts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "insert into t values (1)",
        "INSERT INTO t (a) VALUES ('x')",
        "Insert\tInto\ns.t(a,b)Values(1,2)",
        'insert into "S t"."T" ("a;b", c) values (1, 2), (3, 4) , (5,6)',
        "insert into db.s.t values (null, NULL, true, FALSE, default)",
        "insert into t values (-1, 1.5, .5, 1., 1e5, -1.5E-3, 0)",
        "insert into t values ('', 'it''s', '''', ';', '--', '/*', '$$', '\\', 'é', 'f(x)')",
        "insert into é values (1)",
        "insert into t values ('1'::int, '{}'::jsonb, '{a}'::text[], 'now'::timestamp with time zone, 1::numeric(10,2))",
        "insert into t values ('a'::text::varchar(3))",
        "insert into t (a) overriding system value values (1)",
        "insert into t values (1) \n",
    ],
)
def test_plain_inserts(text: str) -> None:
    assert parse.plain_insert(text)
    assert tree(text).kind == "insert_stmt"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "select 1",
        "update t set a = 1",
        "insert into t select 1",
        "insert into t select * from u",
        "insert into t default values",
        "insert into t table u",
        "insert into t as x values (1)",
        "with x as (delete from t returning 1) insert into t values (1)",
        "insert into t with x as (select 1) values (1)",
        "insert into t values (f())",
        "insert into t values (f(1), 2)",
        "insert into t values (now())",
        "insert into t values (current_user)",
        "insert into t values (a)",
        "insert into t values ((select 1))",
        "insert into t values (1 + 1)",
        "insert into t values (1 || '')",
        "insert into t values (array[1])",
        "insert into t values (row(1))",
        "insert into t values ((1))",
        "insert into t values (e'x')",
        "insert into t values (E'a\\', f(), ')",
        "insert into t values (U&'x')",
        "insert into t values ($$x$$)",
        "insert into t values ($1)",
        "insert into t values (date '2026-11-22')",
        "insert into t values (f 'x')",
        "insert into t values ('x'::f)",
        "insert into t values ('x'::s.text)",
        "insert into t values ('x'::\"text\")",
        "insert into t values ('x'::regclass)",
        "insert into t values (cast('x' as text))",
        "insert into t values (1) returning a",
        "insert into t values (1) on conflict do nothing",
        "insert into t values (1) on conflict (a) do update set a = f()",
        "insert into t values (1) union select f()",
        "insert into t values (1) order by f()",
        "insert into t values (1) limit f()",
        "insert into t (a[1]) values (1)",
        "insert into t (a.b) values (1)",
        "insert into t values (1); drop table t",
        "insert into t values (1);",
        "insert into t values (1) -- x",
        "insert into t /* x */ values (1)",
        "insert into t values (1, --1\n f())",
        "-- x\ninsert into t values (1)",
        "insert into t values (1)\0",
        "insert into t values ()",
        "insert into t values (1,)",
        "insert into t values (1) (2)",
        "insert into t values (1 2)",
        "insert into t values ('a' 'b')",
        "insert into t values 1",
        "insert into t values",
        "inſert into t values (1)",
        "insert into t value\u017f (1)",
        "insert into t\u00a0values (1)",
        "insert into t values (١)",
        "insert into t values (truex)",
        "insert into t values (0x1F)",
        "insert into t values (--1)",
        "explain analyze insert into t values (1)",
    ],
)
def test_what_is_not_a_plain_insert(text: str) -> None:
    assert not parse.plain_insert(text)


LITERALS = ["1", "-1", ".5", "'a'", "'it''s'", "null", "true", "default", "'x'::text", "1::int", "'{}'::text[]", "'\\'"]
OTHERS = [
    "f()", "f", "E'a'", "E'\\'", "'", "''", "(select 1)", "--", "-- x\n", "/*", "*/", "$$", "$$a$$", '"a"', "::f", "::",
    "(1)", "1 + 1", "now", ";", "", " ", "e", ")", "(", ") returning (a", "), (", ") union values (", "::text.f(1)",
    "'a' 'b'", "a.b", "[1]", "*", "default::int",
]  # fmt: skip
HARMLESS = {
    "insert_stmt", "range_var", "res_target", "select_stmt", "list", "a_const", "integer", "string", "float", "boolean",
    "set_to_default", "type_cast", "type_name",
}  # fmt: skip
values = st.one_of(st.sampled_from(LITERALS), st.sampled_from(LITERALS), st.sampled_from(OTHERS))
commas = st.sampled_from([", ", ",", " ,\n", ""])


@settings(max_examples=1500, deadline=None)
@given(
    st.lists(st.tuples(values, commas), min_size=1, max_size=5),
    st.sampled_from(["", "", " returning a", " on conflict do nothing"]),
)
def test_a_plain_insert_does_nothing_else(row: list[tuple[str, str]], end: str) -> None:
    """Whatever is taken for one is SQL, and has nothing in its tree but literals."""
    text = "insert into t values (" + "".join(value + comma for value, comma in row[:-1]) + row[-1][0] + ")" + end
    try:
        found = tree(text)
    except SourceError:
        assert not parse.plain_insert(text)
        return
    if parse.plain_insert(text):
        assert {node.kind for node in parse.every(found.node)} <= HARMLESS
    elif all(value in LITERALS for value, _ in row) and all(comma for _, comma in row[:-1]):
        assert end
