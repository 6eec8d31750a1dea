"""Rules of the house that no linter knows."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
API = TESTS.parent / "api"
SHARED = "tests.support"


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_no_web_handler_asks_the_database_itself() -> None:
    """What a handler wants to know is a use case, so that a command or another contract can ask it, too."""
    for file in API.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Attribute(value=ast.Name(id="engine"), attr="reading" | "connection"):
                    raise AssertionError(f"{file.relative_to(API)}:{node.lineno}: belongs into application/")


def test_no_test_module_imports_another() -> None:
    for file in TESTS.rglob("*.py"):
        ours = {module for module in imported(file) if module.startswith((".", "tests"))}
        strange = {module for module in ours if not module.startswith(f"{SHARED}.")}
        assert not strange, f"{file.relative_to(TESTS)}: what tests share belongs into {SHARED}"
