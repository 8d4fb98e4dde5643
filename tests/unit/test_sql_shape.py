"""Which files can be run, and how; and what a migration file must not contain."""

from __future__ import annotations

import pytest

from schemahold.core.sql import parse, shape, split
from schemahold.core.sql.model import SourceError, Statement


def read(text: str) -> shape.Shape:
    return shape.shape(split.statements([text], file="a.sql"), file="a.sql")


def refused(text: str, line: int, *words: str) -> None:
    with pytest.raises(SourceError) as caught:
        read(text)
    assert (caught.value.file, caught.value.line) == ("a.sql", line)
    assert caught.value.message.startswith(f"a.sql:{line}: ")
    for word in words:
        assert word in caught.value.message


# --- transactional or not ---------------------------------------------------------------------------------------------

TRANSACTIONAL = [
    "create table t (a int)",
    "alter table t add column a int, drop column b",
    "create index i on t (a)",
    "create index on t (a)",
    "drop index i, j cascade",
    "drop table t",
    "reindex table t",
    "reindex index i",
    "reindex (concurrently false) table t",
    "reindex (concurrently off, verbose) table t",
    "reindex (concurrently 0) table t",
    "reindex (concurrently, concurrently false) table t",
    "reindex (verbose) table t",
    "analyze",
    "analyze t",
    "alter table t detach partition p",
    "alter table t detach partition p finalize",
    "alter table t attach partition p default",
    "cluster t",
    "cluster t using i",
    "refresh materialized view concurrently v",
    "alter type t add value 'x'",
    "insert into t values (1)",
    "insert into t select 1",
    "select 1",
    "copy t from '/file'",
    "copy t to '/file'",
    "copy t from program 'cat'",
    "copy t to program 'cat'",
    "do $$ begin commit; end $$",
    "call p()",
    "listen c",
    "notify c",
    "set local search_path = x",
    "set local timezone = 'UTC'",
    "set local x.y = 'z'",
    "set local search_path to default",
    "set local standard_conforming_strings = on",
    "set constraints all deferred",
    "select set_config('search_path', '', true)",
    "select pg_catalog.set_config('x.y', a, true), 'set_config' from t",
    "select 'set_config(''x'', '''', false)'",
    "select set_configs('x', '', false)",
    "alter database d set search_path = x",
    "alter role r set lock_timeout = '1s'",
    "create function f() returns int set lock_timeout = '1s' begin atomic select 1; end",
    "create table begin (lock_timeout int)",
]


@pytest.mark.parametrize("text", TRANSACTIONAL)
def test_transactional_statements(text: str) -> None:
    assert read(f"{text}; select 1") == shape.Shape(transactional=True, statements=2)


ALONE = [
    "create index concurrently i on t (a)",
    "create unique index concurrently if not exists i on t (a)",
    "drop index concurrently i",
    "drop index concurrently if exists s.i",
    "reindex table concurrently t",
    "reindex index concurrently i",
    "reindex (concurrently) table t",
    "reindex (concurrently true) table t",
    "reindex (concurrently 'on') index i",
    "reindex (concurrently 1) index i",
    "reindex (concurrently off) index concurrently i",
    "reindex schema s",
    "reindex (concurrently false) schema s",
    "reindex database d",
    "reindex database",
    "reindex system d",
    "vacuum",
    "vacuum t",
    "vacuum (analyze) t",
    "alter table t detach partition p concurrently",
    "cluster",
    "cluster (verbose)",
]


@pytest.mark.parametrize("text", ALONE)
def test_statements_that_cannot_run_in_a_transaction(text: str) -> None:
    assert read(text) == shape.Shape(transactional=False, alone=frozenset({1}), statements=1)


def test_one_of_them_is_enough() -> None:
    text = "create table t (a int); vacuum t; insert into t values (1); create index concurrently i on t (a); select 1"
    assert read(text) == shape.Shape(transactional=False, alone=frozenset({2, 4}), statements=5)


def test_a_file_without_statements() -> None:
    assert read("-- nothing") == shape.Shape(transactional=True)


def test_plain_inserts_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def watched(statement: Statement, *, file: str = "") -> parse.Tree:
        seen.append(statement.number)
        return original(statement, file=file)

    original = parse.parse
    monkeypatch.setattr(parse, "parse", watched)
    assert read("insert into t values (1, 'a;');" * 3 + "insert into t values (f())").statements == 4
    assert seen == [4]


