"""Which Deployment is the source, which version is the target, and who waits for what."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from schemahold.api import models
from schemahold.core import inputs as hashes
from schemahold.core import observed, versions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Situation:
    """``source``: whose container the Job copies, None if it cannot be told; ``ambiguous``: because several could be meant.

    ``target``: the version to migrate to, "" if nothing says.  ``wanted``: Deployments whose version is not approved.
    ``inputs``, ``contract_inputs`` and ``database``: hashes of what would run now, "" without a source.
    """

    source: observed.Deployment | None
    ambiguous: bool
    target: str
    wanted: tuple[observed.Deployment, ...]
    inputs: str
    database: str
    contract_inputs: str = ""

    @property
    def wants_target(self) -> bool:
        return any(deployment.version == self.target for deployment in self.wanted)


def read(look: observed.Observed, spec: models.Spec) -> Situation:
    """The situation in one look."""
    source = _source(look, spec)
    container = versions.container(source.template) if source else None
    return Situation(
        source=source,
        ambiguous=source is None and not spec.work.deployment and len(look.deployments) > 1,
        target=spec.version or (source.version if source else ""),
        wanted=tuple(deployment for deployment in look.deployments if deployment.wants),
        inputs=_inputs(look, spec, container, "expand") if container else "",
        contract_inputs=_inputs(look, spec, container, "contract") if container and spec.work_of("contract") else "",
        database=hashes.database_reference(spec, container) if container else "",
    )


def _inputs(look: observed.Observed, spec: models.Spec, container: Mapping[str, Any], phase: str) -> str:
    files = look.files.get(phase)
    return hashes.inputs(spec, container, phase=phase, pin=files.pin if files else "")


def _source(look: observed.Observed, spec: models.Spec) -> observed.Deployment | None:
    if spec.work.deployment:
        return next((one for one in look.deployments if one.name == spec.work.deployment), None)
    return look.deployments[0] if len(look.deployments) == 1 else None
