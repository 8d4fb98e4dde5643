"""What the user wants: ``spec`` of a SchemaMigration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from schemahold.api.schema import (
    CLEAN,
    DNS_LABEL,
    DNS_SUBDOMAIN,
    ENV_NAME,
    PATH,
    Duration,
    Model,
    duration_between,
    refuse_unless,
)

# What PGOPTIONS may carry. The values are times, as Postgres writes them: nothing that would need quoting.
SESSION_OPTIONS = (
    "lock_timeout",
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "client_connection_check_interval",
)
VERSION_LENGTH = 512  # of spec.version, so of every version that can be migrated to
_SESSION_VALUE = "^[0-9]{1,9}(us|ms|s|min|h|d)?$"


def _quoted(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


class SecretKeyRef(Model):
    """A key of a Secret in the same namespace."""

    name: Annotated[str, pydantic.Field(min_length=1, max_length=253)] = pydantic.Field(
        description="The Secret's name.",
        json_schema_extra=refuse_unless(
            (
                f"self.matches('{DNS_SUBDOMAIN}')",
                "`secretKeyRef.name` must be the name of a Secret in this namespace: small letters, digits, '-' and '.', "
                "for example 'shop-db'",
            )
        ),
    )
    key: Annotated[str, pydantic.Field(min_length=1, max_length=253)] = pydantic.Field(
        description="The key whose value is the URL.",
        json_schema_extra=refuse_unless(
            (
                "self.matches('^[-._a-zA-Z0-9]+$')",
                "`secretKeyRef.key` must be a key of the Secret: letters, digits, '-', '_' and '.', for example 'url'",
            )
        ),
    )


class UrlFrom(Model):
    """Where the database URL comes from, when not from the copied container's own environment."""

    secret_key_ref: SecretKeyRef


class Database(Model):
    """Which database: exactly one of ``urlFrom`` and ``env``."""

    model_config = pydantic.ConfigDict(
        json_schema_extra=refuse_unless(
            (
                "has(self.urlFrom) != has(self.env)",
                "exactly one of `database.urlFrom` and `database.env` must be set: `urlFrom.secretKeyRef` names a Secret's "
                "key, `env` a variable of the copied container",
            )
        )
    )

    url_from: UrlFrom | None = pydantic.Field(
        None, description="A Secret's key that holds the database URL. The operator never reads it; the Job's pod does."
    )
    env: Annotated[str, pydantic.Field(pattern=ENV_NAME, max_length=253)] | None = pydantic.Field(
        None,
        description="The name of the copied container's own variable that holds the database URL.",
        json_schema_extra=refuse_unless(
            (
                f"self.matches('{ENV_NAME}')",
                "`database.env` must be the name of a variable, without '$' and without a value, for example 'DATABASE_URL'",
            )
        ),
    )
    password_file: Annotated[str, pydantic.Field(pattern=PATH, max_length=1024)] | None = pydantic.Field(
        None,
        description="An absolute path in the copied container, read at every connect as the password (IAM tokens).",
        json_schema_extra=refuse_unless(
            (
                "self.matches('^/[^/[:cntrl:]]') && !self.endsWith('/')",
                "`database.passwordFile` must be the absolute path of a file, for example '/var/run/secrets/db/token'",
            ),
            (
                "self != '/schemahold' && !self.startsWith('/schemahold/') && !self.startsWith('/tmp/')",
                "`database.passwordFile` must not lie under '/schemahold' or '/tmp', which the Job's pod uses itself: "
                "mount the file elsewhere in the Deployment",
            ),
        ),
    )


