"""A real Kubernetes cluster on this machine: no Docker engine, no registry, nothing downloaded as a binary.

    sudo python3 -m tests.cluster.local up      # builds what is missing, starts (or reuses) the cluster
    export KUBECONFIG=.cluster/kubeconfig

Needs root on a Debian-like Linux, and nothing but Python: Debian packages, a Go toolchain, the binaries and the
images are fetched or built on first use and kept in a cache outside the checkout (see `cache`).

What tests and the demo import:

    layout = cluster.up()                                   # idempotent; a Layout: .kubeconfig, .audit_log, .address
    images.load(recipes.image("postgres"))                  # as postgres:17, like the official one
    images.load(recipes.based(folder, "shop:v1"))           # your Dockerfile, with `ARG BASE`
    client.kubectl(layout, "get", "pods")
    binaries.path("helm")

What a cluster is, and which module owns it:

    layout         names, addresses and folders, all derived from the checkout's path
    network        one network namespace per cluster, joined to the host by a veth pair with a /30
    credentials    certificates, tokens, kubeconfigs
    settings       the configuration files of the components
    components     their command lines
    processes      starting them, and knowing ours from everybody else's
    cgroups        the pods' cgroups, under a root of our own
    tunables       the kernel settings that a kubelet changes, put back by the last cluster to go
    storage        whether overlays work here
    leftovers      finding and removing every trace, also of a cluster that was killed
    health         what ails a cluster, and whether it must be replaced for it
    cluster        up, down, status: the order of things
    dns            CoreDNS, so that Services have names
    images         building images without an engine, and importing them
    binaries       building Kubernetes, etcd, containerd, CoreDNS and helm from pinned, hashed Go modules
    toolchain      the Go toolchain
    packages       the Debian packages
    recipes        the images of this project
    buildah        the tool that builds them
    context        the way out: SCHEMAHOLD_CONTEXT=<kube context> uses a cluster of the user's
    installation   what is installed of schemahold there, and whether it may be touched

Everything of a cluster lies in `<checkout>/.cluster/`, except its sockets, state and mounts, which lie in
`/run/<name>/` (a socket's path may be 107 bytes long, a checkout's may be longer). Two checkouts never meet.

The host keeps its firewall and its network settings. Of the kubelet's doing, and only while a cluster is up, are the
kernel settings named in `tunables`; an empty `/var/lib/kubelet/device-plugins` stays.
"""
