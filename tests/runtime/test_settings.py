"""Settings: from the environment over a file, checked at the start, with messages that name the variable."""

from pathlib import Path

import pytest

from runtime.settings import SettingsError, load


def test_the_defaults_need_nothing() -> None:
    settings = load({})
    assert (settings.port, settings.data_dir, settings.database_url) == (8000, ".everlog", None)


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "everlog.toml"
    file.write_text('port = 1\nhost = "file"\ndata_dir = "file"\n')
    environ = {"EVERLOG_CONFIG": str(file), "EVERLOG_PORT": "2", "EVERLOG_HOST": "env", "OPENAI_API_KEY": "k"}
    settings = load(environ, port=3, host=None)
    assert (settings.port, settings.host, settings.data_dir) == (3, "env", "file")
    assert settings.openai_api_key == "k"


@pytest.mark.parametrize(
    "variable, value",
    [
        ("EVERLOG_PORT", "http"), ("EVERLOG_PORT", "70000"), ("EVERLOG_MASTER_KEY", "short"),
        ("EVERLOG_MASTER_KEY", "bm90IDMyIGJ5dGVz"), ("EVERLOG_BOOTSTRAP_KEY", "1234567"),
        ("EVERLOG_MAX_BODY_BYTES", "-1"), ("EVERLOG_EMBEDDING_MIDPOINT", "x"),
        ("EVERLOG_CONFIG", "/no/such/file"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}"):
        load({variable: value})


def test_an_unknown_key_in_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "everlog.toml"
    file.write_text("prot = 1\n")
    with pytest.raises(SettingsError, match="prot"):
        load({"EVERLOG_CONFIG": str(file)})


def test_a_model_that_is_to_extract_must_be_configured() -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY or OPENAI_BASE_URL"):
        load({"EVERLOG_EXTRACTOR": "model"})
    assert load({"EVERLOG_EXTRACTOR": "model", "OPENAI_API_KEY": "k"}).extractor == "model"
    assert load({"EVERLOG_EXTRACTOR": "rules"}).extractor == "rules"
