"""Where the container image is built and run in the tests: buildah and crun, and nothing of them left afterwards."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from support.fetch_base_image import archive, mirror, release
from support.fetch_servers import FOLDER, ROOT, find

_SCRIPT = """
set -e
libraries=$1 image=$2 rootfs=$3
shift 3
mount -t tmpfs none /mnt
cover() {
  mkdir -p "/mnt/$3/upper" "/mnt/$3/work"
  mount -t overlay none -o "lowerdir=$1,upperdir=/mnt/$3/upper,workdir=/mnt/$3/work" "$2"
}
for part in etc var run; do cover "/$part" "/$part" "$part"; done
if [ -n "$image" ]; then cover "$image" "$rootfs" rootfs; fi
mount -t tmpfs none /sys/fs/cgroup
echo "$libraries" > /etc/ld.so.conf.d/unpacked.conf
/sbin/ldconfig
mkdir -p /etc/containers
echo '{"default": [{"type": "insecureAcceptAnything"}]}' > /etc/containers/policy.json
exec "$@"
"""
"""Both programs write to /etc, /var and /run whatever they are told, and crun knows only one kind of cgroups."""


def tool(name: str, *arguments: str, image: Path | str = "", rootfs: Path | str = "") -> list[str]:
    """Return the command that runs buildah or crun, as root, with a view of this machine that nobody else has.

    With `image` and `rootfs`, both directories, the second one shows what is in the first, which stays as it is.
    """
    program = find(name)
    assert program, "ask `missing` first"
    libraries = "\n".join(sorted({str(path.parent) for path in (ROOT / "usr" / "lib").glob("*/*.so*")}))
    return [
        "unshare",
        "--mount",
        "/bin/sh",
        "-c",
        _SCRIPT,
        "sh",
        libraries,
        str(image),
        str(rootfs),
        str(program),
        *arguments,
    ]


def run(argv: Sequence[str], **environment: str) -> str:
    """Run a command and return what it printed; its failure shows the end of all that it printed."""
    done = subprocess.run(
        argv,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{argv} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


@functools.cache
def missing() -> str:
    """Return why the image cannot be built and run here, or nothing."""
    if os.geteuid():
        return "only root can build and run an image here"
    if any(FOLDER.is_relative_to(folder) for folder in ("/var", "/run", "/etc")):
        return "an image cannot be built from below /var, /run or /etc"
    for name in ("buildah", "crun"):
        if find(name) is None:
            return f"{name} is not on PATH; `make servers` can fetch it"
    if not archive().exists():
        return f"{archive().name} is not there; `make servers` can make it"
    if shutil.which("unshare") is None:
        return "there is no `unshare`"
    tried = subprocess.run(tool("crun", "--version"), capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"crun does not run here: {tried.stderr.strip()}"
    try:
        urllib.request.urlopen(f"{mirror()}/dists/{release()}/InRelease", timeout=20).close()
    except OSError as error:
        return f"Debian's packages are out of reach: {error}"
    return ""
