"""Scanner programs: started with what they need and no more, heard within bounds, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvloop

from harbor_scanner import process, warden
from harbor_scanner.errors import MemoryLimitError, ScannerConfigurationError, TimeLimitError
from harbor_scanner.process import MARKER, OUTPUT_LIMIT, Outcome, Processes
from harbor_scanner.redact import MASK, Redactor
from support.programs import alive, pid_in, wait_until

Run = Callable[[Coroutine[Any, Any, Outcome]], Outcome]

PATH = os.environ["PATH"]
NEVER = 600.0
"""Seconds: a limit that no test reaches."""


EITHER_LOOP = pytest.mark.parametrize("run", ["asyncio", "uvloop"], indirect=True)


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on the loop that the service uses, or on the one that the test asks for."""
    factory = None if getattr(request, "param", "uvloop") == "asyncio" else uvloop.new_event_loop

    def on_loop(coroutine: Coroutine[Any, Any, Outcome]) -> Outcome:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(coroutine)

    return on_loop


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    yield
    process.sweep(tmp_path)


async def execute(
    directory: Path,
    argv: Sequence[str],
    *,
    time_limit: float = NEVER,
    secrets: Sequence[str] = (),
    environment: dict[str, str] | None = None,
) -> Outcome:
    async with Processes(directory).open() as processes:
        return await processes.run(
            argv,
            environment={"PATH": PATH} if environment is None else environment,
            directory=directory,
            time_limit=time_limit,
            redact=Redactor(secrets),
        )


def shell(directory: Path, script: str, *, time_limit: float = NEVER, secrets: Sequence[str] = ()) -> Any:
    return execute(directory, ["sh", "-c", script], time_limit=time_limit, secrets=secrets)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# ---- how a program ends


@pytest.mark.parametrize("code", [0, 1, 4, 5, 127, 255])
def test_the_exit_code_is_the_program_s_own(run: Run, tmp_path: Path, code: int) -> None:
    outcome = run(shell(tmp_path, f"exit {code}"))
    assert (outcome.exit_code, outcome.timed_out, outcome.program) == (code, False, "sh")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_a_signal_shows_as_the_shell_has_it(run: Run, tmp_path: Path, number: signal.Signals) -> None:
    outcome = run(shell(tmp_path, f"ulimit -c 0; kill -{int(number)} $$; sleep 600"))
    assert outcome.exit_code == 128 + number
    assert not outcome.timed_out


def limited(run: Run, directory: Path, script: str) -> Outcome:
    """Return the outcome of a script that ran into its limit after it had made the file `ready`."""
    for limit in (0.3, 1.5, 7.5, 40):
        outcome = run(shell(directory, script, time_limit=limit))
        assert outcome.timed_out
        assert outcome.time_limit == limit
        if (directory / "ready").exists():
            return outcome
    raise AssertionError("the script was never ready")


@EITHER_LOOP
def test_a_program_that_takes_too_long_is_asked_to_end(run: Run, tmp_path: Path) -> None:
    outcome = limited(run, tmp_path, "trap 'echo cleaned up; exit 3' TERM; touch ready; sleep 600 & wait")
    assert (outcome.exit_code, outcome.stdout) == (3, "cleaned up\n")


def test_a_program_that_does_not_end_when_asked_is_killed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "TERM_GRACE", 0.1)
    outcome = limited(run, tmp_path, "trap '' TERM; touch ready; while :; do sleep 600; done")
    assert outcome.exit_code == 128 + signal.SIGKILL


def test_the_time_limit_ends_the_whole_group_also_who_ignores_sigterm(run: Run, tmp_path: Path) -> None:
    stubborn = "(trap '' TERM; exec sh -c 'echo $$ >stubborn; touch ready; while :; do sleep 600; done') & wait"
    outcome = limited(run, tmp_path, stubborn)
    assert outcome.exit_code == 128 + signal.SIGTERM
    pid = pid_in(tmp_path / "stubborn")
    wait_until(lambda: not alive(pid), "the end of who ignores SIGTERM")


def test_what_a_program_leaves_running_in_its_group_is_ended_with_it(run: Run, tmp_path: Path) -> None:
    outcome = run(shell(tmp_path, "sleep 600 & echo $! >left; exit 0"))
    assert outcome.exit_code == 0
    left = pid_in(tmp_path / "left")
    wait_until(lambda: not alive(left), "the end of what was left")


