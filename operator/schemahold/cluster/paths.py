"""Where the API server keeps what we read and write."""

from __future__ import annotations

from schemahold.api import names


def migrations(namespace: str, name: str = "", subresource: str = "") -> str:
    return _path(f"/apis/{names.GROUP}/{names.VERSION}/namespaces/{namespace}/{names.PLURAL}", name, subresource)


def deployments(namespace: str, name: str = "") -> str:
    return _path(f"/apis/apps/v1/namespaces/{namespace}/deployments", name)


def jobs(namespace: str, name: str = "") -> str:
    return _path(f"/apis/batch/v1/namespaces/{namespace}/jobs", name)


def pods(namespace: str, name: str = "") -> str:
    return _path(f"/api/v1/namespaces/{namespace}/pods", name)


def config_maps(namespace: str, name: str = "") -> str:
    return _path(f"/api/v1/namespaces/{namespace}/configmaps", name)


def events(namespace: str, name: str = "") -> str:
    return _path(f"/api/v1/namespaces/{namespace}/events", name)


def _path(collection: str, *rest: str) -> str:
    return "/".join([collection, *(part for part in rest if part)])
