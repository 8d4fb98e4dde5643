# The image of the operator, of `lock` and `gate` in every attempt's pod, and of the uninstall hook.
# What others rely on: /opt/schemahold/bin/python has the package, /opt/schemahold/busybox is a static shell.
# A release passes BASE by digest. Any Debian with a python3 (3.11 or newer) and its venv module will do.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# Static: `gate` hands it to the user's container, whose image may have no libc at all.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends busybox-static \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements/build.txt requirements/runtime.txt requirements/
# Before our own sources: a change of code then reuses this layer. Compiled below, once.
RUN python3 -m venv tools \
    && tools/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
    && python3 -m venv /opt/schemahold \
    && /opt/schemahold/bin/pip install --no-cache-dir --no-compile --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
# Without isolation: the build sees the tools pinned above and downloads nothing.
# pip is not needed after that. Byte code is made here, because the root file system is read-only where it runs; unchecked,
# because nobody edits it there, so that a start saves a stat and an image layer keeps its digest whatever the clock says.
RUN tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels . \
    && /opt/schemahold/bin/pip install --no-cache-dir --no-compile --no-deps wheels/*.whl \
    && /opt/schemahold/bin/pip uninstall --yes pip \
    && rm -f /opt/schemahold/bin/activate* /opt/schemahold/bin/Activate.ps1 \
    && /opt/schemahold/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/schemahold/lib \
    && cp /bin/busybox /opt/schemahold/busybox \
    && mkdir /opt/schemahold/licenses \
    && cp LICENSE /opt/schemahold/licenses/schemahold \
    && cp /usr/share/doc/busybox-static/copyright /opt/schemahold/licenses/busybox \
    && /opt/schemahold/busybox true \
    && /opt/schemahold/bin/python -I -c "import schemahold, kopf, kubernetes.aio, psycopg, pydantic, prometheus_client"

FROM ${BASE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="schemahold" \
      org.opencontainers.image.description="Runs a schema migration once and holds the Deployment's rollout until it has succeeded" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/schemahold /opt/schemahold
# By number: the kubelet can tell that it is not root. No user of that name is needed.
USER 65532:65532
# -I: neither the environment nor the working directory can put other code before ours.
ENTRYPOINT ["/opt/schemahold/bin/python", "-I", "-m", "schemahold.controller"]
