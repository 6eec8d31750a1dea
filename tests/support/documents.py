"""Documents in the log, without an upload."""

from uuid import UUID

from domain.document import DocumentCommand, DocumentIndexed, IndexDocument, RemoveDocument, id_of
from domain.eventstore.cells import Cell
from domain.eventstore.writer import Work
from domain.recorded import Context
from domain.scope import Scope

LISBON = "# Lisbon\nThe tram 28 leaves from Martim Moniz."


def indexed(
    user: str | None, name: str, text: str = LISBON, owner: str = "default", source: str = "computer"
) -> DocumentIndexed:
    return DocumentIndexed(
        scope=Scope(owner=owner, user_id=user),
        name=name,
        text=text,
        media_type="text/markdown",
        size=len(text.encode()),
        source=source,
    )


def indexing(one: DocumentIndexed) -> tuple[UUID, IndexDocument]:
    return _id(one), IndexDocument(indexed=one)


def removing(one: DocumentIndexed) -> tuple[UUID, RemoveDocument]:
    return _id(one), RemoveDocument()


def upload(cell: Cell, *uploads: DocumentIndexed, actor: str = "key") -> int:
    """Index documents; the position of the last one's event."""
    return max(_do(cell, one, indexing(one), actor) for one in uploads)


def remove(cell: Cell, one: DocumentIndexed, actor: str = "key") -> int:
    return _do(cell, one, removing(one), actor)


def _id(one: DocumentIndexed) -> UUID:
    return id_of(one.scope.owner, one.scope.user_id, one.name)


def _do(cell: Cell, one: DocumentIndexed, command: tuple[UUID, DocumentCommand], actor: str) -> int:
    context = Context(owner=one.scope.owner, actor=actor, cause="command", correlation="request")
    work = Work(context=context, commands=[command])
    return cell.writer.submit(work).result(30)[0].state.position
