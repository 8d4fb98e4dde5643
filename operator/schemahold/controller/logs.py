"""Structured logs: one JSON object a line, or plain text for a person at a terminal."""

from __future__ import annotations

import json
import logging
import sys
import traceback

from schemahold.core import redact

_OWN_FIELDS = ("namespace", "migration")


class JsonFormatter(logging.Formatter):
    """``time``, ``level``, ``logger``, ``message``, and what the call added.  Secrets are redacted here, once for all."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact.redact(record.getMessage()),
        }
        fields |= {key: getattr(record, key) for key in _OWN_FIELDS if hasattr(record, key)}
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = redact.redact("".join(traceback.format_exception(*record.exc_info)))
        return json.dumps(fields, ensure_ascii=False)


class PlainFormatter(logging.Formatter):
    """For ``logFormat: plain``."""

    def format(self, record: logging.LogRecord) -> str:
        return redact.redact(super().format(record))


def configure(log_format: str) -> None:
    """Everything goes to stderr; kopf and aiohttp speak only of what went wrong."""
    handler = logging.StreamHandler(sys.stderr)
    plain = PlainFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("kopf", "aiohttp", "kubernetes"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
