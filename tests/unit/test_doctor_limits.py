"""Memory and files: what the control groups of either version allow, against what scans need."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from harbor_scanner.config import Role
from harbor_scanner.doctor import limits
from support.doctor import found, outcomes, settings, told

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_without_control_groups_the_machine_is_the_limit(tmp_path: Path) -> None:
    assert limits.memory_limit(tmp_path) == (MACHINE, "of this machine")


def test_a_container_s_own_group_is_its_root(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    write(tmp_path, "sys/fs/cgroup/memory.max", "1048576\n")
    assert limits.memory_limit(tmp_path)[0] == 1048576


def test_the_narrowest_of_all_groups_around_holds(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/system.slice/scanner.service\n")
    write(tmp_path, "sys/fs/cgroup/system.slice/scanner.service/memory.max", "max\n")
    write(tmp_path, "sys/fs/cgroup/system.slice/memory.max", "2097152\n")
    assert limits.memory_limit(tmp_path)[0] == 2097152


def test_version_1_is_read_too(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "3145728\n")
    write(tmp_path, "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n")
    assert limits.memory_limit(tmp_path)[0] == 3145728


def test_more_scans_than_memory_are_told(tmp_path: Path) -> None:
    many = found(limits.look(settings(tmp_path, SCANNER_WORKERS="1000")))
    assert outcomes(many)["memory"] == "warning"
    assert "SCANNER_WORKERS" in told(many, "memory")
    api = settings(tmp_path, Role.API, SCANNER_ENABLED="osv", SCANNER_WORKERS="1000", SCANNER_REDIS_URL="redis://x")
    assert outcomes(found(limits.look(api)))["memory"] == "ok"


@pytest.mark.parametrize(("files", "outcome"), [(256, "warning"), (1024, "ok")])
def test_few_files_are_told(tmp_path: Path, files: int, outcome: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    try:
        assert outcomes(found(limits.look(settings(tmp_path))))["files"] == outcome
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
