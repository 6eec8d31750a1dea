"""The papers say what is true: dependencies have reasons, links lead somewhere, named files exist."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DECISIONS = ROOT / "docs/decisions"
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
ROOMS = "api|application|bench|domain|examples|migrations|projections|providers|runtime|tests|workers|docs"
PLACE = re.compile(rf"`((?:{ROOMS})/[^`\s]*)`")
"""A file or folder of ours that a text names."""
PARTS = ("Context", "Decision", "Why", "Consequences")

each_paper = pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: str(paper.relative_to(ROOT)))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What the headings of a text can be linked by, as GitHub makes it of them."""
    headings = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def declared() -> Iterator[str]:
    """The names of all packages that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [
        project["build-system"]["requires"],
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
    ]
    for requirement in (each for some in lists for each in some):
        if (name := re.split(r"[^\w.-]", requirement)[0]) != "everlog":
            yield name


def test_every_dependency_has_its_reason_and_the_other_way_round() -> None:
    reasons = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)
    assert sorted(reasons) == sorted(set(declared()))


@each_paper
def test_every_link_to_a_file_of_ours_leads_there(paper: Path) -> None:
    for target in LINK.findall(without_code(paper.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = paper.parent / path if path else paper
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), target


@each_paper
def test_every_file_of_ours_that_is_named_exists(paper: Path) -> None:
    for place in PLACE.findall(without_code(paper.read_text())):
        if not re.search(r"[A-Z*<…]", place):  # of a file that somebody is to make
            assert (ROOT / place).exists(), place


@each_paper
def test_every_test_that_is_named_exists(paper: Path) -> None:
    tests = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", without_code(paper.read_text())):
        assert f"def {name}(" in tests, name


def test_every_decision_is_in_the_index_under_its_title() -> None:
    listed = re.findall(r"\[([^\]]+)\]\(([\w-]+\.md)\)", (DECISIONS / "README.md").read_text())
    records = {path.name: path.read_text() for path in DECISIONS.glob("*.md") if path.name != "README.md"}
    assert {name: title for title, name in listed} == {
        name: text.partition("\n")[0].removeprefix("# ") for name, text in records.items()
    }
    for name, text in records.items():
        for part in PARTS:
            assert re.search(rf"^(\*\*|#+ ){part}", text, re.MULTILINE), f"{name}: {part}"
