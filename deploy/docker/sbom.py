"""Write the image's own SBOM, as SPDX, while the image is built: python sbom.py FILE.

With SOURCE_DATE_EPOCH set, two builds of the same content give the same file: the time is that one, and Syft's random
name of the document is replaced by one that follows from the content.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harbor_scanner import __version__
from harbor_scanner.syft.program import find_program

_EXCLUDED = ("./proc", "./sys", "./dev", "./run", "./tmp")


def main() -> None:
    """Scan the whole file system and write the document. Ends with Syft's own complaint if that fails."""
    target = Path(sys.argv[1])
    excluded = [argument for path in _EXCLUDED for argument in ("--exclude", path)]
    name = ["--source-name", "harbor-scanner", "--source-version", __version__]
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [find_program(), "scan", "dir:/", "--quiet", "--output", "spdx-json", *name, *excluded],
            env={"HOME": directory, "TMPDIR": directory, "SYFT_CHECK_FOR_APP_UPDATE": "false"},
            stdout=subprocess.PIPE,
            check=True,
        )
    document = json.loads(done.stdout)
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    document["creationInfo"]["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    del document["documentNamespace"]
    content = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    document["documentNamespace"] = f"urn:harbor-scanner:sbom:{content}"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
