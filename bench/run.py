"""Speed and memory of the service: `make bench`. Ratios count more than figures, which differ from machine to machine.

The columns `aqua` and `trivy` hold what harbor-scanner-aqua 0.18.0 and harbor-scanner-trivy 0.38.0-rc1 (both written in
Go) reached with fake scanners on a machine of two cores. They cannot be run here; read them as an order of magnitude.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx2
import msgspec
from bench.caches import bench_caches
from bench.osv import bench_osv
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from harbor_scanner.harbor import media
from harbor_scanner.harbor.client import HarborClient, Ready
from harbor_scanner.harbor.models import VULNERABILITY, Artifact, ScannerInfo
from harbor_scanner.harbor.report import COMPRESSION_LEVEL, RenderedReport, render
from harbor_scanner.scanners.aqua.findings import to_result
from harbor_scanner.scanners.aqua.report import load_report
from standins.aqua.behaviour import Behaviour
from support.oci import Registry
from support.servers import environment, find_program
from support.service import Service, free_port
from support.stage import NOWHERE, Stage, request_for
from support.standin import install_scannercli

SECONDS = 4
console = Console(width=120, highlight=False)
rows: list[tuple[str, str, str, str]] = []


def note(what: str, here: str, aqua: str = "", trivy: str = "") -> None:
    rows.append((what, here, aqua, trivy))
    console.print(f"  {what}: [bold]{here}[/]")


def wrk(url: str, *options: str, connections: int = 16, seconds: int = SECONDS) -> tuple[float, str]:
    """Return requests a second, and the latency at 50 and 99 percent."""
    program = find_program("wrk")
    assert program is not None
    argv = [str(program), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *options, url]
    text = subprocess.run(
        ["taskset", "-c", "1", *argv], env=environment(program), capture_output=True, text=True, check=True
    ).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    percentiles = dict(re.findall(r"^\s+(50|99)%\s+(\S+)", text, re.MULTILINE))
    assert rate is not None, text
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    assert bad is None, text
    return float(rate[1]), f"p50 {percentiles.get('50')}, p99 {percentiles.get('99')}"


def pin(service: Service, core: str) -> None:
    """Keep a service, its store included, on one core."""
    for pid in family(service):
        subprocess.run(["taskset", "-a", "-p", "-c", core, str(pid)], check=True, capture_output=True)


def family(service: Service) -> list[int]:
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    return [service.pid, *map(int, children)]


def memory(pid: int, name: str) -> float:
    """Return megabytes of `Rss` or `Pss` (shared pages counted in part) of a process."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def bench_start(stage: Stage) -> None:
    console.print("[bold]Start and idle memory[/]")
    times = []
    for _ in range(5):
        with tempfile.TemporaryDirectory(prefix="hs-") as directory:
            service = Service(Path(directory), stage.environment())
            began = time.monotonic()
            service.start(ready=False)
            while service.probe()[0] != 200:
                time.sleep(0.005)
            times.append(time.monotonic() - began)
            time.sleep(1.5)
            resident = memory(service.pid, "Rss")
            total = sum(memory(pid, "Pss") for pid in family(service))
            service.end()
    note("start to ready (aim: < 1 s)", f"{statistics.median(times):.2f} s", "0.014 s", "0.036 s")
    note("idle memory, API and worker (aim: < 80 MB)", f"{resident:.0f} MB", "10.9 MB", "14.2 MB")
    note("idle memory with store and warden, shared pages counted once", f"{total:.0f} MB")


