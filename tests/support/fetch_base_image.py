"""Make the Debian on which the tests build the container image: PYTHONPATH=tests python -m support.fetch_base_image

It stands in for the Debian of the Dockerfile, which only a registry of images has: the same release without
documentation, made by debootstrap out of the package sources of this machine and kept in `.venv/servers`. Where that is
not possible the script says so and still succeeds: the tests of the image are skipped then.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from support.fetch_servers import FOLDER, ROOT, find, library_path

DOCKERFILE = Path(__file__).resolve().parents[2] / "deploy" / "docker" / "Dockerfile"
_DOCUMENTS = ("doc", "man", "info", "locale", "lintian")
_LEFT_OUT = ("./dev/*", "./proc/*", "./sys/*", "./run/*", "./var/cache/apt/*", "./var/lib/apt/lists/*", "./var/log/*")


def release() -> str:
    """Return the code name of the Debian that the Dockerfile names."""
    found = re.search(r"debian:(\w+)-slim", DOCKERFILE.read_text(encoding="utf-8"))
    assert found, DOCKERFILE
    return found[1]


def archive() -> Path:
    """Return where the file system is kept, whether it is there yet or not."""
    return FOLDER / f"base-{release()}.tar"


def mirror() -> str:
    """Return the address of Debian's packages that this machine uses itself; empty if there is none."""
    columns = ["apt-get", "indextargets", "--format", "$(LABEL) $(SITE)", "Created-By: Packages"]
    try:
        lines = subprocess.run(columns, capture_output=True, text=True, check=False).stdout.splitlines()
    except OSError:
        lines = []
    return next((line.split()[-1] for line in lines if line.startswith("Debian ")), "")


def make() -> None:
    """Make the file system and keep it. Raises OSError with the reason why that is not possible."""
    if os.geteuid():
        raise OSError("only root can make it")
    program = find("debootstrap")
    if program is None:
        raise OSError("there is no debootstrap")
    folder, draft = FOLDER / "base", archive().with_suffix(".new")
    shutil.rmtree(folder, ignore_errors=True)
    print(f"Making the file system of Debian {release()} (a minute, once).")
    try:
        # What it mounts on the way is gone with its mount namespace.
        _run(
            "unshare", "--mount", "/bin/sh", str(program), "--variant=minbase", release(), str(folder),
            *filter(None, [mirror()]),  # else debootstrap knows one
        )  # fmt: skip
        for name in _DOCUMENTS:
            shutil.rmtree(folder / "usr" / "share" / name)
            (folder / "usr" / "share" / name).mkdir()
        excluded = "".join(f"path-exclude /usr/share/{name}/*\n" for name in _DOCUMENTS)
        (folder / "etc" / "dpkg" / "dpkg.cfg.d" / "no-documentation").write_text(excluded, encoding="utf-8")
        _run("tar", "--create", "--numeric-owner", *(f"--exclude={path}" for path in _LEFT_OUT),
             "--directory", str(folder), "--file", str(draft), ".")  # fmt: skip
        draft.rename(archive())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        draft.unlink(missing_ok=True)


def _run(*argv: str) -> None:
    environment = {**os.environ, **library_path(), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin:{ROOT}/usr/bin"}
    done = subprocess.run(
        argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        raise OSError((done.stdout.strip().splitlines() or [f"{argv[0]} ended with {done.returncode}"])[-1])


def main() -> None:
    """Make the file system if it is not there yet, then tell where it is, or what goes without it."""
    problem = ""
    if not archive().exists():
        try:
            make()
        except OSError as error:
            problem = f": {error}"
    there = archive() if archive().exists() else f"not available{problem}, though needed for tests of the image"
    print(f"Debian {release()} for the container image: {there}")


if __name__ == "__main__":
    main()
