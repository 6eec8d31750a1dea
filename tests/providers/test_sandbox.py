"""Code of a chat model runs, and can neither reach out nor stay on: each is tried in the real sandbox."""

import asyncio
import base64
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from providers.sandbox import sandbox
from providers.sandbox.sandbox import Run, Sandbox, SandboxMissing, available
from tests.support.sandboxes import share
from tests.support.service import eventually

pytestmark = pytest.mark.skipif(not available(), reason="the extra `code` is not installed")

ENDLESS = "open('started', 'w')\nwhile True: pass"
SHORT_SECONDS = 2.0
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def cache(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    share(compiled, folder)
    assert len(list((folder / "sandbox").glob("*.cwasm"))) == 1
    return folder


@pytest.fixture
def box(cache: Path) -> Iterator[Sandbox]:
    """After every test the same sandbox still runs code, and nothing is left of the runs before."""
    box = Sandbox(cache, seconds=30.0)
    yield box
    still_runs(box, cache)


@pytest.fixture
def hasty(cache: Path) -> Iterator[Sandbox]:
    """One whose code must end soon."""
    box = Sandbox(cache, seconds=SHORT_SECONDS)
    yield box
    still_runs(box, cache)


def still_runs(box: Sandbox, cache: Path) -> None:
    assert box.run("print('hello')").std_out == "hello\n"
    assert list((cache / "sandbox" / "runs").iterdir()) == []


def files(run: Run) -> dict[str, bytes]:
    return {file.filename: base64.b64decode(file.b64_data) for file in run.output_files}


def last_line(run: Run) -> str:
    assert not run.success
    return run.std_err.splitlines()[-1]


def test_what_is_printed_comes_back(box: Sandbox) -> None:
    run = box.run("import sys\nprint('hellø')\nprint('oh', file=sys.stderr)")
    assert (run.success, run.std_out, run.std_err, run.output_files) == (True, "hellø\n", "oh", [])
    assert 0 < run.code_runtime < PATIENCE_SECONDS


def test_the_standard_library_is_there(box: Sandbox) -> None:
    run = box.run(
        "import csv, datetime, decimal, json, math, random, re, statistics\n"
        "print(json.dumps({'mean': statistics.mean([1, 2, 6])}))\n"
        "print(re.sub('[aeiou]', '', 'everlog'), datetime.date(2024, 2, 28) + datetime.timedelta(days=2))"
    )
    assert run.std_out == '{"mean": 3}\nvrlg 2024-03-01\n', run.std_err


def test_an_exception_gives_its_traceback_and_what_was_printed_before(box: Sandbox) -> None:
    run = box.run("print('before')\n1 / 0")
    assert run.std_out == "before\n"
    assert "line 2" in run.std_err
    assert last_line(run) == "ZeroDivisionError: division by zero"


def test_code_that_does_not_parse_says_so(box: Sandbox) -> None:
    assert last_line(box.run("print(")).startswith("SyntaxError")
    assert last_line(box.run("print(1)\0print(2)")).startswith("SyntaxError")


@pytest.mark.parametrize("status", [1, 80, 82, 125, 255])
def test_an_exit_with_a_status_is_a_failure_told_as_such(box: Sandbox, status: int) -> None:
    assert last_line(box.run(f"raise SystemExit({status})")) == f"ended with exit code {status}"


def test_an_exit_without_a_status_is_a_success(box: Sandbox) -> None:
    assert box.run("raise SystemExit").success


def test_half_a_surrogate_pair_does_no_harm(box: Sandbox) -> None:
    assert box.run("print('a\ud800b')").std_out == "a?b\n"


def test_files_it_writes_come_back(box: Sandbox) -> None:
    run = box.run("open('a.txt', 'w').write('one')\nopen('/b.bin', 'wb').write(bytes(range(256)))")
    assert files(run) == {"a.txt": b"one", "b.bin": bytes(range(256))}


def test_given_files_are_there_and_come_back_only_when_changed(box: Sandbox) -> None:
    given = {"in.csv": b"1,2", "log.txt": b"old", "big.bin": bytes(3_000_000)}
    run = box.run("print(open('in.csv').read())\nopen('log.txt', 'a').write(' and new')", given)
    assert run.std_out == "1,2\n"
    assert files(run) == {"log.txt": b"old and new"}


def test_names_of_files_are_made_plain(box: Sandbox) -> None:
    given = {
        "../../etc/cron.d/x": b"1",
        "C:\\temp\\x": b"2",
        "..": b"3",
        "a/": b"",
        "\x00\ud800.txt": b"4",
        "é" * 300: b"5",
    }
    run = box.run(
        "import os\nprint(sorted(os.listdir()))\nopen('a\\nb;c', 'w')\nopen('..hidden', 'w')", given
    )
    assert run.std_out == f"{['2-x', '_', '__.txt', 'file', 'x', 'é' * 60]}\n"
    assert sorted(files(run)) == ["_hidden", "a_b_c"]


def test_no_more_than_ten_files_come_back(box: Sandbox) -> None:
    run = box.run("for i in range(15): open(f'{i:02}', 'w').write('x')")
    assert run.success
    assert sorted(files(run)) == [f"{i:02}" for i in range(10)]
    assert "5 more files" in run.std_err


def test_files_of_together_more_than_five_megabytes_do_not_come_back(box: Sandbox) -> None:
    run = box.run("for i in range(4): open(f'{i}', 'wb').write(bytes(1_900_000))")
    assert sum(map(len, files(run).values())) <= 5_000_000


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('127.0.0.1', 80))",
        "import socket; socket.socket().connect(('127.0.0.1', 80))",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1')",
        "import socket; socket.socket(fileno=3).accept()",
    ],
)
def test_there_is_no_network(box: Sandbox, code: str) -> None:
    assert not box.run(code).success


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../../../../../../etc/passwd", "/proc/self/environ", "/dev/zero", str(Path(__file__))],
)
def test_files_of_the_host_cannot_be_read(box: Sandbox, path: str) -> None:
    run = box.run(f"print(open({path!r}).read(10))")
    assert run.std_out == ""
    assert not run.success


