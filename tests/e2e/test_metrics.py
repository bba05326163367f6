"""Metrics that tell of trouble before a scan does: no program, no database, old advisories, an old certificate."""

from __future__ import annotations

import math
import ssl
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from support import advisories, syft
from support.redis_servers import program
from support.redis_servers import serving as redis_serving
from support.service import Service, serving
from support.stage import Stage

NO_UPDATES = {"SCANNER_OSV_UPDATE_EVERY": "0"}


def values(page: str) -> dict[str, float]:
    """Return the value of each series by its name and labels."""
    lines = (line for line in page.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def told(service: Service, metric: str, scanner: str = "osv") -> float:
    """Return a metric of a scanner; NaN if the service does not tell it."""
    return values(service.metrics()).get(f'harbor_scanner_{metric}{{scanner="{scanner}"}}', math.nan)


@pytest.mark.skipif(bool(syft.missing()), reason=syft.missing() or "-")
def test_a_database_is_missing_and_then_there(stage: Stage) -> None:
    with serving(stage.directory / "service", NO_UPDATES) as service:
        assert told(service, "scanner_ready") == 0
        assert told(service, "database_updated_timestamp_seconds") == 0
        before = int(time.time())
        advisories.install(service.data)
        service.wait_for(lambda: told(service, "scanner_ready") == 1, "able to scan")
        assert before <= told(service, "database_updated_timestamp_seconds") <= time.time()


def test_a_program_is_missing(stage: Stage) -> None:
    stage.use_quick_scanner().with_name("scannercli").unlink()
    with stage.service() as service:
        service.wait_for(lambda: told(service, "scanner_ready", "aqua") == 0, "known not to be able to scan")
        assert math.isnan(told(service, "database_updated_timestamp_seconds", "aqua")), "Aqua keeps none here"


def test_an_api_without_workers_is_of_no_use_and_knows_no_database(stage: Stage) -> None:
    with redis_serving(program("valkey"), stage.directory / "redis", tcp=True) as redis:
        environment = {
            **NO_UPDATES,
            "SCANNER_REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
            "SCANNER_STORE_KEY": "shared",
        }
        with serving(stage.directory / "api", environment, "--role", "api") as api:
            api.wait_for(lambda: told(api, "scanner_ready") == 0, "known to have no worker")
            assert math.isnan(told(api, "database_updated_timestamp_seconds")), "it lies with the workers"


def test_a_certificate_tells_when_it_expires(stage: Stage, tmp_path: Path) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=365)
    ca = trustme.CA()
    pair = tmp_path / "server.pem"
    ca.issue_cert("127.0.0.1", not_after=end).private_key_and_cert_chain_pem.write_to_path(str(pair))
    files = {"API_TLS_CERTIFICATE": str(pair), "API_TLS_KEY": str(pair)}
    service = Service(stage.directory / "tls", stage.environment(**files))
    try:
        service.start(ready=False)
        service.wait_for(lambda: "harbor-scanner listens" in service.log(), "listening")
        page = _get(f"https://{service.address}/metrics", ca, tmp_path)
        assert values(page)["harbor_scanner_certificate_expires_timestamp_seconds"] == end.timestamp()
    finally:
        service.end()


def _get(url: str, ca: trustme.CA, directory: Path) -> str:
    ca.cert_pem.write_to_path(str(directory / "ca.pem"))
    context = ssl.create_default_context(cafile=directory / "ca.pem")
    with urllib.request.urlopen(url, timeout=10, context=context) as response:
        return str(response.read().decode())