def _source_fields(whose: str) -> tuple[Any, ...]:
    """The fields that run and sql share: deployment, sidecars, grace_period, start_timeout."""
    deployment = pydantic.Field(
        None,
        description="The Deployment whose container the Job copies; needed when several carry the label.",
        json_schema_extra=refuse_unless(
            (
                f"self.matches('{DNS_SUBDOMAIN}')",
                f"`{whose}.deployment` must be the name of a Deployment in this namespace, without 'deployment/' before it, "
                "for example 'shop-api'",
            )
        ),
    )
    sidecars: Any = pydantic.Field(
        [],
        description="Ordinary containers of the source that the migration needs (a proxy): they run as native sidecars.",
        json_schema_extra={
            "x-kubernetes-list-type": "set",
            **refuse_unless(
                (
                    "!self.exists(name, name in ['lock', 'gate', 'migrate', 'shell', 'files'])",
                    f"`{whose}.sidecars` must not name 'lock', 'gate', 'migrate', 'shell' or 'files', the Job's own "
                    "containers: rename the container in the Deployment",
                ),
                (
                    f"self.all(name, name.matches('{DNS_LABEL}'))",
                    f"`{whose}.sidecars` must be names of the Deployment's containers: small letters, digits and '-', for "
                    "example 'cloud-sql-proxy'",
                ),
            ),
        },
    )
    grace_period = pydantic.Field(
        "60s",
        description="How long a deleted pod's migration may finish before it is killed.",
        json_schema_extra=duration_between(f"{whose}.gracePeriod", "1s", "24h"),
    )
    start_timeout = pydantic.Field(
        "5m",
        description="A pod in which the command has not started by then is deleted.",
        json_schema_extra=duration_between(f"{whose}.startTimeout", "1s", "24h"),
    )
    return deployment, sidecars, grace_period, start_timeout


DeploymentName = Annotated[str, pydantic.Field(min_length=1, max_length=253)]
Sidecars = Annotated[list[Annotated[str, pydantic.Field(min_length=1, max_length=63)]], pydantic.Field(max_length=16)]
_RUN, _SQL = _source_fields("run"), _source_fields("sql")


class Run(Model):
    """What runs: a command in a copy of the Deployment's container."""

    command: Annotated[
        list[Annotated[str, pydantic.Field(max_length=16384)]], pydantic.Field(min_length=1, max_length=64)
    ] = pydantic.Field(
        description="The command and its arguments. The image's own entrypoint is not used.",
        json_schema_extra=refuse_unless(
            (
                "self.size() == 0 || self[0].matches('^[^[:space:][:cntrl:]-]')",
                "`run.command` must begin with a program: its first element must not be empty, a blank or an option, "
                "for example ['npm', 'run', 'migrate']",
            ),
            (
                "self.size() == 0 || !self[0].matches('[[:space:]]')",
                "`run.command` must have one word per element, because no shell splits it: write "
                "['npm', 'run', 'migrate'], or ['sh', '-c', 'npm run migrate'] for a line of shell",
            ),
        ),
    )
    deployment: DeploymentName | None = _RUN[0]
    sidecars: Sidecars = _RUN[1]
    grace_period: Duration = _RUN[2]
    start_timeout: Duration = _RUN[3]
    session_options: Annotated[
        dict[str, Annotated[str, pydantic.Field(max_length=64)]], pydantic.Field(max_length=len(SESSION_OPTIONS))
    ] = pydantic.Field(
        {},
        description="Server settings for the command's sessions (PGOPTIONS), where the server takes them.",
        json_schema_extra=refuse_unless(
            (
                f"self.all(key, key in [{_quoted(SESSION_OPTIONS)}])",
                f'="`run.sessionOptions` must not set \'" + self.filter(key, !(key in [{_quoted(SESSION_OPTIONS)}]))[0] + '
                f'"\': it takes {_quoted(SESSION_OPTIONS)}; set others in the command"',
            ),
            (
                f"self.all(key, self[key].matches('{_SESSION_VALUE}'))",
                "`run.sessionOptions` must be times as Postgres writes them, a whole number and a unit (us, ms, s, min, h, "
                "d), for example '5s' or '1min'",
            ),
        ),
    )
    log_tail: bool = pydantic.Field(True, description="Copy the last lines of a failed command into status.")


ConfigMapName = Annotated[str, pydantic.Field(min_length=1, max_length=253)]