def test_files_of_the_host_cannot_be_written(box: Sandbox, tmp_path: Path) -> None:
    assert not box.run(f"open({str(tmp_path / 'x')!r}, 'w')").success
    assert not box.run("open('../x', 'w')").success
    assert list(tmp_path.iterdir()) == []


def test_the_environment_is_empty(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_HOST", "x")
    assert box.run("import os\nprint(dict(os.environ))").std_out == "{}\n"


def test_the_only_folder_is_its_own(box: Sandbox) -> None:
    run = box.run("import os\nprint(os.getcwd(), os.listdir('/'), os.listdir('.'))", {"mine": b""})
    assert run.std_out == "/ ['mine'] ['mine']\n"


@pytest.mark.parametrize(
    "code",
    [
        "import os\nwhile True: os.fork()",
        "import subprocess; subprocess.run(['ls'])",
        "import os; os.system('ls')",
        "import os; os.execv('/bin/sh', ['sh'])",
        "import multiprocessing; multiprocessing.Process(target=print).start()",
        "import threading; threading.Thread(target=print).start()",
        "import ctypes; ctypes.CDLL(None).fork()",
    ],
)
def test_it_starts_no_processes_and_threads(box: Sandbox, code: str) -> None:
    assert not box.run(code).success


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.symlink('/etc/passwd', 'x'); print(open('x').read())",
        "import os; os.symlink('..', 'up'); print(os.listdir('up'))",
        "import os; os.link('/etc/passwd', 'x')",
        "open('a', 'w'); import os; os.rename('a', '../a')",
        "import os; os.chdir('..'); os.mkdir('x')",
        "import os; print(os.listdir('..'))",
        "import os; os.rmdir('.')",
    ],
)
def test_links_and_the_way_up_lead_nowhere(box: Sandbox, code: str) -> None:
    run = box.run(code)
    assert run.std_out in ("", "['a']\n", "[]\n")
    assert not any(content for content in files(run).values())


@pytest.mark.parametrize("code", ["bytearray(1 << 30)", "x = []\nwhile True: x.append(bytearray(1 << 20))"])
def test_a_memory_bomb_is_stopped(box: Sandbox, code: str) -> None:
    assert last_line(box.run(code)) == "out of memory: code may use 256 MB"


def test_memory_may_be_used_up_to_the_limit(box: Sandbox) -> None:
    assert box.run("print(len(bytearray(200 << 20)))").std_out == f"{200 << 20}\n"


@pytest.mark.parametrize(
    "code", ["while True: pass", "import time; time.sleep(1000)", "sum(range(10 ** 15))"]
)
def test_endless_code_is_stopped_and_what_it_printed_is_kept(hasty: Sandbox, code: str) -> None:
    run = hasty.run(f"print('started')\nopen('a', 'w').write('x')\n{code}")
    assert last_line(run) == "stopped after 2 s"
    assert run.std_out == "started\n"
    assert files(run) == {"a": b"x"}
    assert run.code_runtime < PATIENCE_SECONDS


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_endless_printing_is_cut(hasty: Sandbox, stream: str) -> None:
    run = hasty.run(f"import sys\nwhile True: print('x' * 1000, file=sys.{stream})")
    assert last_line(run) == "stopped after 2 s"
    printed = run.std_out if stream == "stdout" else run.std_err
    assert 100_000 <= len(printed) < 101_000
    assert "[printed more than 100 kB: the rest is left out]" in printed


