"""What a look makes of the API's JSON."""

from __future__ import annotations

from typing import Any

import pytest

from schemahold.core import observed


def _deployment(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"annotations": {"schemahold.dev/version": "v2"}}, "spec": {"containers": []}}
    annotations = {"schemahold.dev/held": "v2", "schemahold.dev/approved": "v1"}
    meta = {"name": "shop-api", "uid": "u", "annotations": annotations}
    return {"metadata": meta, "spec": {"template": template, **spec}}


@pytest.mark.parametrize(("spec", "held"), [({"paused": True}, "v2"), ({"paused": False}, ""), ({}, "")])
def test_held_is_what_is_paused_and_ours(spec: dict[str, Any], held: str) -> None:
    """Without admission (uninstalled), a person resumes a held Deployment, and the annotation stays behind.

    Taken for held, its release would remove a pause that is not there, which the API server refuses for ever.
    """
    found = observed.Deployment.of(_deployment(**spec))
    assert found.held == held
    assert found.wants
