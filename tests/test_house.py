"""Rules of the house that no linter knows."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
SHARED = "tests.support"


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_no_test_module_imports_another() -> None:
    for file in TESTS.rglob("*.py"):
        ours = {module for module in imported(file) if module.startswith((".", "tests"))}
        strange = {module for module in ours if not module.startswith(f"{SHARED}.")}
        assert not strange, f"{file.relative_to(TESTS)}: what tests share belongs into {SHARED}"
