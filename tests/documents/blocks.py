"""Code blocks and links out of Markdown documents."""

import re
from dataclasses import dataclass
from pathlib import Path

# "text" is for what is not run: trees, output.
LANGUAGES = ("python", "bash", "text")


@dataclass(frozen=True)
class Step:
    """What a reader would run next: a whole block of Python, or one command of a shell block.

    Attributes:
        line: Where it begins in the document, from 1.
        kind: `"python"` or `"command"`.
        code: The block, or the command on one line, without comments around it.
    """

    line: int
    kind: str
    code: str


def steps_of(document: Path) -> list[Step]:
    """Everything to run in a document, in order.

    Raises:
        ValueError: A block that is never closed, or of a language that nobody runs.
    """
    steps: list[Step] = []
    inside: str | None = None
    block: list[tuple[int, str]] = []
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), start=1):
        fence = re.fullmatch(r"\s*(?:```|~~~)\s*(.*?)\s*", line)
        if fence is None:
            block.append((number, line))
        elif inside is None:
            inside, block = fence[1], []
            if inside not in LANGUAGES:
                raise ValueError(
                    f"{document.name}:{number}: a block of language {inside!r}; there are {', '.join(LANGUAGES)}"
                )
        else:
            if inside == "python":
                steps.append(Step(block[0][0], "python", "\n".join(line for _, line in block)))
            elif inside == "bash":
                steps += commands_of(block)
            inside = None
    if inside is not None:
        raise ValueError(f"{document.name}: its last block is not closed")
    return steps


def commands_of(block: list[tuple[int, str]]) -> list[Step]:
    """The commands of numbered lines; a line that ends in a backslash goes on in the next."""
    commands: list[Step] = []
    parts: list[str] = []
    first = 0
    for number, line in block:
        if not parts and (not line.strip() or line.lstrip().startswith("#")):
            continue
        first = first if parts else number
        parts.append(line.strip().removesuffix("\\").strip())
        if not line.rstrip().endswith("\\"):
            commands.append(Step(first, "command", " ".join(parts)))
            parts = []
    if parts:
        raise ValueError(f"the command of line {first} ends in a backslash")
    return commands


def links_of(document: Path) -> list[str]:
    """Targets of links and pictures that are neither on the web nor within the document; code is left out."""
    text = re.sub(r"^\s*```.*?^\s*```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", "", text)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
