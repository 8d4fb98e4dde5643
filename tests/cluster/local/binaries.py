"""Kubernetes, etcd, containerd, CoreDNS and helm, built from Go modules pinned with hashes in `gomodules/`.

No registry of binaries is trusted, and none is needed: Go verifies each module against the committed go.sum. A cold
build of everything takes about ten minutes on two cores, once per machine and version.
"""

from dataclasses import dataclass
from pathlib import Path

from . import cache, toolchain
from .commands import environment, run
from .failure import Failure
from .progress import step

MODULES = Path(__file__).parent / "gomodules"
KUBERNETES = "v1.36.3"
_VERSION = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Module:
    """One folder of `gomodules/`: its binaries come from the same pinned dependencies."""

    name: str
    packages: dict[str, str]
    ldflags: str = "-s -w"
    tags: str = ""

    @property
    def source(self) -> Path:
        return MODULES / self.name

    @property
    def identity(self) -> str:
        """The same wherever the cache is."""
        files = sorted(file for file in self.source.iterdir() if file.is_file())
        parts: list[str | Path] = [*files, self.ldflags, self.tags, *self.packages.values()]
        return f"{self.name}-{cache.digest(parts)}"

    @property
    def home(self) -> Path:
        return cache.folder() / "bin" / self.identity


def _kubernetes() -> Module:
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    # Without these a component reports v0.0.0 and clients refuse to talk to it.
    stamps = {"gitVersion": KUBERNETES, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    ldflags = " ".join(["-s -w", *(f"-X {_VERSION}.{key}={value}" for key, value in stamps.items())])
    # The API server first: it compiles nearly everything that the others share.
    names = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
    return Module("kubernetes", {name: f"k8s.io/kubernetes/cmd/{name}" for name in names}, ldflags)


_CONTAINERD = "github.com/containerd/containerd/v2/cmd"
ALL = (
    _kubernetes(),
    Module("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}),
    Module(
        "containerd",
        {name: f"{_CONTAINERD}/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
        tags="no_btrfs no_devmapper no_zfs",
    ),
    Module("pause", {"pause": "."}),
    Module("coredns", {"coredns": "."}),
    Module("helm", {"helm": "helm.sh/helm/v4/cmd/helm"}),
)


def path(binary: str) -> Path:
    """Where a binary lies; built first if it is not there yet."""
    _ensure(_module(binary))
    return place(binary)


def place(binary: str) -> Path:
    """Where a binary lies, or will lie once it is built."""
    return _module(binary).home / binary


def identity(binary: str) -> str:
    """What it was built from."""
    return _module(binary).identity


def _module(binary: str) -> Module:
    for module in ALL:
        if binary in module.packages:
            return module
    known = ", ".join(name for module in ALL for name in module.packages)
    raise Failure(f"no binary is called {binary!r}; there are {known}")


def ensure() -> None:
    """All of them, one after the other: Go keeps both cores busy with each."""
    for module in ALL:
        _ensure(module)


def _ensure(module: Module) -> None:
    if module.home.exists():
        return
    with cache.lock(f"bin-{module.name}"):
        if module.home.exists():
            return  # another checkout built it while we waited
        go = toolchain.go()
        with cache.building(module.home) as folder:
            for name, package in module.packages.items():
                with step(f"building {name}"):
                    _build(go, module, package, folder / name)


def _build(go: str, module: Module, package: str, target: Path) -> None:
    flags = ["-mod=readonly", "-buildvcs=false", "-ldflags", module.ldflags, "-tags", module.tags]
    env = environment(CGO_ENABLED="0", GOFLAGS="", GOROOT="", GOWORK="off")
    run([go, "build", *flags, "-o", target, package], cwd=module.source, env=env)