class Sql(Model):
    """What runs: SQL files, from ConfigMaps or from a directory in the source's image; exactly one of the two."""

    model_config = pydantic.ConfigDict(
        json_schema_extra=refuse_unless(
            (
                "has(self.configMaps) != has(self.directory)",
                "exactly one of `sql.configMaps` and `sql.directory` must be set: `configMaps` names ConfigMaps of this "
                "namespace, `directory` a path in the copied container's image",
            )
        )
    )

    config_maps: Annotated[list[ConfigMapName], pydantic.Field(min_length=1, max_length=16)] | None = pydantic.Field(
        None,
        description="ConfigMaps whose keys are the files, all together in one order.",
        json_schema_extra={
            "x-kubernetes-list-type": "set",
            **refuse_unless(
                (
                    f"self.all(name, name.matches('{DNS_SUBDOMAIN}'))",
                    "`sql.configMaps` must be names of ConfigMaps in this namespace: small letters, digits, '-' and '.', "
                    "for example 'shop-sql'",
                )
            ),
        },
    )
    directory: Annotated[str, pydantic.Field(pattern=PATH, max_length=1024)] | None = pydantic.Field(
        None,
        description="An absolute path in the image of the copied container; the .sql files in it are the migration.",
        json_schema_extra=refuse_unless(
            (
                "self.matches('^/[^/[:cntrl:]]') && !self.endsWith('/') && !self.matches('(^|/)[.][.](/|$)')",
                "`sql.directory` must be an absolute path in the image, without '..' or a '/' at its end, for example "
                "'/app/migrations'",
            )
        ),
    )
    baseline: Annotated[str, pydantic.Field(min_length=1, max_length=64)] | None = pydantic.Field(
        None,
        description="Adopts a database that has a schema: files up to this number count as applied, when none is recorded.",
        json_schema_extra=refuse_unless(
            (
                "self.matches('^V?[0-9]+([._][0-9]+)*$')",
                "`sql.baseline` must be the number of a file, for example '0003' or '1.2'",
            )
        ),
    )
    out_of_order: Literal["refuse", "allow"] = pydantic.Field(
        "refuse", description="What happens to a new file that sorts before one that has been applied."
    )
    large_table: Annotated[int, pydantic.Field(ge=0, le=10**12)] = pydantic.Field(
        100_000, description="From so many rows on (the catalog's estimate), what only size makes dangerous is refused."
    )
    lock_timeout: Duration = pydantic.Field(
        "2s",
        description="The longest that one statement waits for a lock, while others queue behind it.",
        json_schema_extra=duration_between("sql.lockTimeout", "1ms", "10m"),
    )
    statement_timeout: Duration = pydantic.Field(
        "0s",
        description="The longest that one statement of a transactional file may take; 0s: no limit.",
        json_schema_extra=duration_between("sql.statementTimeout", "0s", "24h"),
    )
    retry_for: Duration = pydantic.Field(
        "10m",
        description="How long a file that meets locks (lock timeout, deadlock) is rolled back and tried again.",
        json_schema_extra=duration_between("sql.retryFor", "0s", "24h"),
    )
    deployment: DeploymentName | None = _SQL[0]
    sidecars: Sidecars = _SQL[1]
    grace_period: Duration = _SQL[2]
    start_timeout: Duration = _SQL[3]


Work = Run | Sql


class Contract(Model):
    """What removes the old, after the last pod of an older version is gone."""

    model_config = pydantic.ConfigDict(
        json_schema_extra=refuse_unless(
            (
                "!has(self.run) || !has(self.sql)",
                "at most one of `contract.run` and `contract.sql` must be set: take one out",
            )
        )
    )

    run: Run | None = pydantic.Field(
        None,
        description="A command. Contracts of versions that were passed over are not run later: it must remove whatever they "
        "would have removed, as migration tools do.",
    )
    sql: Sql | None = pydantic.Field(
        None, description="SQL files of the contract. Without run and sql: the files of spec.sql named *.contract.sql."
    )
    after: Duration = pydantic.Field(
        "10m",
        description="How long the version must have been rolled out everywhere, with no pod of another version left.",
        json_schema_extra=duration_between("contract.after", "0s", "720h"),
    )
    approval: Literal["Automatic", "Manual"] = pydantic.Field(
        "Automatic",
        description="Manual: it also waits for the annotation schemahold.dev/approve-contract: <version>.",
    )


