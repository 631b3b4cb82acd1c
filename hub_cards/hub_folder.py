"""The folder that goes to the Hub: what may be in it, who may replace it, and writing it whole or not at all."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub_cards.run_records import WEIGHTS, lookup, read_json, sha256_of
from modeling_zen.teacher_adaptor import FOLDER as ADAPTORS
from training.errors import UserError
from training.redaction import holds_secret

MADE_BY = "hub_cards.card"
MARKER = "card.json"  # says who made the folder, from which weights, and what each file was
README = "README.md"
PICTURE = "dense_pca.png"
_CONFIGS = ("config.json", "preprocessor_config.json")
_ALLOWED = {".safetensors", ".json", ".py"}  # everything else, pickles above all, stays out


def check_source(hub: Path) -> None:
    """Check the run's model folder: complete, its custom code beside it, nothing in it that does not belong on the Hub.

    Raises:
        UserError: naming the file that is missing or must not be there.
    """
    for name in (*_CONFIGS, WEIGHTS):
        if not (hub / name).is_file():
            raise UserError(f"{str(hub)!r} is not a complete model folder: {name} is missing")
    for name in _CONFIGS:
        for target in lookup(read_json(hub / name), ("auto_map",), str(hub / name)).values():
            code = f"{str(target).rpartition('.')[0]}.py"
            if not (hub / code).is_file():
                raise UserError(f"{str(hub / name)!r} names {target}, but {code} is not beside it")
    for path in sorted(hub.rglob("*")):
        if path == hub / ADAPTORS and path.is_dir() and not path.is_symlink():
            continue
        if path.is_symlink() or path.is_dir() or path.suffix not in _ALLOWED:
            raise UserError(
                f"{str(path)!r} does not belong in a model folder: only files that end in "
                f"{', '.join(sorted(_ALLOWED))} are published; move it away"
            )


def check_target(output: Path, source: Path) -> None:
    """Check that `output` may be written: it is absent, empty, or exactly as this command left it.

    Raises:
        UserError: it is something else, or was changed since; nothing has been touched.
    """
    if output.resolve() == source.resolve() or source.resolve() in output.resolve().parents:
        raise UserError(f"--output {str(output)!r} is the run's own model folder; choose a folder beside it")
    if not output.exists():
        return
    if not output.is_dir():
        raise UserError(f"--output {str(output)!r} is a file; choose a folder")
    present = {path.relative_to(output).as_posix(): path for path in output.rglob("*") if not path.is_dir()}
    if not present:
        return
    if MARKER not in present:
        raise UserError(f"--output {str(output)!r} is not empty and was not made by {MADE_BY}; choose another folder")
    recorded = read_marker(output)["files"]
    del present[MARKER]
    odd = sorted(present.keys() ^ recorded.keys())
    odd += sorted(name for name in present.keys() & recorded.keys() if sha256_of(present[name]) != recorded[name])
    if odd:
        raise UserError(
            f"--output {str(output)!r} was changed after {MADE_BY} made it ({', '.join(odd[:5])}); "
            "move the folder away or choose another"
        )


def read_marker(output: Path) -> dict[str, Any]:
    """The record that `write_folder` left in a folder; `UserError` if there is none or another program's."""
    path = output / MARKER
    marker = read_json(path)
    if lookup(marker, ("made_by",), str(path)) != MADE_BY:
        raise UserError(f"{str(output)!r} was not made by {MADE_BY}")
    files = lookup(marker, ("files",), str(path))
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise UserError(f"'files' of {str(path)!r} is no list of names with hashes; make the folder again")
    inputs = marker.get("inputs", [])
    if not isinstance(inputs, list) or not all(isinstance(each, list) and len(each) == 2 for each in inputs):
        raise UserError(f"'inputs' of {str(path)!r} is no list of names with licences; make the folder again")
    lookup(marker, ("weights_sha256",), str(path))
    return dict(marker)


def write_folder(output: Path, source: Path, additions: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
    """Write `output`: the files of `source`, the `additions` by name, and the marker with `facts`; never half of it.

    Raises:
        UserError: a text file would carry a path of this machine, a token, a key or a password.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        new = temporary / "new"
        shutil.copytree(source, new)
        for name, content in additions.items():
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).write_bytes(content)
        written = {path.relative_to(new).as_posix(): path for path in sorted(new.rglob("*")) if path.is_file()}
        for name, path in written.items():
            if path.suffix in {".json", ".md", ".py", ".yaml"}:
                text = path.read_text(encoding="utf-8")
                refuse_machine_paths(text, name, [output, source])
                if holds_secret(text):
                    raise UserError(
                        f"{name} would publish what looks like a token, key or password; its record must not hold one"
                    )
        files = {name: sha256_of(path) for name, path in written.items()}
        marker = {"schema_version": 1, "made_by": MADE_BY, **facts, "files": files}
        (new / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
        _exchange(output, new, temporary / "old")
    finally:
        shutil.rmtree(temporary)


def _exchange(output: Path, new: Path, aside: Path) -> None:
    """Put `new` in the place of `output`; what stood there goes `aside`, and comes back if the exchange fails."""
    if output.exists():
        output.rename(aside)
    try:
        new.rename(output)
    except OSError:
        if aside.exists():
            aside.rename(output)
        raise


def refuse_machine_paths(text: str, what: str, near: list[Path]) -> None:
    """`UserError` if `text`, about to be published as `what`, holds an absolute path of this machine.

    Looked for are the home folder, the working folder, the folder of temporary files, and the folders of `near`.
    """
    folders = {Path.home(), Path.cwd(), Path(tempfile.gettempdir()), *(path.resolve().parent for path in near)}
    for folder in sorted(folders):
        if len(folder.parts) > 1 and f"{folder}/" in text:
            start = text.index(f"{folder}/")
            found = text[start : start + 80].split('"')[0].splitlines()[0]
            raise UserError(f"{what} would publish a path of this machine, {found!r}; its record must not hold one")
