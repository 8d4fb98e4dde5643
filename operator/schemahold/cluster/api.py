"""A thin client: JSON in, JSON out, over the connection pool and credentials of ``kubernetes.aio``.

The package's generated models would cost time and memory for every object of every look, and we keep only a few fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.config.config_exception import ConfigException

JsonDict = dict[str, Any]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"


class ApiError(Exception):
    """The API server refused. ``status``: HTTP status; ``reason``: its machine-readable reason; ``message``: its words."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message = status, reason, message


class NotFound(ApiError):
    """404."""


class Conflict(ApiError):
    """409, or a JSON patch whose ``test`` failed (422): someone else wrote first."""


class Unavailable(Exception):
    """No answer: the write may or may not have happened."""


class Api:
    """One client for the whole process.  ``timeout``: seconds for one request."""

    def __init__(self, api_client: client.ApiClient, timeout: float = 30.0) -> None:
        self._client = api_client
        self._timeout = timeout
        self.writes = 0

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def get(self, path: str, **query: str) -> JsonDict:
        return await self._request("GET", path, query=query)

    async def items(self, path: str, **query: str) -> list[JsonDict]:
        """All items of a list, read page by page.

        No ``resourceVersion`` is given, so the API server answers with what etcd has now, never with an old cache.
        """
        found: list[JsonDict] = []
        token = ""
        while True:
            page = await self._request(
                "GET", path, query={**query, "limit": "500", **({"continue": token} if token else {})}
            )
            found += page.get("items") or []
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return found

    async def create(self, path: str, body: Mapping[str, Any], **query: str) -> JsonDict:
        return await self._write("POST", path, body, query=query)

    async def replace(self, path: str, body: Mapping[str, Any]) -> JsonDict:
        return await self._write("PUT", path, body)

    async def patch(self, path: str, body: Any, kind: str = MERGE_PATCH) -> JsonDict:
        return await self._write("PATCH", path, body, content_type=kind)

    async def delete(self, path: str, uid: str, propagation: str = "Background") -> None:
        """Deletes exactly the object with this uid; one that is gone, or replaced by another, is left alone."""
        body = {"propagationPolicy": propagation, "preconditions": {"uid": uid}}
        try:
            await self._write("DELETE", path, body)
        except (NotFound, Conflict):
            return

    async def _write(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> JsonDict:
        self.writes += 1
        return await self._request(method, path, query=query or {}, body=body, content_type=content_type)

    async def _request(
        self, method: str, path: str, *, query: Mapping[str, str], body: Any = None, content_type: str = "application/json"
    ) -> JsonDict:
        try:
            request = await self._client.param_serialize(
                method=method,
                resource_path=path,
                query_params=list(query.items()),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self._client.call_api(*request, _request_timeout=self._timeout)
            text = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{method} {path}: {type(error).__name__}: {error}") from error
        if response.status >= 400:
            raise _error(response.status, text)
        parsed: JsonDict = json.loads(text) if text else {}
        return parsed


def _error(status: int, text: bytes) -> ApiError:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {}
    answer = answer if isinstance(answer, dict) else {}
    reason, message = str(answer.get("reason", "")), str(answer.get("message", text[:300]))
    if status == 404:
        return NotFound(status, reason, message)
    # The API server answers a JSON patch whose `test` fails with a bare 422; an invalid object's has details.
    if status == 409 or (status == 422 and reason == "Invalid" and not answer.get("details")):
        return Conflict(status, reason, message)
    return ApiError(status, reason, message)


async def connect() -> Api:
    """A client with the pod's service account, or outside a cluster with the kubeconfig."""
    configuration = client.Configuration()
    configuration.connection_pool_maxsize = 64
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except ConfigException:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    return Api(client.ApiClient(configuration))
