"""Discovery: what a file or a folder declares is there without being listed."""

from pathlib import Path

import pytest

from domain.discovery import declared


class Declaration(str):
    """What the files of the room below declare."""


def test_what_files_and_folders_declare_is_found_in_the_order_of_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "room_of_test"
    (room / "hall").mkdir(parents=True)
    here = f"from {__name__} import Declaration\n"
    (room / "__init__.py").write_text("")
    (room / "window.py").write_text(f"{here}WINDOW = Declaration('window')")
    (room / "door.py").write_text(f"{here}DOOR = Declaration('door')\nhandle = 'brass'")
    (room / "hall" / "__init__.py").write_text(f"{here}HALL = Declaration('hall')")
    (room / "hall" / "lamp.py").write_text(f"{here}LAMP = Declaration('lamp')")
    monkeypatch.syspath_prepend(tmp_path)
    assert [one for one in declared(room.name) if isinstance(one, Declaration)] == ["door", "hall", "window"]
