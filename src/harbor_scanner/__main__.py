"""`python -m harbor_scanner`."""

from __future__ import annotations

from harbor_scanner.cli import main

if __name__ == "__main__":
    main()
