"""A running service whose chats talk with a scripted model, and ways to ask it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.chat_model import ScriptedChat
from tests.support.service import Service, free_port, serving


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedChat]:
    scripted = ScriptedChat()
    yield scripted
    scripted.close()


@pytest.fixture(scope="module")
def service(
    new_database: Callable[[], str], redis_url: str, folder: Path, model: ScriptedChat
) -> Iterator[Service]:
    """As everywhere, with a chat model."""
    settings = model.settings(
        database_url=new_database(), redis_url=redis_url, data_dir=str(folder / uuid4().hex), port=free_port()
    )
    with serving(settings) as running:
        yield running


@pytest.fixture(autouse=True)
def rested(model: ScriptedChat) -> None:
    """Each test scripts the model anew."""
    model.reply, model.answers = "Hello", []
    model.asked.clear()
