"""Every name that crosses a boundary: labels, annotations, finalizers, container names.

One word per thing (docs/reference.md#words); nothing here is computed.
"""

GROUP = "schemahold.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "SchemaMigration"
PLURAL = "schemamigrations"

# Label, on a Deployment: opts in, names the SchemaMigration. On our Jobs and their pods: whose attempt they are.
MIGRATION = f"{GROUP}/migration"

# Pod template annotation: what the template needs.
VERSION_ANNOTATION = f"{GROUP}/version"

# Annotations on a Deployment. Admission owns all of them but BREAK_GLASS, which a person writes.
APPROVED = f"{GROUP}/approved"  # this version may roll out
HELD = f"{GROUP}/held"  # the pause is ours, for this version
ADOPTED = f"{GROUP}/adopted"  # this version ran before we were asked
BREAK_GLASS = f"{GROUP}/break-glass"  # a person's reason to roll out unapproved
BREAK_GLASS_BY = f"{GROUP}/break-glass-by"  # "<user> <version>", recorded by admission
FAILED = f"{GROUP}/failed"  # the migration to this version failed; written by the operator

# Annotations on a SchemaMigration.
RETRY_AT = f"{GROUP}/retry-at"  # any new value is a retry token
ANSWER = f"{GROUP}/answer"  # "<row id> retry|applied <reason>"
ANSWERED_BY = f"{GROUP}/answered-by"  # recorded by admission
APPROVE_CONTRACT = f"{GROUP}/approve-contract"  # the version whose contract may run, where spec.contract.approval is Manual

# Labels on a Job and its pod, beside MIGRATION.
OWNER_UID = f"{GROUP}/uid"  # uid of the SchemaMigration
ATTEMPT = f"{GROUP}/attempt"  # the attempt's number
INPUTS = f"{GROUP}/inputs"  # hash of what would run
DATABASE = f"{GROUP}/database"  # hash of the database reference
PHASE = f"{GROUP}/phase"  # expand | contract
MODE = f"{GROUP}/mode"  # run | sql
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY_VALUE = "schemahold"
# Annotation on a Job: the run's version (a label value could not carry every version).
RUN_VERSION = f"{GROUP}/run-version"

# Finalizer on a SchemaMigration, only while an attempt runs.
RUNNING_FINALIZER = f"{GROUP}/running"

# Containers of an attempt's pod.
LOCK = "lock"
GATE = "gate"
MIGRATE = "migrate"
SHELL = "shell"  # sql mode, files copied from the image: puts busybox where FILES can run it
FILES = "files"  # sql mode: copies the files out of the source's image
OUR_CONTAINERS = (LOCK, GATE, MIGRATE, SHELL, FILES)

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"

# RBAC verb on schemamigrations: break-glass, answers, opting out while held.
APPROVE_VERB = "approve"
