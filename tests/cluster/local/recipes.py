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
_MIRROR = "http://deb.debian.org/debian"
_BASE_PACKAGES = "python3,python3-venv,ca-certificates"
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
    run(["debootstrap", "--variant=minbase", include, _RELEASE, root, _MIRROR, script], env=environment())
    for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(root / waste, ignore_errors=True)
    for needed in ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial"):
        (root / needed).mkdir(parents=True)
    run(["tar", "--numeric-owner", "--one-file-system", "-C", root, "-cf", folder / "rootfs.tar", "."])
    shutil.rmtree(root)
    shutil.copy(DOCKERFILES / "base" / "Dockerfile", folder)


def based(folder: Path, tag: str, sources: tuple[str, ...] | None = None) -> Image:
    """An image whose Dockerfile starts with `ARG BASE`: on the local base, as no registry can be reached."""
    archive = _base().archive
    if not buildah.knows(BASE):
        shutil.rmtree(archive.parent)  # the archive is there, but not the layers: somebody emptied the storage
        _base()
    return build(folder, tag, sources=sources, build_args={"BASE": BASE}, base=_base_key())


def _postgres() -> Image:
    return based(DOCKERFILES / "postgres", POSTGRES)


def _schemahold() -> Image:
    return based(CHECKOUT, SCHEMAHOLD, _PROJECT_SOURCES)


RECIPES: dict[str, Callable[[], Image]] = {
    "pause": _pause,
    "coredns": _coredns,
    "base": _base,
    "postgres": _postgres,
    "schemahold": _schemahold,
}
