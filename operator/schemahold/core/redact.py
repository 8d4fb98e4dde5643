"""Secrets out of text that leaves us: messages, logs, events, status.

Over-redaction is a nuisance, under-redaction a leak, so a doubtful case is redacted.
"""

from __future__ import annotations

import re

MASK = "***"

# scheme://anything@ up to the last @ of the word: passwords in the wild carry unescaped ':', '/', '@' and '?'.
_URL = re.compile(r"\b((?:jdbc:)?[A-Za-z][A-Za-z0-9+.\-]*://)([^\s'\"<>`]*)@")

# password=…, "password": "…", PGPASSWORD=…, --token …: the value ends at white space or a delimiter, or at its quote.
_SECRET_WORD = (
    r"[\w.\-]*(?:pass(?![a-z])|password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|credentials?)\w*"
)
_ASSIGNED = re.compile(
    rf"(?i)(?P<key>\b{_SECRET_WORD}[\"']?\s*(?:=|:(?!//))\s*)"
    r"(?P<value>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,;&\"')}\]]+)"
)
_FLAG = re.compile(rf"(?i)(?P<key>--{_SECRET_WORD}\s+)(?P<value>[^\s\-][^\s]*)")
# PASSWORD '…' of SQL, whose value follows without any sign.
_SQL_PASSWORD = re.compile(
    r"(?is)(?P<key>\bpassword\s+)(?P<value>(?:E|U&)?'(?:[^'\\]|''|\\.)*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"
)
_BEARER = re.compile(r"(?i)\b(?P<key>(?:bearer|basic)\s+)(?P<value>[A-Za-z0-9._~+/\-]{8,}=*)")
_TOKENS = re.compile(
    r"\beyJ[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]*"  # JSON web token
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS access key
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bgithub_pat_[A-Za-z0-9_]{20,}\b|\bglpat-[A-Za-z0-9_\-]{16,}"
    r"|\bxox[abprs]-[A-Za-z0-9\-]{10,}"
    r"|[?&]X-Amz-(?:Signature|Security-Token|Credential)=[^\s&]+"  # IAM tokens are signed URLs
)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def redact(text: str) -> str:
    """``text`` with every credential replaced by ``***``; everything else as it was."""
    text = _PEM.sub(MASK, text)
    text = _URL.sub(_url, text)
    text = _ASSIGNED.sub(_assigned, text)
    text = _FLAG.sub(_assigned, text)
    text = _SQL_PASSWORD.sub(lambda found: f"{found['key']}'{MASK}'", text)
    text = _BEARER.sub(_assigned, text)
    return _TOKENS.sub(MASK, text)


def _url(match: re.Match[str]) -> str:
    scheme, before = match.groups()
    # https://example.com/?mail=a@b carries no credentials: they have a ':' or come before any '/'.
    if ":" not in before and "/" in before:
        return match.group(0)
    return f"{scheme}{MASK}@"


def _assigned(match: re.Match[str]) -> str:
    value = match.group("value")
    quote = value[0] if value[0] in "\"'" and len(value) > 1 else ""
    return f"{match.group('key')}{quote}{MASK}{quote}"
