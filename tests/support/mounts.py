"""Show a directory to a program under a path of our own choosing, as a container does with its volumes."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

_SCRIPT = """
set -e
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work
parent=$(dirname "$2")
mount -t overlay none -o "lowerdir=$parent,upperdir=/mnt/upper,workdir=/mnt/work" "$parent"
mkdir -p "$2"
mount --bind "$1" "$2"
shift 2
exec "$@"
"""


def mounting(directory: Path, at: str) -> list[str]:
    """Return the command within which a program sees `directory` at a path whose parent exists. Nobody else does."""
    return ["unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", _SCRIPT, "sh", str(directory), at]


@functools.cache
def missing() -> str:
    """Return why nothing can be mounted here, or nothing."""
    if shutil.which("unshare") is None:
        return "there is no `unshare` to mount with"
    here = Path(__file__).parent
    tried = subprocess.run(
        [*mounting(here, "/usr/share/of-a-test"), "true"], capture_output=True, text=True, check=False
    )
    return "" if tried.returncode == 0 else f"nothing can be mounted here: {tried.stderr.strip()}"