@EITHER_LOOP
def test_a_grandchild_that_holds_the_output_does_not_hold_up_the_outcome(run: Run, tmp_path: Path) -> None:
    outcome = run(
        shell(tmp_path, "setsid sh -c 'echo $$ >away; exec sleep 600' & while ! test -s away; do :; done; echo hi")
    )
    assert (outcome.exit_code, outcome.stdout) == (0, "hi\n")


@EITHER_LOOP
def test_a_run_that_is_cancelled_ends_its_program(run: Run, tmp_path: Path) -> None:
    async def cancelled() -> Outcome:
        task = asyncio.create_task(shell(tmp_path, "echo $$ >pid; sleep 600; exit 7"))
        await asyncio.to_thread(pid_in, tmp_path / "pid")
        task.cancel()
        outcome: Outcome = await task
        return outcome

    with pytest.raises(asyncio.CancelledError):
        run(cancelled())
    assert not alive(pid_in(tmp_path / "pid"))


@EITHER_LOOP
def test_no_program_outlives_the_end_of_its_processes(run: Run, tmp_path: Path) -> None:
    async def closed_early() -> Outcome:
        async with Processes(tmp_path).open() as processes:
            task = asyncio.create_task(
                processes.run(
                    ["sh", "-c", "setsid sh -c 'echo $$ >away; exec sleep 600' & echo $$ >pid; sleep 600"],
                    environment={"PATH": PATH}, directory=tmp_path, time_limit=NEVER, redact=Redactor(),
                )
            )  # fmt: skip
            for name in ("pid", "away"):
                await asyncio.to_thread(pid_in, tmp_path / name)
        return await task

    assert run(closed_early()).exit_code == 128 + signal.SIGKILL
    away = pid_in(tmp_path / "away")
    wait_until(lambda: not alive(away), "the end of what left its group")


def test_several_programs_run_at_once_and_keep_apart(run: Run, tmp_path: Path) -> None:
    async def several() -> Outcome:
        async with Processes(tmp_path).open() as processes:
            outcomes = await asyncio.gather(
                *(
                    processes.run(
                        ["sh", "-c", f"echo out{n}; echo err{n} >&2; exit {n}"],
                        environment={"PATH": PATH}, directory=tmp_path, time_limit=NEVER, redact=Redactor(),
                    )
                    for n in range(8)
                )
            )  # fmt: skip
        assert [outcome.exit_code for outcome in outcomes] == list(range(8))
        assert [outcome.stdout for outcome in outcomes] == [f"out{n}\n" for n in range(8)]
        assert [outcome.stderr for outcome in outcomes] == [f"err{n}\n" for n in range(8)]
        return outcomes[-1]

    run(several())


# ---- what a program gets


