"""The process of one sandboxed run: CPython as WebAssembly, with nothing of the host but one folder.

Started by file name and in isolated mode (`python -I child.py compile|run PARENT`), a job as JSON on
stdin; so it imports nothing of ours. What the code prints goes to stdout and stderr, capped; how the run
ended is the exit status, an `Ended`, which the code itself cannot choose.
"""

import contextlib
import ctypes
import enum
import fcntl
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    import wasmtime

ENGINE = {"epoch_interruption": True}
"""Part of the compiled module's name: a module runs only on the settings it was compiled with."""
STACK_BYTES = 2 << 20
"""The most that wasmtime takes; the deeper, the rather CPython's own recursion limit comes first."""
TABLE_ELEMENTS = 100_000
"""CPython's own table has less than a tenth of them."""

PRINTED_BYTES = 100_000
"""Of each of stdout and stderr."""
FILE_BYTES = 2_000_000
FILES_BYTES = 5_000_000
FILES = 100
TICK_SECONDS = 0.01
"""A disk takes some megabytes in that time."""
GRACE_SECONDS = 0.3
"""For code that waits inside a system call, where no epoch is seen."""

HOST_BYTES = 192 << 20
"""This interpreter, wasmtime and the module's own data, beside the memory of the code."""
OPEN_FILES = 32
"""The watch does not see files deleted while open: this and `FILE_BYTES` bound them."""
NICE = 10
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38

REFUSED = {"path_create_directory", "path_remove_directory", "path_link", "path_symlink"}
REFUSED |= {"sock_accept", "sock_recv", "sock_send", "sock_shutdown"}
NOT_PERMITTED = 63
"""EPERM in WASI's numbers."""
BAD_STATUS = "invalid exit status"
"""What wasmtime says of one above 125, such as that of `sys.exit(-1)`."""


class Ended(enum.IntEnum):
    WELL = 0
    RAISED = 80
    TIME = 81
    MEMORY = 82
    DISK = 83
    CRASHED = 84
    STALE_MODULE = 85


class Job(TypedDict):
    code: str
    module: str
    """Path of the compiled module, which is trusted."""
    folder: str
    seconds: float
    memory_bytes: int
    files: int
    """How many there may be in the folder, given ones included."""
    files_bytes: int


class Compile(TypedDict):
    wasm: str
    module: str
    """The path to write to."""


