"""buildah: building an image without a Docker engine, in a storage of our own in the cache."""

import configparser
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from . import cache, packages, storage
from .commands import environment, run
from .failure import Failure

# Neutral places: a file of the image itself (such as its own certificates) is never covered.
_CA_INSIDE = "/run/host-ca.crt"
_PIP_INSIDE = "/etc/pip.conf"
_CA_ENVIRONMENT = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_CA_USUAL = "/etc/ssl/certs/ca-certificates.crt"
_PIP_FILES = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")


def build(context: Path, tag: str, build_args: Mapping[str, str], archive: Path) -> None:
    """Builds what the context's Dockerfile says and writes it as an archive that carries exactly that tag."""
    with tempfile.TemporaryDirectory() as scratch:
        options = [*_volumes(Path(scratch)), "--layers", "--isolation", "chroot", "--pull=never"]
        for name, value in build_args.items():
            options += ["--build-arg", f"{name}={value}"]
        _run("build", *options, "--tag", tag, "--file", str(context / "Dockerfile"), str(context))
    _run("push", "--quiet", tag, f"docker-archive:{archive}:{tag}")


def knows(tag: str) -> bool:
    try:
        return bool(_run("images", "--quiet", tag).strip())
    except Failure:
        return False  # that is how it says no


def _run(command: str, *words: str) -> str:
    packages.need_root()
    packages.ensure(packages.IMAGES)
    home = cache.folder() / "buildah"
    driver = _driver(home)
    places = ["--root", str(home / driver), "--runroot", str(home / f"{driver}-run"), "--storage-driver", driver]
    return run(["buildah", *places, command, *words], env=environment(BUILDAH_ISOLATION="chroot"))


def _driver(home: Path) -> str:
    """Decided once per cache: layers of one kind are invisible to the other."""
    decision = home / "driver"
    with cache.lock("buildah-driver"):
        if not decision.exists():
            chosen = "overlay" if storage.overlay_works(home) else "vfs"
            decision.write_text(chosen)
        return decision.read_text()


def _volumes(scratch: Path) -> list[str]:
    """What the host knows about reaching the internet, so that no Dockerfile has to: pip's settings and the
    certificate authorities. (buildah itself passes the proxies on, and chroot isolation shares the network.)"""
    volumes = {}
    settings = _pip_settings()
    authority = next((path for name in _CA_ENVIRONMENT if (path := os.environ.get(name))), _CA_USUAL)
    if Path(authority).is_file():
        volumes[authority] = _CA_INSIDE
        settings["cert"] = _CA_INSIDE
    for folder in settings.get("find-links", "").split():
        if Path(folder).is_dir():
            volumes[folder] = folder
    config = scratch / "pip.conf"
    config.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
    volumes[str(config)] = _PIP_INSIDE
    return [word for outside, inside in volumes.items() for word in ("--volume", f"{outside}:{inside}:ro")]


def _pip_settings() -> dict[str, str]:
    """From pip's files and its environment, as pip itself would read them on the host."""
    parser = configparser.RawConfigParser()
    parser.read([Path(name).expanduser() for name in _PIP_FILES])
    settings = dict(parser["global"]) if parser.has_section("global") else {}
    ours = ("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "TRUSTED_HOST", "DEFAULT_TIMEOUT", "NO_INDEX")
    for name in ours:
        if value := os.environ.get(f"PIP_{name}"):
            settings[name.lower().replace("_", "-")] = value
    return settings
