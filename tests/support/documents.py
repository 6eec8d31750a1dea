"""Documents in the log, without an upload."""

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


def upload(cell: Cell, *uploads: DocumentIndexed, actor: str = "key") -> int:
    """Index documents; the position of the last one's event."""
    return max(do(cell, one, IndexDocument(indexed=one), actor) for one in uploads)


def remove(cell: Cell, one: DocumentIndexed, actor: str = "key") -> int:
    return do(cell, one, RemoveDocument(), actor)


def do(cell: Cell, one: DocumentIndexed, command: DocumentCommand, actor: str) -> int:
    owner = one.scope.owner
    context = Context(owner=owner, actor=actor, cause="command", correlation="request")
    work = Work(context=context, commands=[(id_of(owner, one.scope.user_id, one.name), command)])
    return cell.writer.submit(work).result(30)[0].state.position
