"""One tree of errors: a stable code, a message for Harbor's scan log, advice for the operator."""

from __future__ import annotations

from typing import ClassVar


class HarborScannerError(Exception):
    """Base of all errors of this package."""


class ScanError(HarborScannerError):
    """A scan job that cannot end in a report.

    `code` is the class of the failure as metrics and messages name it. `retriable` tells whether another run of
    the same job can succeed without anybody changing anything.
    """

    code: ClassVar[str] = "internal"
    retriable: ClassVar[bool] = False

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        text = f"[{self.code}] {self.message}"
        return f"{text}\n{self.advice}" if self.advice else text


class RegistryError(ScanError):
    """The registry refused the pull, or could not be reached by the scanner."""

    code = "registry"


class RegistryUnreachableError(RegistryError):
    """The registry did not answer the scanner, which may pass."""

    retriable = True


class ImageError(ScanError):
    """The artifact is not an image that the scanner can read."""

    code = "image"


class ScannerConfigurationError(ScanError):
    """The scanner was started with wrong settings, credentials or licence, or is not installed."""

    code = "scanner-configuration"


class ScannerUnreachableError(ScanError):
    """The scanner's console or platform did not answer."""

    code = "scanner-unreachable"
    retriable = True


class TimeLimitError(ScanError):
    """The scan took longer than its limit and was ended."""

    code = "time-limit"


class MemoryLimitError(ScanError):
    """The scanner was killed from outside, as the kernel does when memory runs out."""

    code = "memory"
    retriable = True


class DiskError(ScanError):
    """There was no room to work in."""

    code = "disk"
    retriable = True


class ScannerFailedError(ScanError):
    """The scanner failed and gave no reason that is known here."""

    code = "scanner-failed"


class BadReportError(ScanError):
    """The scanner ended well, but what it wrote is no usable report."""

    code = "bad-report"


class WorkerDiedError(ScanError):
    """The worker that ran the scan died, as often as a job may be run."""

    code = "worker-died"
    retriable = True


class InternalError(ScanError):
    """A defect of this service."""

    code = "internal"


class SettingsError(HarborScannerError):
    """The service cannot start with these settings. `problems` lists every one of them, a line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StartError(HarborScannerError):
    """The service cannot start on this machine. `advice` says what to do."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(f"{message}\n{advice}" if advice else message)


class StoreUnavailableError(HarborScannerError):
    """The store (Redis or Valkey) did not answer in time."""


class MalformedRequestError(HarborScannerError):
    """The body is no JSON, or its values have the wrong types (status 400 of the API)."""


class InvalidRequestError(HarborScannerError):
    """A field of the request holds what cannot be scanned (status 422 of the API). The message names the field."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