def test_much_printing_is_cut_and_no_failure(box: Sandbox) -> None:
    run = box.run("print('x' * 1_000_000)")
    assert run.success
    assert len(run.std_out) < 101_000


@pytest.mark.parametrize(
    "code",
    [
        "f = open('f', 'wb')\nwhile True: f.write(bytes(65536))",
        "open('f', 'wb').truncate(1 << 40)",
        "i = 0\nwhile True: i += 1; open(f'{i}', 'wb').write(bytes(1_000_000))",
        "i = 0\nwhile True: i += 1; open(f'{i}', 'wb')",
        "import os\nx = []\nwhile True:\n x += [open('f', 'wb')]; os.unlink('f'); x[-1].write(bytes(10**6))",
        "import os\nwhile True: os.mkdir('d'); os.chdir('d')",
    ],
    ids=["long", "sparse", "large", "many", "deleted", "deep"],
)
def test_a_disk_bomb_is_stopped(box: Sandbox, code: str) -> None:
    run = box.run(code)
    assert not run.success
    assert "stopped after" not in run.std_err
    assert sum(map(len, files(run).values())) <= 5_000_000
    assert len(run.output_files) <= 10


@pytest.mark.parametrize(
    "code",
    [
        "def f(n): return f(n + 1)\nf(0)",
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(n): return f(n + 1)\nf(0)",
        "class A:\n def __getattr__(self, name): return getattr(self, name + 'x')\nA().y",
    ],
    ids=["plain", "no limit", "in C"],
)
def test_unbounded_recursion_ends(hasty: Sandbox, code: str) -> None:
    assert last_line(hasty.run(code))


def test_runs_at_the_same_time_are_not_mixed(box: Sandbox) -> None:
    def run(n: int) -> Run:
        return box.run(f"print(open('n').read())\nopen('out', 'w').write('{n}')", {"n": str(n).encode()})

    with ThreadPoolExecutor(4) as pool:
        for n, ran in enumerate(pool.map(run, range(4))):
            assert (ran.std_out, files(ran)) == (f"{n}\n", {"out": str(n).encode()}), ran.std_err


# --- turns ------------------------------------------------------------------------------------------


@pytest.fixture
def patient(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """One whose code would go on for longer than any test, and whose turns are waited for as long."""
    monkeypatch.setattr(sandbox, "BUSY_SECONDS", PATIENCE_SECONDS)
    box = Sandbox(cache, seconds=10 * PATIENCE_SECONDS)
    yield box
    still_runs(box, cache)


async def started(cache: Path, programs: int = 1) -> None:
    runs = cache / "sandbox" / "runs"
    await asyncio.to_thread(eventually, lambda: len(list(runs.glob("*/started"))) == programs)


def children() -> list[str]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]


async def cancelled(*turns: "asyncio.Task[Run]") -> None:
    for turn in turns:
        turn.cancel()
    await asyncio.gather(*turns, return_exceptions=True)
    assert all(turn.cancelled() for turn in turns)


def test_many_endless_programs_of_one_owner_delay_no_other(patient: Sandbox, cache: Path) -> None:
    async def use() -> None:
        threads = threading.active_count()
        turns = [asyncio.create_task(patient.run_in_turn("greedy", ENDLESS)) for _ in range(12)]
        await started(cache)
        assert (await patient.run_in_turn("other", "print(7)")).std_out == "7\n"
        assert not any(turn.done() for turn in turns)
        assert threading.active_count() <= threads + sandbox.AT_ONCE + 1  # that of `started`
        await started(cache)
        await cancelled(*turns)

    asyncio.run(use())


def test_two_programs_run_at_once_and_others_follow_as_they_came(patient: Sandbox, cache: Path) -> None:
    async def use() -> None:
        turns = [asyncio.create_task(patient.run_in_turn(owner, ENDLESS)) for owner in "abcde"]
        last = asyncio.create_task(patient.run_in_turn("f", "print(7)"))
        for two in (turns[:2], turns[2:4]):
            await started(cache, 2)
            await asyncio.to_thread(patient.run, "print('a while passes')")
            await started(cache, 2)
            assert not last.done()
            await cancelled(*two)
        assert (await last).std_out == "7\n"
        await cancelled(turns[4])

    asyncio.run(use())


def test_a_cancelled_turn_leaves_nothing_and_then_gives_its_place_back(patient: Sandbox, cache: Path) -> None:
    async def use() -> None:
        before = children()
        for _ in range(3):
            turn = asyncio.create_task(patient.run_in_turn("ann", ENDLESS))
            await started(cache)
            assert len(children()) == len(before) + 1
            await cancelled(turn)
            after = await patient.run_in_turn("ann", "print(7)")
            assert after.std_out == "7\n"
            assert children() == before
            assert list((cache / "sandbox" / "runs").iterdir()) == []

    asyncio.run(use())


