"""Kernel settings that every kubelet takes for its own, and that no option stops it from setting.

They are the whole machine's: `kernel.panic_on_oops` reboots a laptop that would have lived on. So the first cluster on
a machine notes what they were, and the last one to go puts them back.
"""

import json
from pathlib import Path

_KERNEL = Path("/proc/sys")
_NAMES = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_RUN = Path("/run")
_NOTE = _RUN / "schemahold-kernel-settings.json"


def remember() -> None:
    if not _NOTE.exists():
        _NOTE.write_text(json.dumps({name: (_KERNEL / name).read_text().strip() for name in _NAMES}))


def restore() -> None:
    """Unless another cluster is still there: each has a folder in /run."""
    if not _NOTE.exists() or any(path.is_dir() for path in _RUN.glob("schemahold-*")):
        return
    for name, value in json.loads(_NOTE.read_text()).items():
        (_KERNEL / name).write_text(value)
    _NOTE.unlink()
