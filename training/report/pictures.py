"""Pictures in a page: as data addresses, so that the page needs no other file."""

import base64
from dataclasses import dataclass


@dataclass(frozen=True)
class Thumbnail:
    """A small picture as a data address, and what it is of."""

    address: str
    caption: str


def data_address(content: bytes, kind: str = "image/jpeg") -> str:
    """A file as a `data:` address of the given media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
