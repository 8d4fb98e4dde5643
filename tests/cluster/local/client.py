"""The few questions that `up` and `status` ask the API server; everything else goes through kubectl."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from . import binaries, credentials
from .commands import CLEAN, run
from .layout import Layout


class Unanswered(Exception):
    """What a look at the API server got instead of an answer, in words."""


def get(layout: Layout, path: str, timeout: float = 2.0) -> str:
    """The body of a good answer."""
    try:
        trust = ssl.create_default_context(cafile=str(layout.credentials / "ca.crt"))
        headers = {"Authorization": f"Bearer {credentials.token(layout)}"}
        request = urllib.request.Request(f"{layout.server}{path}", headers=headers)
        # An explicit empty ProxyHandler: the cluster is never behind the proxy of the environment.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
        with opener.open(request, timeout=timeout) as response:
            return str(response.read().decode())
    except urllib.error.HTTPError as error:
        raise Unanswered(f"{path}: {error.code} {_essence(error)}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise Unanswered(f"{layout.server}{path}: {reason}") from None


def _essence(error: urllib.error.HTTPError) -> str:
    """Of /readyz the checks that fail, of a Status its message."""
    try:
        body = error.read().decode(errors="replace")
        return str(json.loads(body)["message"])
    except (OSError, http.client.HTTPException):
        return str(error.reason)
    except (ValueError, KeyError, TypeError):
        failing = [line for line in body.splitlines() if line.startswith("[-]")]
        return "; ".join(failing) or str(error.reason)


def get_object(layout: Layout, path: str) -> dict[str, Any]:
    try:
        return dict(json.loads(get(layout, path)))
    except (ValueError, TypeError) as error:
        raise Unanswered(f"{path}: not the JSON of an object ({error})") from None


def unready(layout: Layout) -> str:
    """What keeps the API server from being ready; empty when nothing does."""
    said = get(layout, "/readyz")
    return "" if said == "ok" else f"/readyz says {said[:200]!r}"


def lacking(thing: dict[str, Any], kind: str) -> str:
    """Why this condition is not True; empty when it is."""
    for entry in (thing.get("status") or {}).get("conditions") or []:
        if entry["type"] == kind:
            said = entry.get("message") or entry.get("reason") or "no reason given"
            return "" if entry["status"] == "True" else f"{kind} is {entry['status']}: {said}"
    return f"it has no condition {kind} yet"


def kubectl(layout: Layout, *words: str, stdin: str | None = None) -> str:
    env = {**CLEAN, "KUBECONFIG": str(layout.kubeconfig)}
    return run([binaries.path("kubectl"), *words], env=env, stdin=stdin)