def bare_rate() -> float:
    """Return the requests a second of the same server with next to nothing behind it, on the same core."""
    port = free_port()
    process = subprocess.Popen(
        ["taskset", "-c", "0", sys.executable, str(Path(__file__).with_name("bare.py")), str(port)],
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(1.5)
        return wrk(f"http://127.0.0.1:{port}/")[0]
    finally:
        process.terminate()
        process.wait()


def bench_requests(stage: Stage, directory: Path) -> None:
    console.print("[bold]Requests a second, service and store on one core[/]")
    stage.scannercli.force(Behaviour(hang=True))
    bare = bare_rate()
    note("bare ASGI on the same server", f"{bare:,.0f}/s", "", "")
    with stage.service(WORKERS="1", API_POLL_HOLD="0s", SHUTDOWN_GRACE="0s") as service:
        pin(service, "0")
        rate, latency = wrk(f"{service.url}/api/v1/metadata")
        note("GET metadata", f"{rate:,.0f}/s, {rate / bare:.2f} of bare ({latency})", "36,684/s", "2,293/s")
        post = directory / "post.lua"
        body = msgspec.json.encode(request_for("bench/post")).decode()
        post.write_text(f"wrk.method = 'POST'\nwrk.body = {json.dumps(body)}\n")
        rate, latency = wrk(f"{service.url}/api/v1/scan", "-s", str(post))
        note(
            "POST scan, synced to disk, 16 connections", f"{rate:,.0f}/s ({latency})", "431/s", "515 of 2,000 accepted"
        )
        rate, latency = wrk(f"{service.url}/api/v1/scan", "-s", str(post), connections=100)
        note("POST scan, 100 connections", f"{rate:,.0f}/s ({latency})", "493/s", "142 of 2,000 accepted")

        async def submit() -> str:
            async with HarborClient(service.url) as client:
                return await client.submit(request_for("bench/poll"))

        job_id = asyncio.run(submit())
        rate, latency = wrk(f"{service.url}/api/v1/scan/{job_id}/report", "-H", f"Accept: {media.GENERIC_REPORT}")
        note("GET report, not ready (302)", f"{rate:,.0f}/s, {rate / bare:.2f} of bare ({latency})")
    stage.scannercli.reset()


def bench_reports(stage: Stage) -> None:
    console.print("[bold]A finished report, against reading the same bytes from the store[/]")
    peers = {100: ("963/s", "553/s"), 20_000: ("3.9/s", "2.7/s")}
    for findings in (100, 20_000):
        stage.scannercli.force(Behaviour(findings=findings))
        with stage.service() as service:

            async def finish(service: Service = service) -> tuple[str, int, int]:
                async with HarborClient(service.url) as client:
                    job_id = await client.submit(request_for("bench/report"))
                    await client.wait_for_report(job_id)
                async with httpx2.AsyncClient() as plain:
                    url = f"{service.url}/api/v1/scan/{job_id}/report"
                    async with plain.stream("GET", url, headers={"accept": media.GENERIC_REPORT}) as answer:
                        packed = sum([len(piece) async for piece in answer.aiter_raw()])
                    answer = await plain.get(url, headers={"accept-encoding": "identity"})
                    return job_id, packed, len(answer.content)

            job_id, packed, size = asyncio.run(finish())
            pin(service, "0")
            url = f"{service.url}/api/v1/scan/{job_id}/report"
            headers = ["-H", f"Accept: {media.GENERIC_REPORT}", "-H", "Accept-Encoding: gzip"]
            rate, latency = wrk(url, *headers, connections=1)
            raw = asyncio.run(raw_reads(service.data / "store" / "store.sock", job_id))
            note(
                f"GET report of {findings:,} findings ({size / 1e6:.1f} MB, {packed / 1e6:.2f} MB gzip), 1 connection",
                f"{rate:,.0f}/s ({latency})", *peers[findings],
            )  # fmt: skip
            note(
                "  the same bytes read from the store by redis-py", f"{raw:,.0f}/s; served at {rate / raw:.2f} of that"
            )
    stage.scannercli.reset()


async def raw_reads(socket: Path, job_id: str) -> float:
    async with Redis(unix_socket_path=str(socket)) as redis:
        key = f"harbor.scanner.aqua:store:aqua:reports:{job_id}"
        count, end, began = 0, time.monotonic() + 2, time.monotonic()
        while time.monotonic() < end:
            assert await redis.hget(key, VULNERABILITY)
            count += 1
        return count / (time.monotonic() - began)


def bench_delay(stage: Stage) -> None:
    console.print("[bold]From the scanner's exit to the report in the client's hands[/]")

    def measure(first_look: float, sleeps: list[float], what: str, **peers: str) -> None:
        for number, seconds in enumerate(sleeps):
            stage.scannercli.force(Behaviour(sleep=seconds, findings=50), repository=f"delay/{number}")

        async def one(client: HarborClient, number: int, arrived: dict[int, float]) -> None:
            job_id = await client.submit(request_for(f"delay/{number}"))
            pause = first_look
            while True:
                await asyncio.sleep(pause)
                answer = await client.report(job_id)
                if isinstance(answer, Ready):
                    arrived[number] = time.time()
                    return
                pause = answer.seconds if first_look else 0

        async def all_of(service: Service) -> dict[int, float]:
            arrived: dict[int, float] = {}
            async with HarborClient(service.url) as client:
                await asyncio.gather(*(one(client, number, arrived) for number in range(len(sleeps))))
            return arrived

        with stage.service(WORKERS="2") as service:
            arrived = asyncio.run(all_of(service))
        ended = {int(scan.image.split("/")[1].split("@")[0]): scan.ended or 0 for scan in stage.scannercli.scans("")
                 if scan.image.startswith("delay/")}  # fmt: skip
        delays = [1000 * (arrived[number] - ended[number]) for number in arrived]
        note(what, f"median {statistics.median(delays):.0f} ms, most {max(delays):.0f} ms", *peers.values())
        shutil.rmtree(stage.scannercli.directory)
        stage.scannercli = new_scanner(stage.directory)

    random.seed(1)
    measure(0, [random.uniform(0.2, 0.6) for _ in range(30)], "a poll is always held (aim: median < 50, most < 250)")
    measure(
        2, [random.uniform(0.5, 2.5) for _ in range(16)], "Harbor's own rhythm (2 s, then Refresh-After)",
        aqua="up to 5,000 ms", trivy="up to 5,000 ms",
    )  # fmt: skip


def bench_transform(stage: Stage, directory: Path) -> None:
    console.print("[bold]Transform of a report of 20,000 findings[/]")
    report = directory / "report.json"
    stage.scannercli.force(Behaviour(findings=20_000))
    subprocess.run(
        [str(stage.scannercli.path), "scan", "--user=harbor_scanner", f"--password={stage.scannercli.config.password}",
         "--host=http://x", "--registry=Harbor", "--dockerless", "--checkonly", "--jsonfile", str(report),
         "x/y@sha256:0"],
        check=True, capture_output=True,
    )  # fmt: skip
    size = report.stat().st_size
    plain = timed(lambda: msgspec.json.encode(msgspec.json.decode(report.read_bytes())))
    findings = timed(lambda: to_result(load_report(report)))

    def whole() -> RenderedReport:
        result = to_result(load_report(report))
        return render(
            Artifact("x", "y"), ScannerInfo("a", "b", "c"), result.findings, result.notices, datetime.now(UTC)
        )

    document = gzip.decompress(whole().body)
    packing = timed(lambda: zlib.compress(document, COMPRESSION_LEVEL))
    everything = timed(whole)
    note(f"plain msgspec decode and encode ({size / 1e6:.1f} MB)", f"{plain:.0f} ms")
    note("decode and findings", f"{findings:.0f} ms, {findings / plain:.2f} of plain")
    note(
        "decode, findings, clean, merge, encode (aim: < 2)",
        f"{everything - packing:.0f} ms, {(everything - packing) / plain:.2f} of plain",
    )
    program = f"""
import re
from datetime import UTC, datetime
from pathlib import Path
from harbor_scanner.harbor.models import Artifact, ScannerInfo
from harbor_scanner.harbor.report import render
from harbor_scanner.scanners.aqua.findings import to_result
from harbor_scanner.scanners.aqua.report import load_report
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
result = to_result(load_report(Path({str(report)!r})))
render(Artifact("x", "y"), ScannerInfo("a", "b", "c"), result.findings, result.notices, datetime.now(UTC))
print(peak() - before)
"""
    peak = (
        int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout) * 1024
    )
    note(
        "peak memory of all that (aim: < 4 times the document)",
        f"{peak / 1e6:.0f} MB, {peak / size:.2f} of the document",
    )
    stage.scannercli.reset()


def timed(work: Callable[[], Any]) -> float:
    """Return the median milliseconds of five runs."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def new_scanner(directory: Path) -> Any:
    scannercli = install_scannercli(directory / "scannercli")
    scannercli.connect(Registry(NOWHERE, "", ""))
    return scannercli


def main() -> None:
    if find_program("wrk") is None:
        sys.exit("bench: wrk is needed for load, and could not be fetched (see `make servers`)")
    directory = Path(tempfile.mkdtemp(prefix="hs-"))
    try:
        stage = Stage(directory, new_scanner(directory))
        bench_start(stage)
        bench_requests(stage, directory)
        bench_reports(stage)
        bench_delay(stage)
        bench_transform(stage, directory)
        console.print("[bold]Caches of qscanner[/]")
        bench_caches(note)
        console.print("[bold]Advisories of osv.dev[/]")
        bench_osv(note)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    table = Table(title=f"harbor-scanner on {os.cpu_count()} cores", title_justify="left")
    for title in ("what", "here", "aqua (Go)", "trivy (Go)"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()
