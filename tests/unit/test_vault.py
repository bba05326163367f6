"""Registry credentials are sealed in the store."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harbor_scanner.errors import ScannerConfigurationError, StoreUnavailableError
from harbor_scanner.jobs.vault import Vault, new_secret

RELAXED = settings(deadline=None)

VAULT = Vault("pass phrase")


@RELAXED
@given(st.text(), st.text(max_size=40))
def test_what_was_sealed_is_opened_again_and_is_nowhere_to_be_seen(text: str, job: str) -> None:
    sealed = VAULT.seal(text, job)
    assert VAULT.open(sealed, job) == text
    assert len(text) < 4 or text.encode() not in sealed


def test_the_same_text_is_never_sealed_to_the_same_bytes() -> None:
    assert len({VAULT.seal("Basic abc", "job") for _ in range(50)}) == 50


def test_another_process_with_the_same_secret_opens_it() -> None:
    assert Vault("pass phrase").open(VAULT.seal("Basic abc", "job"), "job") == "Basic abc"


def refused(vault: Vault, sealed: bytes, job: str) -> str:
    with pytest.raises(ScannerConfigurationError) as caught:
        vault.open(sealed, job)
    assert "Basic abc" not in str(caught.value)
    return str(caught.value)


def test_another_secret_does_not_open_it_and_the_error_says_what_to_do() -> None:
    assert "SCANNER_STORE_KEY" in refused(Vault("another"), VAULT.seal("Basic abc", "job"), "job")


def test_what_was_sealed_for_one_job_is_not_opened_for_another() -> None:
    assert refused(VAULT, VAULT.seal("Basic abc", "job"), "other-job")


@RELAXED
@given(st.integers(0, 200), st.integers(1, 255))
def test_what_was_changed_in_the_store_is_not_opened(place: int, change: int) -> None:
    sealed = bytearray(VAULT.seal("Basic abc", "job"))
    sealed[place % len(sealed)] ^= change
    assert refused(VAULT, bytes(sealed), "job")


@RELAXED
@given(st.binary(max_size=60))
def test_what_was_never_sealed_is_not_opened(sealed: bytes) -> None:
    assert refused(VAULT, sealed, "job")


def test_a_locked_vault_says_that_the_store_is_to_be_waited_for() -> None:
    vault = Vault()
    with pytest.raises(StoreUnavailableError):
        vault.seal("Basic abc", "job")
    with pytest.raises(StoreUnavailableError):
        vault.open(b"x" * 40, "job")
    assert not vault.unlocked.is_set()


def test_a_vault_is_unlocked_by_the_secret_that_comes_later() -> None:
    async def unlock() -> str:
        vault = Vault()
        waiting = asyncio.create_task(vault.unlocked.wait())
        vault.unlock("pass phrase")
        await waiting
        return vault.open(VAULT.seal("Basic abc", "job"), "job")

    assert asyncio.run(unlock()) == "Basic abc"


def test_new_secrets_are_long_and_never_the_same() -> None:
    secrets = {new_secret() for _ in range(50)}
    assert len(secrets) == 50
    assert all(len(secret) >= 43 and secret.isascii() and secret.isprintable() for secret in secrets)


def test_what_an_earlier_secret_sealed_can_still_be_opened() -> None:
    vault = Vault("first")
    sealed = vault.seal("Basic abc", "job")
    vault.unlock("second")
    assert vault.open(sealed, "job") == "Basic abc"
    assert Vault("second").open(vault.seal("new", "job"), "job") == "new"