# --- transactions of its own ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", ["begin", "BEGIN TRANSACTION", "begin work", "start transaction"])
@pytest.mark.parametrize("commit", ["commit", "COMMIT WORK", "end", "end transaction"])
@pytest.mark.parametrize("between", ["", "create table t ();", "insert into t values (1);set local x.y = 'z';"])
def test_one_transaction_around_everything(begin: str, commit: str, between: str) -> None:
    statements = 2 + between.count(";")
    assert read(f"-- a\n{begin};{between}{commit};") == shape.Shape(
        transactional=True, wrapped=True, skipped=frozenset({1, statements}), statements=statements
    )


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("begin;\nselect 1", 1, "BEGIN"),
        ("start transaction;\nselect 1", 1, "START TRANSACTION"),
        ("begin", 1, "BEGIN"),
        ("select 1;\ncommit", 2, "COMMIT"),
        ("select 1;\nend", 2, "COMMIT"),
        ("select 1;\nbegin;\ncommit", 2, "BEGIN"),
        ("begin;\ncommit;\nselect 1", 1, "BEGIN"),
        ("begin;\nselect 1;\ncommit;\nbegin;\ncommit", 3, "COMMIT"),
        ("begin;\ninsert into t values (1);\ncommit;\ninsert into t values (1)", 1, "BEGIN"),
        ("insert into t values (1);\nbegin;\ncommit", 2, "BEGIN"),
        ("begin;\nselect 1;\nrollback", 1, "BEGIN"),
        ("begin;\nbegin;\ncommit", 2, "BEGIN"),
        ("begin;\nsavepoint a;\ncommit", 2, "SAVEPOINT"),
        ("select 1;\nsavepoint a", 2, "SAVEPOINT"),
        ("rollback to a", 1, "ROLLBACK TO"),
        ("release a", 1, "RELEASE"),
        ("rollback", 1, "ROLLBACK"),
        ("abort", 1, "ROLLBACK"),
        ("prepare transaction 'a'", 1, "PREPARE TRANSACTION"),
        ("commit prepared 'a'", 1, "COMMIT PREPARED"),
        ("rollback prepared 'a'", 1, "ROLLBACK PREPARED"),
        ("begin isolation level serializable;\nselect 1;\ncommit", 1, "BEGIN with options"),
        ("begin read only;\ncommit", 1, "BEGIN with options"),
        ("begin;\nselect 1;\ncommit and chain", 1, "BEGIN"),
        ("begin;\nselect 1;\nprepare transaction 'a'", 1, "BEGIN"),
        ("vacuum;\nbegin;\ncommit", 2, "BEGIN"),
    ],
)
def test_transactions_of_its_own(text: str, line: int, word: str) -> None:
    refused(text, line, f": {word}: schemahold begins and commits the transaction itself", "remove it")


