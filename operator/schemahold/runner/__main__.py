"""``python -m schemahold.runner lock|gate|sql|shell``."""

from __future__ import annotations

import sys

from schemahold.api import pod
from schemahold.core import redact
from schemahold.runner import environment, files, gate, messages


def main(arguments: list[str]) -> int:
    if arguments not in (["lock"], ["gate"], ["sql"], ["shell"]):
        print("usage: python -m schemahold.runner lock|gate|sql|shell", file=sys.stderr)
        return 2
    try:
        env = environment.read()
    except environment.EnvironmentInvalid as error:
        return _fault(str(error))
    try:
        return _run(arguments[0], env)
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        if arguments[0] == "lock" and not (env.shared / messages.HELD).exists():
            # The gate waits for our word; after it has passed, being restarted by the kubelet is better than any word.
            report = pod.Report(reason=pod.Reason.RUNNER_ERROR, message=redact.redact(message))
            files.write(env.shared / messages.STOPPED, report.to_json() + "\n")
        return _fault(message)


def _run(container: str, env: environment.Environment) -> int:
    if container == "gate":
        return gate.run(env)
    if container == "shell":
        gate.provide(env.shared, env.busybox)
        return 0
    if container == "sql":
        from schemahold.runner import sql

        return sql.run(env)
    from schemahold.runner import lock  # gate needs no driver, and starts in half the time without it

    return lock.run(env)


def _fault(message: str) -> int:
    message = redact.redact(message)
    print(f"{pod.Reason.RUNNER_ERROR}: {message}", flush=True)
    report = pod.Report(reason=pod.Reason.RUNNER_ERROR, message=message)
    files.termination_message(environment.termination(), report.to_json())
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
