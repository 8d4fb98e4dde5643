"""The few questions that `up` and `status` ask the API server; everything else goes through kubectl."""

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from . import binaries, credentials
from .commands import CLEAN, run
from .layout import Layout


def get(layout: Layout, path: str, timeout: float = 2.0) -> str | None:
    """The body, or None when there is no good answer."""
    try:
        trust = ssl.create_default_context(cafile=str(layout.credentials / "ca.crt"))
        headers = {"Authorization": f"Bearer {credentials.token(layout)}"}
        request = urllib.request.Request(f"{layout.server}{path}", headers=headers)
        # An explicit empty ProxyHandler: the cluster is never behind the proxy of the environment.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
        with opener.open(request, timeout=timeout) as response:
            return str(response.read().decode())
    except (OSError, ValueError, KeyError, urllib.error.URLError):
        return None


def get_object(layout: Layout, path: str) -> dict[str, Any]:
    """Empty when there is none."""
    body = get(layout, path)
    return dict(json.loads(body)) if body else {}


def ready(layout: Layout) -> bool:
    return get(layout, "/readyz") == "ok"


def condition(thing: dict[str, Any], kind: str) -> bool:
    conditions = thing.get("status", {}).get("conditions") or []
    return any(entry["type"] == kind and entry["status"] == "True" for entry in conditions)


def kubectl(layout: Layout, *words: str, stdin: str | None = None) -> str:
    env = {**CLEAN, "KUBECONFIG": str(layout.kubeconfig)}
    return run([binaries.path("kubectl"), *words], env=env, stdin=stdin)
