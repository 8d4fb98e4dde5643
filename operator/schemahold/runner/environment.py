"""What lock and gate read from their environment; the defaults are the pod's, the rest is for tests on one machine."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping

from schemahold.api import pod

SHARED = "SCHEMAHOLD_SHARED"
TERMINATION = "SCHEMAHOLD_TERMINATION_LOG"
BUSYBOX = "SCHEMAHOLD_BUSYBOX"


class EnvironmentInvalid(Exception):
    """A variable is missing or cannot be read; the text names it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """``variables``: all of them, since the Ask names the one with the URL."""

    ask: pod.Ask
    pod_uid: str
    pod_name: str
    shared: pathlib.Path
    termination: pathlib.Path
    busybox: pathlib.Path
    variables: Mapping[str, str] = dataclasses.field(repr=False)


def read(variables: Mapping[str, str] = os.environ) -> Environment:
    try:
        ask = pod.Ask.from_json(variables[pod.ENV_ASK])
        pod_uid = variables[pod.ENV_POD_UID]
    except KeyError as error:
        raise EnvironmentInvalid(f"variable {error.args[0]} is missing") from None
    except (ValueError, TypeError) as error:
        raise EnvironmentInvalid(f"variable {pod.ENV_ASK} cannot be read: {error}") from None
    return Environment(
        ask=ask,
        pod_uid=pod_uid,
        pod_name=variables.get(pod.ENV_POD_NAME, ""),
        shared=pathlib.Path(variables.get(SHARED, pod.SHARED_PATH)),
        termination=termination(variables),
        busybox=pathlib.Path(variables.get(BUSYBOX, "/opt/schemahold/busybox")),
        variables=variables,
    )


def termination(variables: Mapping[str, str] = os.environ) -> pathlib.Path:
    return pathlib.Path(variables.get(TERMINATION, "/dev/termination-log"))
