"""Debian packages: what each part needs, installed when it is missing."""

import os
import shutil
import subprocess
from pathlib import Path

from .commands import environment, run
from .failure import Failure
from .progress import step

CLUSTER = ("iproute2", "iptables", "runc", "containernetworking-plugins", "openssl", "util-linux")
IMAGES = ("buildah", "debootstrap", "debian-archive-keyring", "ca-certificates")
VENV = ("python3-venv",)


def need_root() -> None:
    if os.geteuid() != 0:
        raise Failure("this needs root (namespaces, mounts, cgroups): run it with sudo, or as root in a VM")


def ensure(packages: tuple[str, ...]) -> None:
    missing = [package for package in packages if not _installed(package)]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Failure(f"please install {', '.join(missing)}: only Debian's apt-get is known here")
    need_root()
    with step(f"apt-get install {' '.join(missing)}"):
        _install(missing)


def _installed(package: str) -> bool:
    # dpkg's own record is the quick answer; asking dpkg-query costs 20 ms per package.
    info = Path("/var/lib/dpkg/info")
    return (info / f"{package}.list").exists() or any(info.glob(f"{package}:*.list"))


def _install(packages: list[str]) -> None:
    env = environment(DEBIAN_FRONTEND="noninteractive")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    try:
        run(install, env=env)
    except (Failure, subprocess.SubprocessError):
        # The lists may be missing (a fresh image) or stale; one foreign source that fails must not stop us.
        run(["apt-get", "update"], env=env, check=False)
        run(install, env=env)
