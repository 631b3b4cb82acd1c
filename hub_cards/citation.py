"""BibTeX entries made from the repository's CITATION.cff."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hub_cards.run_records import lookup
from training.errors import UserError
from training.report.rendering import one_line

FILE = Path(__file__).parents[1] / "CITATION.cff"


@dataclass(frozen=True)
class Citation:
    """How to cite the software and the article whose recipe it implements."""

    software: str
    article: str
    arxiv: str


def read_citation(path: Path) -> Citation:
    """Read CITATION.cff (version 1.2.0 of the format, with one reference of type article that has an arXiv identifier).

    Raises:
        UserError: the file or one of the keys used here is missing.
    """
    if not path.is_file():
        raise UserError(f"{path.name} is missing beside the package; run from a checkout of the repository")
    cff = yaml.safe_load(path.read_text(encoding="utf-8"))
    articles = [each for each in lookup(cff, ("references",), path.name) if each.get("type") == "article"]
    if not articles:
        raise UserError(f"{path.name} has no reference of type article: the origin of the recipe is always cited")
    article = articles[0]
    identifiers = [str(each["value"]) for each in lookup(article, ("identifiers",), path.name)]
    arxiv = next((value.removeprefix("arXiv:") for value in identifiers if value.startswith("arXiv:")), None)
    if arxiv is None:
        raise UserError(f"{path.name}: the article has no identifier that begins with arXiv:")
    software = {
        "title": lookup(cff, ("title",), path.name),
        "author": _authors(lookup(cff, ("authors",), path.name)),
        "version": lookup(cff, ("version",), path.name),
    }
    paper = {
        "title": lookup(article, ("title",), path.name),
        "author": _authors(lookup(article, ("authors",), path.name)),
        "year": lookup(article, ("year",), path.name),
        "eprint": arxiv,
        "archivePrefix": "arXiv",
    }
    return Citation(
        software=_bibtex("software", "zen_surgical", software),
        article=_bibtex("article", f"arxiv_{arxiv.replace('.', '_')}", paper),
        arxiv=arxiv,
    )


def _authors(people: list[dict[str, str]]) -> str:
    """Persons as "Family, Given", entities in braces so that BibTeX does not split them."""
    names = [
        f"{each['family-names']}, {each['given-names']}" if "family-names" in each else f"{{{each['name']}}}"
        for each in people
    ]
    return " and ".join(names)


def _bibtex(kind: str, key: str, fields: dict[str, Any]) -> str:
    """One entry; inner braces around the title keep its capitals."""
    lines = [
        f"  {name} = {{{{{one_line(value)}}}}}" if name == "title" else f"  {name} = {{{one_line(value)}}}"
        for name, value in fields.items()
    ]
    return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}"