def test_a_program_sees_the_environment_it_is_given_and_its_mark_and_nothing_else(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCANNER_AQUA_PASSWORD", "hunter2")
    outcome = run(execute(tmp_path, ["cat", "/proc/self/environ"], environment={"PATH": PATH, "A": "b c"}))
    assert sorted(filter(None, outcome.stdout.split("\0"))) == sorted(["A=b c", f"{MARKER}={tmp_path}", f"PATH={PATH}"])


def test_a_program_works_in_its_directory_and_has_no_input(run: Run, tmp_path: Path) -> None:
    outcome = run(shell(tmp_path, "pwd; cat; echo end"))
    assert outcome.stdout == f"{tmp_path}\nend\n"


def test_arguments_reach_the_program_as_they_are_for_no_shell_reads_them(run: Run, tmp_path: Path) -> None:
    wild = ["robot$library+Aqua x", "$(reboot)", "`id`", "a;b|c&d>e", "", "*", "é"]
    outcome = run(execute(tmp_path, ["printf", "%s\\n", *wild]))
    assert outcome.stdout.split("\n") == [*wild, ""]


@EITHER_LOOP
def test_nothing_is_left_open(run: Run, tmp_path: Path) -> None:
    run(shell(tmp_path, "echo once"))
    before = descriptors()
    run(shell(tmp_path, "echo hello; exit 1"))
    with pytest.raises(ScannerConfigurationError):
        run(execute(tmp_path, ["no-such-program"]))
    assert descriptors() == before


# ---- what is heard of a program


def test_the_two_outputs_are_kept_apart(run: Run, tmp_path: Path) -> None:
    outcome = run(shell(tmp_path, "echo one; echo two >&2; echo three"))
    assert (outcome.stdout, outcome.stderr) == ("one\nthree\n", "two\n")


@EITHER_LOOP
def test_of_megabytes_of_output_only_the_end_is_kept_in_memory(run: Run, tmp_path: Path) -> None:
    megabytes = "head -c 30000000 /dev/zero | tr '\\0' '{}'; printf '\\nthe {} end\\n'"
    script = f"{{ {megabytes.format('e', 'error')}; }} >&2 & {megabytes.format('o', 'output')}; wait"
    tracemalloc.start()
    try:
        outcome = run(shell(tmp_path, script))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert outcome.exit_code == 0
    assert outcome.stdout.endswith("o\nthe output end\n")
    assert outcome.stderr.endswith("e\nthe error end\n")
    assert OUTPUT_LIMIT // 2 < len(outcome.stdout) <= OUTPUT_LIMIT
    assert OUTPUT_LIMIT // 2 < len(outcome.stderr) <= OUTPUT_LIMIT
    assert peak < 3_000_000


def test_shortened_output_begins_with_a_whole_line(run: Run, tmp_path: Path) -> None:
    outcome = run(shell(tmp_path, "seq 100000 199999"))
    lines = outcome.stdout.splitlines()
    assert lines == [str(number) for number in range(200_000 - len(lines), 200_000)]
    assert len(lines) > 8000


def test_output_within_the_bounds_is_kept_whole(run: Run, tmp_path: Path) -> None:
    outcome = run(shell(tmp_path, f"head -c {OUTPUT_LIMIT} /dev/zero | tr '\\0' x"))
    assert outcome.stdout == "x" * OUTPUT_LIMIT


def test_output_that_is_no_utf_8_is_kept_readable(run: Run, tmp_path: Path) -> None:
    outcome = run(shell(tmp_path, "printf 'gr\\303\\274n \\377\\376 end'"))
    assert outcome.stdout == "grün \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} end"


def test_secrets_are_taken_out_of_both_outputs(run: Run, tmp_path: Path) -> None:
    script = "echo 'login hunter2$x failed'; echo '{\"password\":\"hunter2$x\"}' >&2"
    outcome = run(shell(tmp_path, script, secrets=["hunter2$x"]))
    assert outcome.stdout == f"login {MASK} failed\n"
    assert outcome.stderr == f'{{"password":"{MASK}"}}\n'


@pytest.mark.parametrize("separator", ["", " ", "\\n"])
def test_the_rest_of_a_secret_that_shortening_cut_through_is_taken_out_too(
    run: Run, tmp_path: Path, separator: str
) -> None:
    secret = "abcdefghijklmnopqrstuvwxyz-0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    script = f"yes '' | head -n 5000 | while read _; do printf '{secret}{separator}'; done; echo; echo end"
    outcome = run(shell(tmp_path, script, secrets=[secret]))
    assert outcome.stdout.endswith("end\n")
    assert MASK in outcome.stdout
    assert "XYZ" not in outcome.stdout


# ---- what cannot be started


@EITHER_LOOP
def test_a_missing_program_is_a_matter_of_configuration_with_advice(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ScannerConfigurationError) as caught:
        run(execute(tmp_path, ["scannercli-not-here", "version"]))
    assert "scannercli-not-here cannot be started: No such file or directory" in caught.value.message
    assert "Install scannercli-not-here" in caught.value.advice
    assert "PATH" in caught.value.advice


@pytest.mark.parametrize("kind", ["not executable", "directory"])
def test_what_cannot_be_executed_is_a_matter_of_configuration_with_advice(run: Run, tmp_path: Path, kind: str) -> None:
    program = tmp_path / "scannercli"
    if kind == "directory":
        program.mkdir()
    else:
        program.write_text("#!/bin/sh\n")
        program.chmod(0o644)
    with pytest.raises(ScannerConfigurationError, match="Permission denied") as caught:
        run(execute(tmp_path, ["scannercli"], environment={"PATH": str(tmp_path)}))
    assert "executable by this user" in caught.value.advice


def test_a_program_for_another_interpreter_is_a_matter_of_configuration(run: Run, tmp_path: Path) -> None:
    program = tmp_path / "scannercli"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    with pytest.raises(ScannerConfigurationError):
        run(execute(tmp_path, [str(program)]))


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_a_shortage_of_the_machine_is_a_failure_that_another_try_can_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    async def short() -> None:
        processes = Processes(tmp_path)

        async def refuse(*_: Any, **__: Any) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
        await processes.run(["sh"], environment={}, directory=tmp_path, time_limit=NEVER, redact=Redactor())

    with pytest.raises(MemoryLimitError, match=os.strerror(number)) as caught:
        asyncio.run(short())
    assert caught.value.retriable
    assert caught.value.advice


# ---- what an outcome says


def outcome_of(**changes: Any) -> Outcome:
    values = {
        "program": "scannercli", "exit_code": 0, "timed_out": False, "time_limit": 90.0, "seconds": 1.0,
        "stdout": "", "stderr": "", **changes,
    }  # fmt: skip
    return Outcome(**values)


def test_the_last_lines_are_those_of_the_log_or_else_of_the_output() -> None:
    assert outcome_of(stdout="out", stderr="one\ntwo \n\nthree\n\n").last_lines(2) == "two\nthree"
    assert outcome_of(stdout="one\ntwo\n", stderr=" \n").last_lines() == "one\ntwo"
    assert outcome_of().last_lines() == ""


def test_empty_lines_do_not_take_the_place_of_the_last_ones() -> None:
    assert outcome_of(stderr="the cause\n" + "\n" * 50).last_lines() == "the cause"


def test_a_program_that_ended_by_itself_is_not_blamed_on_limits() -> None:
    for code in (0, 1, 4, 139, 143):
        outcome_of(exit_code=code).require_own_end()


def test_a_program_that_took_too_long_is_told_with_its_limit_and_last_words() -> None:
    with pytest.raises(TimeLimitError) as caught:
        outcome_of(exit_code=137, timed_out=True, stderr="waiting for the console").require_own_end()
    assert "scannercli was ended after its limit of 90 seconds" in caught.value.message
    assert "waiting for the console" in caught.value.message
    assert not caught.value.retriable


def test_a_program_that_was_killed_from_outside_is_told_as_a_lack_of_memory() -> None:
    with pytest.raises(MemoryLimitError) as caught:
        outcome_of(exit_code=137, stderr="unpacking layer 7").require_own_end()
    assert "unpacking layer 7" in caught.value.message
    assert "SCANNER_WORKERS" in caught.value.advice
    assert caught.value.retriable


# ---- a service that dies

SERVICE = """
import asyncio, os, signal, subprocess, sys
from pathlib import Path
import uvloop
from harbor_scanner.process import Processes
from harbor_scanner.redact import Redactor

SCANNER = '''
setsid sh -c 'echo $$ >away-N; exec sleep 600' &
sh -c 'echo $$ >child-N; exec sleep 600' &
echo $$ >scanner-N
wait
'''

async def serve(directory, lose_warden):
    async with Processes(directory).open() as processes:
        if lose_warden:
            os.kill(processes._warden.pid, signal.SIGKILL)
            await processes._warden.wait()
        server = ["sh", "-c", "echo $$ >adopted; exec sleep 600"]
        with subprocess.Popen(server, cwd=directory, start_new_session=True) as adopted:
            async with processes.adopt(adopted.pid):
                await asyncio.gather(*(scan(processes, directory, number) for number in range(2)))

async def scan(processes, directory, number):
    await processes.run(
        ["sh", "-c", SCANNER.replace("N", str(number))],
        environment={"PATH": os.environ["PATH"]}, directory=directory, time_limit=600, redact=Redactor(),
    )

factory = uvloop.new_event_loop if sys.argv[2] == "uvloop" else None
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(serve(Path(sys.argv[1]), sys.argv[3] == "lose"))
"""


@pytest.mark.parametrize(("loop", "warden_state"), [("uvloop", "keep"), ("uvloop", "lose"), ("asyncio", "lose")])
def test_no_scanner_survives_a_service_that_is_killed(tmp_path: Path, loop: str, warden_state: str) -> None:
    with subprocess.Popen([sys.executable, "-c", SERVICE, str(tmp_path), loop, warden_state]) as service:
        try:
            names = ["adopted", *(f"{role}-{number}" for role in ("scanner", "child", "away") for number in range(2))]
            pids = {name: pid_in(tmp_path / name) for name in names}
            assert all(alive(pid) for pid in pids.values())
            children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
        finally:
            service.kill()
    for name, pid in pids.items():
        wait_until(lambda pid=pid: not alive(pid), f"the end of {name}")  # type: ignore[misc]
    for child in children:
        wait_until(lambda child=child: not alive(int(child)), "the end of the warden")  # type: ignore[misc]


@EITHER_LOOP
def test_a_warden_that_died_is_replaced_once_and_nothing_running_is_harmed(run: Run, tmp_path: Path) -> None:
    async def lose_warden() -> Outcome:
        async with Processes(tmp_path).open() as processes:

            def start(script: str) -> asyncio.Task[Outcome]:
                return asyncio.create_task(
                    processes.run(
                        ["sh", "-c", script],
                        environment={"PATH": PATH}, directory=tmp_path, time_limit=NEVER, redact=Redactor(),
                    )
                )  # fmt: skip

            long = start("echo $$ >pid; while ! test -e go; do sleep 0.02; done; exit 7")
            await asyncio.to_thread(pid_in, tmp_path / "pid")
            first = processes._warden
            assert first is not None
            os.kill(first.pid, signal.SIGKILL)
            await first.wait()
            short = await asyncio.gather(*(start("exit 0") for _ in range(6)))
            assert [outcome.exit_code for outcome in short] == [0] * 6
            second = processes._warden
            assert second is not None
            assert second.pid != first.pid
            assert second.returncode is None
            (tmp_path / "go").touch()
            return await long

    assert run(lose_warden()).exit_code == 7


# ---- the warden itself


@contextlib.contextmanager
def sleeping_group(**environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"], start_new_session=True, env={"PATH": PATH, **environment}) as program:
        try:
            yield program
        finally:
            program.kill()


def tell_warden(words: bytes, marker: str) -> None:
    subprocess.run([sys.executable, "-I", "-S", warden.__file__, marker], input=words, check=True, timeout=60)


def test_the_warden_ends_the_groups_it_was_told_of_but_not_those_that_ended(tmp_path: Path) -> None:
    with sleeping_group() as told, sleeping_group() as ended:
        tell_warden(f"+{told.pid}\n+{ended.pid}\n-{ended.pid}\n".encode(), f"{MARKER}={tmp_path}")
        assert told.wait() == -signal.SIGKILL
        assert alive(ended.pid)


def test_the_warden_does_not_believe_half_a_number(tmp_path: Path) -> None:
    with sleeping_group() as other:
        tell_warden(f"+{other.pid}".encode(), f"{MARKER}={tmp_path}")
        assert alive(other.pid)


def test_the_warden_is_not_ended_by_what_ends_a_terminal_s_programs(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", warden.__file__, f"{MARKER}={tmp_path}"]
    with sleeping_group() as told, subprocess.Popen(command, stdin=subprocess.PIPE) as keeper:
        assert keeper.stdin is not None
        keeper.stdin.write(f"+{told.pid}\n".encode())
        keeper.stdin.flush()
        wait_until(lambda: _ignores(keeper.pid, signal.SIGTERM), "the warden's start")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            keeper.send_signal(number)
        keeper.stdin.close()
        assert keeper.wait() == 0
        assert told.wait() == -signal.SIGKILL


def _ignores(pid: int, number: signal.Signals) -> bool:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn:")]
    return bool(int(line.split()[1], 16) & 1 << (number - 1))


def test_a_sweep_ends_what_carries_the_mark_of_a_directory_or_of_one_below_and_nothing_else(tmp_path: Path) -> None:
    (mine, below), (longer, none) = ("scan", "scan/work"), ("scan2", "")
    with contextlib.ExitStack() as stack:
        groups = {
            name: stack.enter_context(sleeping_group(**({MARKER: str(tmp_path / name)} if name else {})))
            for name in (mine, below, longer, none)
        }
        assert process.sweep(tmp_path / "scan") == 2
        assert groups[mine].wait() == groups[below].wait() == -signal.SIGKILL
        assert alive(groups[longer].pid)
        assert alive(groups[none].pid)
    assert process.sweep(tmp_path / "scan") == 0


def test_the_last_lines_are_few_and_not_endless() -> None:
    outcome = Outcome("x", 1, False, 1.0, 0.1, "", "\n".join(["early", *("y" * 60_000 for _ in range(20))]))
    shown = outcome.last_lines(12)
    assert "early" not in shown
    assert len(shown) < 12 * 600
