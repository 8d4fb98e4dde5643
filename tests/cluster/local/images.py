"""Images: built once per content, kept as archives in the cache, imported into the cluster's containerd."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import binaries, buildah, cache, context
from .commands import run
from .failure import Failure
from .layout import Layout
from .progress import step

# Older archives of a tag that are kept: other checkouts may be at another version.
_KEPT = 4


@dataclass(frozen=True)
class Image:
    """An image that lies in the cache as an archive."""

    tag: str
    archive: Path


def build(
    folder: Path,
    tag: str,
    *,
    sources: Iterable[str] | None = None,
    build_args: Mapping[str, str] | None = None,
    base: str = "",
) -> Image:
    """Builds `folder/Dockerfile`, unless its `sources` (files and folders within; all of it by default), its
    arguments and its `base` (a name for what FROM means) are those of an earlier build."""
    arguments = dict(build_args or {})
    parts: list[str | Path] = [base, *(f"{key}={value}" for key, value in sorted(arguments.items()))]
    for path in _files(folder, sources):
        parts += [str(path.relative_to(folder)), str(os.access(path, os.X_OK)), path]
    image = Image(tag, _home(tag) / cache.digest(parts) / "image.tar")
    with cache.lock(f"image-{_slug(tag)}"):
        if image.archive.exists():
            os.utime(image.archive)  # the newest is what `latest` means
            return image
        with step(f"building the image {tag}"), cache.building(image.archive.parent) as temporary:
            buildah.build(folder, tag, arguments, temporary / image.archive.name)
        for old in _archives(tag)[:-_KEPT]:
            shutil.rmtree(old.parent)
    return image


def latest(tag: str) -> Image:
    """The one that was built (or found built) last."""
    found = _archives(tag)
    if not found:
        raise Failure(f"no image {tag} was built here yet")
    return Image(tag, found[-1])


def load(image: Image, layout: Layout | None = None) -> None:
    """Makes the image known to the cluster under its tag; pods need `imagePullPolicy: IfNotPresent` or `Never`."""
    if context.chosen():
        return context.load(image.tag, image.archive)
    layout = layout or Layout()
    if _loaded(layout, image):
        return None
    with cache.lock(f"{layout.name}-images"), step(f"loading the image {image.tag}"):
        _import(layout, image)
    return None


def _import(layout: Layout, image: Image) -> None:
    if not layout.containerd_socket.exists():
        raise Failure("the cluster is not up")
    snapshotter = (layout.folder / "snapshotter").read_text()
    ctr: list[str | Path] = [binaries.path("ctr"), "--address", layout.containerd_socket, "--namespace", "k8s.io", "images"]
    run([*ctr, "import", "--local", "--snapshotter", snapshotter, image.archive])
    record = _record(layout, image)
    record.parent.mkdir(exist_ok=True)
    record.write_text(str(image.archive))


def _record(layout: Layout, image: Image) -> Path:
    return layout.folder / "images" / _slug(image.tag)


def _loaded(layout: Layout, image: Image) -> bool:
    record = _record(layout, image)
    return record.exists() and record.read_text() == str(image.archive)


def _slug(tag: str) -> str:
    return tag.replace("/", "_").replace(":", "_")


def _home(tag: str) -> Path:
    return cache.folder() / "images" / _slug(tag)


def _archives(tag: str) -> list[Path]:
    """The newest last."""
    return sorted(_home(tag).glob("[!.]*/image.tar"), key=lambda path: path.stat().st_mtime)


def _files(folder: Path, sources: Iterable[str] | None) -> Iterator[Path]:
    starts = [folder / name for name in sorted(sources)] if sources is not None else [folder]
    for start in starts:
        if start.is_file():
            yield start
        elif start.is_dir():
            yield from sorted(path for path in start.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        else:
            raise Failure(f"{start} does not exist, but an image needs it")