class Printed:
    """One stream of the code: the first `PRINTED_BYTES` go on to our own, the rest is dropped."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._left = PRINTED_BYTES
        self.last = b""

    def __call__(self, data: bytes) -> None:
        if self._left > 0:
            write(self._to, data[: self._left])
            if len(data) > self._left:
                write(
                    self._to,
                    f"\n[printed more than {PRINTED_BYTES // 1000} kB: the rest is left out]".encode(),
                )
        self._left -= len(data)
        self.last = (self.last + data)[-200:]


class Watch(threading.Thread):
    """Interrupts the code once its time or its disk space is used up; `stopped` then says which."""

    def __init__(self, job: Job, interrupt: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._job = job
        self._interrupt = interrupt
        self.over = threading.Event()
        self.stopped: Ended | None = None

    def run(self) -> None:
        folder, files, size = self._job["folder"], self._job["files"], self._job["files_bytes"]
        deadline = time.monotonic() + self._job["seconds"]
        while not self.over.wait(TICK_SECONDS):
            if fills_disk(folder, files, size):
                self.stopped = Ended.DISK
            elif time.monotonic() > deadline:
                self.stopped = Ended.TIME
            if self.stopped is not None:
                self._interrupt()
                if not self.over.wait(GRACE_SECONDS):
                    os._exit(self.stopped)
                return


def write(to: int, data: bytes) -> None:
    while data:
        data = data[os.write(to, data) :]


def fills_disk(folder: str, most_files: int, most_bytes: int) -> bool:
    """Looks at one folder only: the code can make no others."""
    files = size = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    size += entry.stat(follow_symlinks=False).st_size
                files += 1
                if files > most_files or size > most_bytes:
                    return True
    except OSError:  # the code holds all open files there may be, deleted ones perhaps
        return True
    return False


def make_engine() -> "wasmtime.Engine":
    from wasmtime import Config, Engine

    config = Config()
    for name, value in ENGINE.items():
        setattr(config, name, value)
    config.max_wasm_stack = STACK_BYTES
    return Engine(config)


def compile_module(wasm: Path, to: Path) -> None:
    """Once, however many ask at the same time; the file appears whole or not at all."""
    from wasmtime import Module

    lock = os.open(to.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if to.exists():
        return
    compiled = Module.from_file(make_engine(), str(wasm)).serialize()
    part = to.with_suffix(".part")  # the lock is held, no other writes it
    part.unlink(missing_ok=True)
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(file, "wb") as out:
        out.write(compiled)
        out.flush()
        os.fsync(out.fileno())
    part.rename(to)


def run(job: Job) -> Ended:
    import wasmtime

    engine = make_engine()
    try:
        module = wasmtime.Module.deserialize_file(engine, job["module"])
    except wasmtime.WasmtimeError:
        return Ended.STALE_MODULE
    errors = Printed(2)
    store = store_of(engine, job, errors)
    start: Any = linker_of(engine, module).instantiate(store, module).exports(store)["_start"]
    watch = Watch(job, engine.increment_epoch)
    watch.start()
    limit(job)
    try:
        start(store)
    except wasmtime.ExitTrap as exit:
        return status_of(exit.code, errors)
    except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
        if BAD_STATUS in str(error):
            return status_of(255, errors)
        return watch.stopped or Ended.CRASHED
    finally:
        watch.over.set()
    return Ended.WELL


def store_of(engine: "wasmtime.Engine", job: Job, errors: Printed) -> "wasmtime.Store":
    from wasmtime import Store, WasiConfig

    wasi: Any = WasiConfig()  # its setters have no types
    wasi.argv = ["python", "-I", "-u", "-c", job["code"]]  # unbuffered: what a stopped run printed is kept
    wasi.env = []
    wasi.stdout_custom = Printed(1)
    wasi.stderr_custom = errors
    wasi.preopen_dir(job["folder"], "/")
    store = Store(engine)
    store.set_limits(
        memory_size=job["memory_bytes"], table_elements=TABLE_ELEMENTS, instances=1, tables=10, memories=1
    )
    store.set_epoch_deadline(1)
    store.set_wasi(wasi)
    return store


def linker_of(engine: "wasmtime.Engine", module: "wasmtime.Module") -> "wasmtime.Linker":
    from wasmtime import FuncType, Linker

    linker: Any = Linker(engine)
    linker.allow_shadowing = True
    linker.define_wasi()
    for wanted in module.imports:
        if wanted.name in REFUSED and isinstance(wanted.type, FuncType):
            linker.define_func(wanted.module, wanted.name, wanted.type, lambda *_: NOT_PERMITTED)
    return linker  # type: ignore[no-any-return]


def status_of(code: int, errors: Printed) -> Ended:
    if code == 0:
        return Ended.WELL
    last = errors.last.strip().rpartition(b"\n")[2]
    if last.startswith(b"MemoryError"):
        return Ended.MEMORY
    if not last:
        write(2, f"ended with exit code {code}".encode())
    return Ended.RAISED


def limit(job: Job) -> None:
    """Behind the limits of WebAssembly, those of the kernel.

    RLIMIT_DATA and not RLIMIT_AS: wasmtime reserves gigabytes of addresses that it never makes writable.
    No RLIMIT_NPROC: it counts all processes of the user, and wasmtime reads files in threads of its own.
    """
    for which, most in {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: int(job["seconds"]) + 5,
        resource.RLIMIT_DATA: job["memory_bytes"] + HOST_BYTES,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: OPEN_FILES,
    }.items():
        hard = resource.getrlimit(which)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (allowed, allowed))


def yield_to(parent: int) -> None:
    """Die with the parent, give way to others, be the first to go when the machine is out of memory."""
    os.nice(NICE)
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before the request
        os._exit(Ended.CRASHED)
    Path("/proc/self/oom_score_adj").write_text("1000")


def main() -> None:
    command, parent = sys.argv[1:]
    yield_to(int(parent))
    job = json.load(sys.stdin)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if command == "compile":
        compile_module(Path(job["wasm"]), Path(job["module"]))
        return
    try:
        ended = run(job)
    except Exception:  # a traceback of ours would show the host's paths to the code's author
        ended = Ended.CRASHED
    os._exit(ended)


if __name__ == "__main__":
    main()
