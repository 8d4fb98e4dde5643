"""The images that this project needs, by the name they have on the command line."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import binaries, buildah, cache, dns, packages, settings
from .commands import environment, run
from .failure import Failure
from .images import Image, build
from .layout import CHECKOUT
from .progress import step

DOCKERFILES = Path(__file__).parent / "dockerfiles"
BASE = "localhost/schemahold/base:trixie"
# The official name: a manifest with it works here and on a cluster with a registry.
POSTGRES = "postgres:17"
SCHEMAHOLD = "schemahold:dev"

_RELEASE = "trixie"
_BASE_PACKAGES = "python3,python3-venv,ca-certificates"
_EXAMPLES = CHECKOUT / "examples"
_PROJECT_SOURCES = ("Dockerfile", "LICENSE", "README.md", "operator", "pyproject.toml", "requirements")


def image(name: str) -> Image:
    """Built if it is not there yet."""
    if name not in RECIPES:
        raise Failure(f"no image is called {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]()


def _pause() -> Image:
    return _of_binary("pause", settings.PAUSE)


def _coredns() -> Image:
    return _of_binary("coredns", dns.IMAGE)


def _of_binary(name: str, tag: str) -> Image:
    binary = binaries.path(name)
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        shutil.copy(DOCKERFILES / name / "Dockerfile", context)
        shutil.copy(binary, context / name)
        return build(context, tag)


def _base_key() -> str:
    return cache.digest([_RELEASE, _BASE_PACKAGES, DOCKERFILES / "base" / "Dockerfile"])


def _base() -> Image:
    """debootstrap's result is what takes long; it is kept, so that a lost storage costs seconds."""
    folder = cache.folder() / "rootfs" / _base_key()
    with cache.lock("rootfs"):
        if not folder.exists():
            packages.ensure(packages.IMAGES)
            with step(f"debootstrap {_RELEASE}"), cache.building(folder) as temporary:
                _debootstrap(temporary)
    return build(folder, BASE, sources=["Dockerfile"], base=_base_key())


def _debootstrap(folder: Path) -> None:
    root = folder / "root"
    # The script of sid: an older debootstrap does not know the release by name.
    script = "/usr/share/debootstrap/scripts/sid"
    include = f"--include={_BASE_PACKAGES}"
    run(["debootstrap", "--variant=minbase", include, _RELEASE, root, _mirror(), script], env=environment())
    for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(root / waste, ignore_errors=True)
    for needed in ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial"):
        (root / needed).mkdir(parents=True)
    run(["tar", "--numeric-owner", "--one-file-system", "-C", root, "-cf", folder / "rootfs.tar", "."])
    shutil.rmtree(root)
    shutil.copy(DOCKERFILES / "base" / "Dockerfile", folder)


def _mirror() -> str:
    """Where this machine's own apt gets Debian from."""
    sites = run(["apt-get", "indextargets", "--format", "$(SITE)"]).split()
    if not sites:
        raise Failure("apt knows no package source: an image's base is installed from this machine's own")
    return next((site for site in sites if site.rstrip("/").endswith("/debian")), sites[0])


def based(folder: Path, tag: str, sources: tuple[str, ...] | None = None, **arguments: str) -> Image:
    """An image whose Dockerfile starts with `ARG BASE`: on the local base, as no registry can be reached."""
    archive = _base().archive
    if not buildah.knows(BASE):
        shutil.rmtree(archive.parent)  # the archive is there, but not the layers: somebody emptied the storage
        _base()
    return build(folder, tag, sources=sources, build_args={"BASE": BASE, **arguments}, base=_base_key())


def _postgres() -> Image:
    return based(DOCKERFILES / "postgres", POSTGRES)


def _schemahold() -> Image:
    return based(CHECKOUT, SCHEMAHOLD, _PROJECT_SOURCES)


def _shop(version: str) -> Callable[[], Image]:
    return lambda: based(_EXAMPLES / "shop", f"shop:{version}", VERSION=version)


def _customers(version: str) -> Callable[[], Image]:
    return lambda: build(
        _EXAMPLES / "customers",
        f"customers:{version}",
        # The archive, because the storage may be emptied, or know another checkout's image by that tag.
        build_args={"BASE": f"docker-archive:{_shop('v1')().archive}", "VERSION": version},
    )


def _node_shop() -> Image:
    # npm knows nothing of the settings for pip and apt that a build gets.
    return based(_EXAMPLES / "node-shop", "node-shop:v1", NODE_EXTRA_CA_CERTS="/run/host-ca.crt")


def _no_shell() -> Image:
    return based(_EXAMPLES / "no-shell", "no-shell:v1")


RECIPES: dict[str, Callable[[], Image]] = {
    "pause": _pause,
    "coredns": _coredns,
    "base": _base,
    "postgres": _postgres,
    "schemahold": _schemahold,
    "shop-v1": _shop("v1"),
    "shop-v2": _shop("v2"),
    "shop-v3": _shop("v3"),
    "shop-v4": _shop("v4"),
    "customers-v1": _customers("v1"),
    "customers-v2": _customers("v2"),
    "node-shop": _node_shop,
    "no-shell": _no_shell,
}
