"""The Document aggregate: a user's document as its text. Pure."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from domain.aggregate import Aggregate, Command, State
from domain.errors import NotFound
from domain.ids import named_id
from domain.recorded import Event, Recorded, register
from domain.scope import Scope


def id_of(owner: str, user_id: str | None, name: str) -> UUID:
    """The one id that a user's document of this name has; None is the owner's own."""
    # As JSON, in which no two triples are spelled alike.
    return named_id("document", msgspec.json.encode([owner, user_id, name]).decode())


@register
class DocumentIndexed(Event, frozen=True, kw_only=True):
    """A document came to be, or changed: all of it, as it is from now on."""

    TYPE: ClassVar[str] = "document.indexed.v1"
    scope: Scope
    name: str
    text: str
    media_type: str | None = None
    size: int
    """Bytes as uploaded."""
    source: str = "computer"


@register
class DocumentRemoved(Event, frozen=True, kw_only=True):
    """A document is gone from lists and searches."""

    TYPE: ClassVar[str] = "document.removed.v1"


class Document(State, frozen=True, kw_only=True):
    """A document as of one version."""

    scope: Scope
    name: str
    text: str
    media_type: str | None
    size: int
    source: str
    created_at: datetime
    updated_at: datetime
    deleted: bool = False


def evolve(document: Document | None, recorded: Recorded) -> Document:
    """The document after one more of its events."""
    event: Any = recorded.event
    if isinstance(event, DocumentIndexed):
        return Document(
            id=recorded.originator_id,
            version=recorded.originator_version,
            position=recorded.position,
            scope=event.scope,
            name=event.name,
            text=event.text,
            media_type=event.media_type,
            size=event.size,
            source=event.source,
            created_at=document.created_at if document else recorded.occurred_at,
            updated_at=recorded.occurred_at,
        )
    if document is None or not isinstance(event, DocumentRemoved):
        raise ValueError(f"{type(event).__name__} cannot follow in stream {recorded.originator_id}")
    return msgspec.structs.replace(
        document,
        version=recorded.originator_version,
        position=recorded.position,
        updated_at=recorded.occurred_at,
        deleted=True,
    )


class IndexDocument(Command[Document], frozen=True, kw_only=True):
    indexed: DocumentIndexed


class RemoveDocument(Command[Document], frozen=True, kw_only=True):
    pass


DocumentCommand = IndexDocument | RemoveDocument


def decide(document: Document | None, command: DocumentCommand, owner: str) -> Event | None:
    """The event that `command` makes of this state; None when it changes nothing. Raises NotFound."""
    if document is not None and document.scope.owner != owner:
        raise NotFound("no such document")
    if isinstance(command, IndexDocument):
        return _indexed(document, command.indexed, owner)
    if document is None or document.deleted:
        raise NotFound("no such document")
    return DocumentRemoved()


def _indexed(document: Document | None, indexed: DocumentIndexed, owner: str) -> Event | None:
    if indexed.scope.owner != owner:
        raise NotFound("no such document")
    same = document is not None and (document.text, document.media_type) == (indexed.text, indexed.media_type)
    return None if same and document and not document.deleted else indexed


AGGREGATE = Aggregate(
    name="document",
    state=Document,
    commands=DocumentCommand,
    decide=decide,
    evolve=evolve,
)