def test_a_turn_cancelled_before_it_came_is_skipped(patient: Sandbox, cache: Path) -> None:
    async def use() -> None:
        first, second, third = [
            asyncio.create_task(patient.run_in_turn("ann", code)) for code in (ENDLESS, ENDLESS, "print(7)")
        ]
        await started(cache)
        await cancelled(second)
        await cancelled(first)
        assert (await third).std_out == "7\n"

    asyncio.run(use())


def test_a_program_stopped_before_it_began_never_runs(patient: Sandbox) -> None:
    stop = sandbox.Stop()
    stop()
    assert not patient.run(ENDLESS, {}, stop).success


def test_a_turn_that_waits_too_long_says_so(
    patient: Sandbox, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use() -> None:
        turns = [asyncio.create_task(patient.run_in_turn(owner, ENDLESS)) for owner in ("ann", "bob")]
        await started(cache, 2)
        monkeypatch.setattr(sandbox, "BUSY_SECONDS", 0.01)
        for owner in ("ann", "carl"):
            assert (
                last_line(await patient.run_in_turn(owner, "1"))
                == "too busy with other code, try again later"
            )
        await cancelled(turns[0])
        monkeypatch.setattr(sandbox, "BUSY_SECONDS", PATIENCE_SECONDS)
        assert (await patient.run_in_turn("carl", "print(7)")).std_out == "7\n"
        await cancelled(turns[1])

    asyncio.run(use())


def test_a_run_that_fails_gives_its_place_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    box = Sandbox(tmp_path / "file")

    async def use() -> None:
        for _ in range(2 * sandbox.AT_ONCE):
            with pytest.raises(OSError, match="file"):
                await box.run_in_turn("ann", "1")

    asyncio.run(use())


# --- the compiled module ----------------------------------------------------------------------------


def test_the_compiled_module_is_ours_alone_and_compiled_once(box: Sandbox, cache: Path) -> None:
    folder = cache / "sandbox"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (module,) = folder.glob("*.cwasm")
    assert stat.S_IMODE(module.stat().st_mode) == 0o600
    assert list(folder.glob("*.part")) == []
    before = module.stat().st_mtime_ns
    assert box.run("print(1)").success
    assert module.stat().st_mtime_ns == before


def test_a_module_that_others_could_have_written_is_not_trusted(tmp_path: Path) -> None:
    for name, mode in {"ours": 0o600, "group": 0o660, "all": 0o606}.items():
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("ours")
    for name in ("ours", "group", "all", "link", "none"):
        sandbox.discard_untrusted(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


@pytest.fixture(params=["copying", pytest.param("compiling", marks=pytest.mark.slow)])
def made(request: pytest.FixtureRequest, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The compiled CPython; another is made by compiling it again, or by copying it."""
    (compiled,) = (cache / "sandbox").glob("*.cwasm")
    if request.param == "copying":
        monkeypatch.setattr(sandbox, "compile_module", partial(shutil.copy, compiled))
    return compiled


def test_a_module_that_does_not_load_is_made_anew(made: Path, tmp_path: Path) -> None:
    compiled = made
    module = tmp_path / "sandbox" / compiled.name
    module.parent.mkdir()
    module.touch(0o600)
    module.write_bytes(b"of another processor")
    assert Sandbox(tmp_path).run("print('hello')").std_out == "hello\n"
    assert module.stat().st_size == compiled.stat().st_size


def test_a_folder_of_another_user_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sandbox").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SandboxMissing, match="another user"):
        Sandbox(tmp_path).run("print(1)")


def test_what_a_killed_process_left_is_removed(box: Sandbox, cache: Path) -> None:
    left = cache / "sandbox" / "runs" / "left"
    left.mkdir(parents=True)
    (left / "file").write_text("x")
    os.utime(left, (0, 0))
    assert box.run("print(1)").success
    assert not left.exists()


def test_the_child_dies_with_its_parent(cache: Path, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from providers.sandbox.sandbox import Sandbox
Sandbox(Path({str(cache)!r}), seconds=600).run("open('started', 'w')\\nwhile True: pass")
"""
    runs = cache / "sandbox" / "runs"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(sandbox.__file__).parents[2])
    eventually(lambda: list(runs.glob("*/started")))
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    assert children
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    eventually(lambda: not any(Path(f"/proc/{child}/exe").exists() for child in children))
    for left in runs.iterdir():
        os.utime(left, (0, 0))  # or it would be kept for an hour


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["wasmtime"] = None
from pathlib import Path
from providers.sandbox.sandbox import Sandbox, SandboxMissing, available
assert not available()
try:
    Sandbox(Path(sys.argv[1])).run("print(1)")
except SandboxMissing as missing:
    print(missing)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(sandbox.__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "./everlog install code" in run.stdout, run.stderr
    assert list(tmp_path.iterdir()) == []
