"""What it costs that a qscanner with a cache blocks all others on it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from standins.qualys.behaviour import Behaviour
from support.qualys import install_qscanner
from support.qualys_stage import QualysStage
from support.stage import ends, request_for, submit

SCANS, SLOTS, SECONDS = 100, 4, 0.3


def bench_caches(note: Callable[[str, str], None]) -> None:
    """Run scans in several slots, without a cache and with caches that lock."""
    with tempfile.TemporaryDirectory(prefix="hq-") as directory:
        without, blocking = (_seconds(Path(directory) / cache, cache) for cache in ("none", "local"))
    alone = SCANS * SECONDS
    note(
        f"{SCANS} scans of {SECONDS:g} s in {SLOTS} slots, each qscanner blocking its cache (aim: as without)",
        f"{blocking:.1f} s, {blocking / without:.2f} of without a cache; one cache for all would take {alone:.0f} s",
    )


def _seconds(directory: Path, cache: str) -> float:
    """Return the time from the first start of a scan to the last end."""
    stage = QualysStage(directory, install_qscanner(directory / "programs"))
    stage.write_values(cache=cache, service__workerThreads=SLOTS)
    stage.qscanner.force(Behaviour(findings=1, sleep=SECONDS))
    with stage.service() as service:
        jobs = submit(service, [request_for(f"library/image-{number}") for number in range(SCANS)])
        assert ends(service, jobs) == {"report": SCANS}
    runs = stage.qscanner.scans()
    return max(run.ended or 0 for run in runs) - min(run.started for run in runs)
