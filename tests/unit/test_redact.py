"""No secret gets out; and what is no secret stays readable."""

from __future__ import annotations

import pytest

from schemahold.core.redact import redact

SECRET = "Hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://app:{SECRET}@db:5432/shop",
        f"postgresql+psycopg://app:{SECRET}@db/shop failed",
        f"cannot reach 'postgres://app:p@ss/w:{SECRET}?#@db/shop'",
        f"jdbc:postgresql://db/shop?user=app&password={SECRET}&ssl=true",
        f"redis://:{SECRET}@cache:6379",
        f"https://{SECRET}@github.com/x",
        f"host=db password={SECRET} dbname=shop",
        f"host=db password = '{SECRET} with \\' quote' dbname=shop",
        f"PGPASSWORD={SECRET} npm run migrate",
        f'{{"password": "{SECRET}", "user": "app"}}',
        f"DB_PASSWORD: {SECRET}",
        f"config.secret_key={SECRET}",
        f"api-key={SECRET}",
        f"--password {SECRET} --host db",
        f"--password={SECRET}",
        f"Authorization: Bearer {SECRET}abcdefgh",
        f"token: eyJhbGciOi.{SECRET}.{SECRET}",
        f"https://rds/?Action=connect&X-Amz-Signature={SECRET}&x=1",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET} cut off here",
        "key AKIA" + "ABCDEFGHIJKLMNOP is Hunter-less",
    ],
)
def test_secrets_go(text: str) -> None:
    assert SECRET not in redact(text)
    assert "***" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        'relation "orders" does not exist',
        "see https://example.com/docs?mail=someone@example.com",
        "connection to server at 127.0.0.1, port 5432 failed: Connection refused",
        'password authentication failed for user "app"',
        "row 7 is succeeded, exit code 0",
        "postgresql://db:5432/shop",
        "image registry.example.com/shop@sha256:0123",
        "",
    ],
)
def test_the_rest_stays(text: str) -> None:
    assert redact(text) == text


def test_what_surrounds_a_secret_stays() -> None:
    assert redact(f"pg: postgres://a:{SECRET}@db/shop?x=1 said no") == "pg: postgres://***@db/shop?x=1 said no"
    assert redact(f"password={SECRET}, host=db") == "password=***, host=db"


@pytest.mark.parametrize("text", ["postgres://a:b@h/d password=x token: y --secret z"])
def test_twice_is_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)
