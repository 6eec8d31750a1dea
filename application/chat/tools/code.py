"""`/code`: Python of the model's, run in the sandbox."""

from typing import Annotated

import msgspec

from application.chat.chat import Chat
from application.chat.tools.telling import cut, fenced, plain
from application.chat.tools.tool import Desk, Outcome, Tool, ToolFailed
from domain.conversation import CodeRun, OutputFile, References
from providers.sandbox.sandbox import Run, Sandbox, SandboxMissing

MISSING = (
    "Running code needs an extra that is not installed here: ./everlog install code, then start Everlog again"
)
MAX_OUTPUT = 5_500
"""Characters that the model is told of what was printed: the beginning."""
MAX_ERRORS = 2_000
"""The end, which says what went wrong."""


class Program(msgspec.Struct, frozen=True):
    code: Annotated[
        str,
        msgspec.Meta(
            description="A whole Python 3 script. What it prints and the files that it writes come back."
        ),
    ]


class Printed(msgspec.Struct, frozen=True):
    success: bool
    output: str
    errors: str
    files: list[str]


class Code(Tool):
    command = "code"
    order = 40
    help = "Run Python code to find the answer."
    option = "Run Python code."
    description = (
        "Runs Python with the standard library alone, with no network and in an empty folder, for some "
        "seconds. Use it to calculate, count, convert, simulate, or write a file such as CSV for the user."
    )
    arguments: type[msgspec.Struct] = Program

    def available(self, chat: Chat) -> bool:
        return chat.means.sandbox is not None

    def missing(self) -> str:
        return MISSING

    async def run(self, desk: Desk, arguments: Program) -> Outcome:
        if desk.chat.means.sandbox is None:
            raise ToolFailed(MISSING)
        desk.say(f"**Running code snippet**:\n{fenced(arguments.code, 'python')}")
        run = await _run(desk.chat.means.sandbox, desk.asked.caller.owner, arguments.code)
        return Outcome(told=_for_model(run), references=References(runs=(_kept(run, arguments.code),)))


async def _run(sandbox: Sandbox, owner: str, code: str) -> Run:
    try:
        return await sandbox.run_in_turn(owner, code)
    except SandboxMissing as error:
        raise ToolFailed(str(error)) from None
    except OSError:
        raise ToolFailed("The code could not be run: this server lacks disk space or processes.") from None


def _for_model(run: Run) -> str:
    errors = run.std_err if len(run.std_err) <= MAX_ERRORS else "…" + run.std_err[-MAX_ERRORS:]
    files = [file.filename for file in run.output_files]
    return msgspec.json.encode(Printed(run.success, cut(run.std_out, MAX_OUTPUT), errors, files)).decode()


def _kept(run: Run, code: str) -> CodeRun:
    return CodeRun(
        code=plain(code),
        success=run.success,
        output=plain(run.std_out),
        errors=plain(run.std_err),
        files=tuple(OutputFile(name=file.filename, base64=file.b64_data) for file in run.output_files),
        seconds=run.code_runtime,
    )


CODE = Code()