class Lock(Model):
    """The advisory lock."""

    timeout: Duration = pydantic.Field(
        "30s",
        description="How long to wait for the lock before the attempt fails.",
        json_schema_extra=duration_between("lock.timeout", "1s", "1h"),
    )
    name: Annotated[str, pydantic.Field(max_length=63)] = pydantic.Field(
        "",
        description="Splits the one lock per database: migrations with different names may run side by side.",
        json_schema_extra=refuse_unless(
            (
                "self.matches('^([A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?)?$')",
                "`lock.name` must be letters, digits, '.', '_', '/' and '-', with a letter or digit at both ends, "
                "for example 'reporting'",
            )
        ),
    )
    allow_pooler: bool = pydantic.Field(
        False, description="Go on behind a connection pooler; only the ledger then keeps two runs apart."
    )


class Spec(Model):
    """What the user wants."""

    model_config = pydantic.ConfigDict(
        json_schema_extra=refuse_unless(
            (
                # An identity added or removed later would be another ledger name, under which nothing has run yet.
                "has(self.identity) == has(oldSelf.identity) && (!has(self.identity) || self.identity == oldSelf.identity)",
                "`identity` must not be changed, added or removed, because the ledger knows the migration by it: put back "
                "the old value, or create another SchemaMigration",
            ),
            (
                "has(self.run) != has(self.sql)",
                "exactly one of `run` and `sql` must be set: `run.command` is a migration tool's command, `sql` SQL files",
            ),
            (
                "!has(self.sql) || has(self.version)",
                "`version` must be set with `sql`: files that changed alone would be no new version",
            ),
            (
                "!has(self.contract) || has(self.contract.run) || has(self.contract.sql) || has(self.sql)",
                "`contract` must have `run` or `sql`, because `spec.run` has no files named *.contract.sql",
            ),
        )
    )

    version: Annotated[str, pydantic.Field(min_length=1, max_length=VERSION_LENGTH)] | None = pydantic.Field(
        None,
        description="The version to migrate to: the template's annotation schemahold.dev/version. Unset: follow the source.",
        json_schema_extra=refuse_unless(
            (
                CLEAN,
                "`version` must not begin or end with a blank, or contain a line break or another control character: "
                'quote it as one plain string, for example "2026.11.2"',
            )
        ),
    )
    identity: Annotated[str, pydantic.Field(min_length=1, max_length=253)] | None = pydantic.Field(
        None,
        description="Name in the ledger; default <namespace>/<name>. Immutable.",
        json_schema_extra=refuse_unless(
            (
                CLEAN,
                "`identity` must not begin or end with a blank, or contain a line break or another control character: "
                "for example 'prod/shop'",
            )
        ),
    )
    database: Database
    run: Run | None = pydantic.Field(None, description="A command in a copy of the Deployment's container.")
    sql: Sql | None = pydantic.Field(None, description="SQL files, run by schemahold itself. Needs version.")
    contract: Contract | None = pydantic.Field(
        None, description="What removes the old, after the last pod of an older version is gone."
    )
    lock: Lock = Lock()
    retries: Annotated[int, pydantic.Field(ge=0, le=100)] = pydantic.Field(
        3, description="How often an attempt that failed before the command started is repeated."
    )
    settle: Duration = pydantic.Field(
        "10s",
        description="How long version and inputs must stand still first, in follow mode or after an earlier attempt.",
        json_schema_extra=duration_between("settle", "0s", "1h"),
    )
    suspend: bool = pydantic.Field(
        False, description="Start nothing and release nothing; what runs finishes and is recorded."
    )

    @property
    def work(self) -> Work:
        """What the expand phase runs."""
        return self.sql or self.run or _NOTHING

    def work_of(self, phase: str) -> Work | None:
        """What a phase runs; None when the contract has nothing of its own, and no ``spec.sql`` has files for it."""
        if phase == "expand":
            return self.work
        own = (self.contract.sql or self.contract.run) if self.contract else None
        return own or self.sql

    @property
    def contract_after(self) -> str:
        return (self.contract or Contract()).after

    @property
    def contract_is_manual(self) -> bool:
        return self.contract is not None and self.contract.approval == "Manual"


# Of a stored resource that has neither run nor sql, which an older CRD's schema may have let through.
_NOTHING = Run(command=["false"])
