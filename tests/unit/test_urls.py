"""Database URLs as people have them."""

from __future__ import annotations

import pathlib
import stat

import psycopg.conninfo
import pytest

from schemahold.database import urls

BASE = {"user": "app", "password": "pw", "host": "db", "port": "5432", "dbname": "shop"}
BARE = {"user": "app", "password": "pw", "host": "db", "dbname": "shop"}


@pytest.fixture(autouse=True)
def fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the tester's UID has a name must not matter."""
    monkeypatch.setenv("PGUSER", "somebody")


def parse(text: str) -> dict[str, str]:
    return dict(urls.parse(text, origin="secret shop-db, key url").params)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://app:pw@db:5432/shop", BASE),
        ("postgres://app:pw@db:5432/shop", BASE),
        ("postgresql+psycopg://app:pw@db:5432/shop", BASE),
        ("postgresql+asyncpg://app:pw@db:5432/shop", BASE),
        ("postgresql+psycopg2://app:pw@db:5432/shop", BASE),
        ("POSTGRES://app:pw@db:5432/shop", BASE),
        ("postgis://app:pw@db:5432/shop", BASE),
        ("ecto://app:pw@db:5432/shop", BASE),
        ("  postgresql://app:pw@db:5432/shop\n", BASE),
        ('"postgresql://app:pw@db:5432/shop"', BASE),
        ("jdbc:postgresql://db:5432/shop?user=app&password=pw", BASE),
        ("jdbc:postgresql:shop?user=app", {"dbname": "shop", "user": "app"}),
        ("jdbc:postgresql:///shop", {"dbname": "shop"}),
        ("host=db port=5432 dbname=shop user=app password=pw", BASE),
        ("host=db user=app password='p w' dbname=shop", BARE | {"password": "p w"}),
        ("host=db user=app password='x://y' dbname=shop", BARE | {"password": "x://y"}),
        ("postgresql:///shop?host=/run/pg&user=app", {"dbname": "shop", "host": "/run/pg", "user": "app"}),
        ("postgresql://%2Frun%2Fpg/shop", {"host": "/run/pg", "dbname": "shop"}),
        ("postgresql://app@[::1]:5433/shop", {"user": "app", "host": "::1", "port": "5433", "dbname": "shop"}),
        ("postgresql://a:5432,b:5433/shop", {"host": "a,b", "port": "5432,5433", "dbname": "shop"}),
        ("postgresql://a,b:5433/shop", {"host": "a,b", "port": ",5433", "dbname": "shop"}),
        ("postgresql://db", {"host": "db"}),
        ("postgresql://app:pw@db/", {"user": "app", "password": "pw", "host": "db"}),
        ("postgresql://app:pw@db/shop?options=-c%20search_path%3Dx", BARE | {"options": "-c search_path=x"}),
    ],
)
def test_forms(text: str, expected: dict[str, str]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("p%40ss", "p@ss"),
        ("p@ss", "p@ss"),
        ("p@ss@@", "p@ss@@"),
        ("p:q", "p:q"),
        ("p/q", "p/q"),
        ("p?q", "p?q"),
        ("p#q", "p#q"),
        ("p#q/r?s@t", "p#q/r?s@t"),
        ("p/q@r/s", "p/q@r/s"),
        ("100%", "100%"),
        ("a+b", "a+b"),
        ("a b", "a b"),
        ("a&b=c", "a&b=c"),
        ("ü%C3%BC", "üü"),
        ("'\\\"", "'\\\""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("tail", ["@db/shop", "@db:5432/shop?sslmode=require", "@db/shop?application_name=a@b"])
def test_passwords_with_special_characters(written: str, password: str, tail: str) -> None:
    got = parse(f"postgresql://app:{written}{tail}")
    assert (got["user"], got["password"], got["host"], got["dbname"]) == ("app", password, "db", "shop")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("?sslmode=require", "require"),
        ("?sslmode=verify-full", "verify-full"),
        ("?sslmode=no-verify", "require"),
        ("?ssl=true", "require"),
        ("?ssl=false", "disable"),
        ("?ssl=require", "require"),
        ("?ssl=true&sslfactory=org.postgresql.ssl.NonValidatingFactory", "require"),
    ],
)
def test_sslmode(text: str, expected: str) -> None:
    assert parse(f"postgresql://db/shop{text}")["sslmode"] == expected


def test_parameters_of_other_drivers_are_dropped_with_a_note() -> None:
    text = "postgresql://app:pw@db/shop?schema=public&connection_limit=5&pgbouncer=true&connect_timeout=3"
    target = urls.parse(text, origin="variable DATABASE_URL")
    assert target.params == BARE | {"connect_timeout": "3"}
    assert target.notes == (
        "variable DATABASE_URL: parameters that libpq does not know were left out: connection_limit, pgbouncer, schema",
    )