@pytest.mark.parametrize("text", ALONE)
def test_what_cannot_run_in_a_transaction_within_one(text: str) -> None:
    refused(f"begin;\nselect 1;\n{text};\ncommit", 3, "cannot run in a transaction", "a file of its own")


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("set search_path = x", ["SET search_path would outlive", "write SET LOCAL search_path"]),
        ("set session search_path = x", ["write SET LOCAL search_path"]),
        ("set search_path to default", ["write SET LOCAL search_path"]),
        ("set time zone 'UTC'", ["write SET LOCAL timezone"]),
        ("set standard_conforming_strings = on", ["write SET LOCAL standard_conforming_strings"]),
        ("set check_function_bodies = false", ["write SET LOCAL check_function_bodies"]),
        (
            "select pg_catalog.set_config('search_path', '', false)",
            ["set_config('search_path', …, false)", "true as the third"],
        ),
        ("select Set_Config('search_path', '', a) from t", ["true as the third"]),
        ("with a as (select set_config(b, 'c', false)) select 1", ["true as the third"]),
    ],
)
def test_settings_that_would_outlive_the_file(text: str, words: list[str]) -> None:
    refused(f"select 1;\n{text}", 2, *words)
    refused(f"begin;\n{text};\ncommit", 2, *words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lock_timeout = '1s'", ["lock_timeout", "sql.lockTimeout"]),
        ("LOCK_TIMEOUT = 0", ["lock_timeout", "sql.lockTimeout"]),
        ('"Lock_Timeout" = 0', ["lock_timeout", "sql.lockTimeout"]),
        ("lock_timeout to default", ["lock_timeout", "sql.lockTimeout"]),
        ("statement_timeout = 0", ["statement_timeout", "sql.statementTimeout"]),
        ("transaction_timeout = 0", ["transaction_timeout", "remove it"]),
        ("idle_in_transaction_session_timeout = 0", ["idle_in_transaction_session_timeout", "remove it"]),
        ("session authorization x", ["SESSION AUTHORIZATION", "connect as that role", "OWNER TO"]),
        ("session authorization default", ["SESSION AUTHORIZATION", "connect as that role", "OWNER TO"]),
        ("role x", ["ROLE", "connect as that role", "OWNER TO"]),
        ("role none", ["ROLE", "connect as that role", "OWNER TO"]),
        ("standard_conforming_strings = off", ["standard_conforming_strings", "E'…'"]),
        ("standard_conforming_strings to default", ["standard_conforming_strings", "E'…'"]),
    ],
)
def test_settings_that_are_not_for_a_file(name: str, words: list[str]) -> None:
    refused(f"select 1;\nset {name}", 2, f"SET {words[0]}: ", *words[1:])
    refused(f"select 1;\nset local {name}", 2, f"SET LOCAL {words[0]}: ", *words[1:])
    refused(f"vacuum;\nset {name}", 2, f"SET {words[0]}: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("select set_config('lock_timeout', '0', true)", ["lock_timeout", "sql.lockTimeout"]),
        ("select set_config('Role', 'x', true)", ["role", "connect as that role"]),
        ("select set_config('standard_conforming_strings', 'off', true)", ["standard_conforming_strings"]),
        ("set transaction isolation level serializable", ["SET TRANSACTION", "begun the transaction already"]),
        ("set transaction snapshot 'x'", ["SET TRANSACTION SNAPSHOT", "begun the transaction already"]),
        ("set session characteristics as transaction read only", ["SET SESSION CHARACTERISTICS", "outlive", "remove it"]),
        ("reset search_path", ["RESET search_path", "remove it"]),
        ("reset role", ["RESET role", "remove it"]),
        ("reset session authorization", ["RESET session_authorization", "remove it"]),
        ("reset all", ["RESET ALL", "remove it"]),
        ("discard all", ["DISCARD", "remove it"]),
        ("discard temp", ["DISCARD", "remove it"]),
    ],
)
def test_other_settings_that_are_not_for_a_file(text: str, words: list[str]) -> None:
    refused(f"select 1;\n{text}", 2, *words)


@pytest.mark.parametrize("text", ["set local search_path = x", "set search_path = x", "select set_config('x.y', '', true)"])
def test_settings_where_statements_run_one_by_one(text: str) -> None:
    refused(f"{text};\n\nvacuum t", 1, "line 3 cannot run in a transaction", "Name schemas in full", "another file")
    refused(f"vacuum t;\n{text}", 2, "line 1 cannot run in a transaction")


# --- what is not for a migration file ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("copy t from stdin", ["COPY … FROM STDIN", "INSERT"]),
        ("copy t (a, b) from stdin with (format csv)", ["COPY … FROM STDIN", "INSERT"]),
        ("copy t to stdout", ["COPY … TO STDOUT", "remove it"]),
        ("copy (select 1) to stdout", ["COPY … TO STDOUT", "remove it"]),
        ("create index concurrently on t (a)", ["without a name", "CREATE INDEX CONCURRENTLY t_… ON t"]),
        ("drop index concurrently i, j", ["one index", "a statement for each"]),
        ("drop index concurrently i cascade", ["CASCADE"]),
        ("create database d", ["CREATE DATABASE", "run it by hand"]),
        ("drop database d", ["DROP DATABASE", "run it by hand"]),
        ("alter database d set tablespace s", ["ALTER DATABASE … SET TABLESPACE", "run it by hand"]),
        ("create tablespace s location '/s'", ["CREATE TABLESPACE", "run it by hand"]),
        ("drop tablespace s", ["DROP TABLESPACE", "run it by hand"]),
        ("create subscription s connection '' publication p", ["CREATE SUBSCRIPTION", "run it by hand"]),
        ("alter subscription s disable", ["ALTER SUBSCRIPTION", "run it by hand"]),
        ("drop subscription s", ["DROP SUBSCRIPTION", "run it by hand"]),
        ("alter system set a = 1", ["ALTER SYSTEM", "run it by hand"]),
        ("alter system reset all", ["ALTER SYSTEM", "run it by hand"]),
    ],
)
def test_what_is_not_for_a_migration_file(text: str, words: list[str]) -> None:
    refused(f"select 1;\n{text}", 2, *words)
    refused(f"vacuum;\n{text}", 2, *words)


def test_rows_for_copy_are_not_reached() -> None:
    refused("create table t ();\ncopy t from stdin;\nit's\t1\n\\.\n", 2, "COPY … FROM STDIN")


def test_syntax_errors_come_with_their_line() -> None:
    refused("select 1;\nselect\nfrom from", 3, 'syntax error at or near "from"')