def test_jdbc_names() -> None:
    text = "jdbc:postgresql://a,b/shop?targetServerType=primary&ApplicationName=x&connectTimeout=4&currentSchema=y"
    got = parse(text)
    assert got == {"host": "a,b", "dbname": "shop", "target_session_attrs": "read-write", "application_name": "x",
                   "connect_timeout": "4"}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "mysql://app:S3cret@db/shop",
        "app:S3cret@db/shop",
        "postgresql://app:S3cret@db:port/shop",
        "postgresql://app:S3cret@db:99999/shop",
        "postgresql://app:S3cret@d b/shop",
        "postgresql://app:pw@db/shop?sslmode=S3cret",
        "host=db password='S3cret",
        "host=db nonsense=S3cret",
        "S3cret",
        "Server=db;Password=S3cret",
    ],
)
def test_errors_name_the_origin_and_never_the_value(text: str) -> None:
    with pytest.raises(urls.UrlInvalid) as caught:
        urls.parse(text, origin="secret shop-db, key url")
    assert str(caught.value).startswith("secret shop-db, key url")
    assert "S3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


USERLESS = (
    "jdbc:postgresql://db:5432/shop",
    "jdbc:postgresql://db/shop?password=S3cret",
    "jdbc:postgresql://db/shop?user=",
    "postgresql://db/shop",
    "postgresql://:S3cret@db/shop",
    "host=db dbname=shop password=S3cret",
)


@pytest.mark.parametrize("text", USERLESS)
def test_a_url_without_a_user_where_nothing_else_names_one(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod's UID has no name: libpq would say `local user with ID 65532 does not exist`."""
    known = urls._libpq_defaults()
    monkeypatch.setattr(urls, "_libpq_defaults", lambda: {**known, "user": "", "service": ""})
    with pytest.raises(urls.UrlInvalid) as caught:
        parse(text)
    assert str(caught.value).startswith("secret shop-db, key url names no user")
    assert "?user=" in str(caught.value) and "S3cret" not in str(caught.value)
    for named in ("postgresql://app@db/shop", "jdbc:postgresql://db/shop?user=app", "service=shop", "host=db user=app"):
        assert parse(named)


@pytest.mark.parametrize("found", [{"user": "app", "service": ""}, {"user": "", "service": "shop"}])
@pytest.mark.parametrize("text", USERLESS)
def test_a_url_without_a_user_where_libpq_finds_one(
    text: str, found: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = urls._libpq_defaults()
    monkeypatch.setattr(urls, "_libpq_defaults", lambda: {**known, **found})
    assert not parse(text).get("user")


def test_a_user_in_the_environment_is_libpq_s_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICE", "shop")
    assert (urls._libpq_defaults()["user"], urls._libpq_defaults()["service"]) == ("somebody", "shop")


def test_a_target_does_not_show_its_password() -> None:
    assert "Hunter2" not in repr(urls.parse("postgresql://a:Hunter2@db/x", origin="x"))


def test_libpq_agrees_on_well_formed_urls() -> None:
    for text in ("postgresql://a%3Ab:c%40d@h1:1,h2:2/x%2Fy?sslmode=require&connect_timeout=5", "postgresql://u@[fe80::1]/d"):
        assert parse(text) == {k: v for k, v in psycopg.conninfo.conninfo_to_dict(text).items() if v != ""}


def test_key_files_are_copied_to_0600(tmp_path: pathlib.Path) -> None:
    key = tmp_path / "tls.key"
    key.write_text("the key")
    key.chmod(0o644)
    private = tmp_path / "private"
    private.mkdir()
    target = urls.with_key_files(urls.parse(f"postgresql://db/x?sslkey={key}", origin="x"), private)
    copy = pathlib.Path(target.params["sslkey"])
    assert copy.read_text() == "the key"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    key.write_text("a renewed key")
    again = urls.with_key_files(urls.parse(f"postgresql://db/x?sslkey={key}", origin="x"), private)
    assert pathlib.Path(again.params["sslkey"]).read_text() == "a renewed key"


def test_missing_key_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(urls.UrlInvalid, match="sslkey names a file that cannot be read"):
        urls.with_key_files(urls.parse("postgresql://db/x?sslkey=/nope", origin="x"), tmp_path)


def test_password_file_is_read_each_time(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "token"
    target = urls.parse("postgresql://app:old@db/x", origin="x")
    for token in ("one", "two"):
        path.write_text(token + "\n")
        assert urls.with_password_file(target, str(path)).params["password"] == token
    with pytest.raises(urls.UrlInvalid, match=r"password file .* cannot be read"):
        urls.with_password_file(target, str(tmp_path / "gone"))
    assert urls.with_password_file(target, "") is target
