"""A corpus as a dataset repository on the Hub: what is uploaded, its card, and the upload.

What goes: the shards that the manifest names, `manifest.parquet`, `masks.parquet`, `duplicates.parquet`,
`drops.parquet` with absolute paths shortened to file names, `curation.json` and a `README.md`. Nothing else of the
folder does: no journal, and no picture of a dropped frame. Files are refused that still hold a path of this machine.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from httpx2 import HTTPError  # what the client itself speaks HTTP with
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils._validators import validate_repo_id

from training.corpus.corpus import Corpus
from training.corpus.dataset_card import dataset_card, unlicensed
from training.corpus.machine_paths import machine_path, without_folders
from training.corpus.manifest import CURATION_FILE, DROPS_FILE, MANIFEST_FILE, ROWS_PER_GROUP, SHARD_FOLDER
from training.corpus.masks import MASKS_FILE
from training.corpus.segments import DUPLICATES_FILE
from training.errors import UserError
from training.redaction import holds_secret

README = "README.md"
_CHECKED = ("source", "video_id", "case_id", "licence", "path")  # columns of the manifest that hold words of the user


@dataclass(frozen=True)
class Upload:
    """What will be uploaded."""

    repo_id: str
    folder: Path
    shards: list[str]  # paths below the folder, large: they go first
    tables: dict[str, Path | bytes]  # path in the repository -> file or content; they go last and at once
    card: str

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Path in the repository and bytes of every file."""
        for name in self.shards:
            yield name, (self.folder / name).stat().st_size
        for name, content in self.tables.items():
            yield name, len(content) if isinstance(content, bytes) else content.stat().st_size


def plan_upload(location: Path, repo_id: str, *, private: bool) -> Upload:
    """Collect and check what will be uploaded; nothing is sent.

    Args:
        location: the corpus folder.
        repo_id: "ORG/NAME" on the Hub.
        private: whether only its owners will see it. A public one needs the licence of every source.

    Raises:
        UserError: a bad name, an incomplete corpus, a source without licence, or a path of this machine or a secret in
            a file.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"--repo-id {repo_id!r} is no repository name: it must be ORG/NAME") from error
    if "/" not in repo_id:
        raise UserError(f"--repo-id {repo_id!r} is no repository name: it must be ORG/NAME")
    corpus = Corpus.open(location)
    folder = corpus.storage.folder
    if not private and (sources := unlicensed(corpus)):
        raise UserError(
            f"no licence is recorded for source {sources[0]!r}: curate it with licence=..., or publish with --private"
        )
    drops = _clean_drops(folder / DROPS_FILE)
    card = dataset_card(corpus, repo_id, drops)
    tables: dict[str, Path | bytes] = {
        name: folder / name for name in (MANIFEST_FILE, MASKS_FILE, DUPLICATES_FILE) if (folder / name).is_file()
    }
    facts = (folder / CURATION_FILE).read_bytes()
    tables |= {DROPS_FILE: _parquet(drops), README: card.encode(), CURATION_FILE: facts}
    _refuse_traces(corpus, drops, {README: card, CURATION_FILE: facts.decode("utf-8")})
    shards = sorted(f"{SHARD_FOLDER}/{name}" for name in pc.unique(corpus.manifest.column("shard")).to_pylist())
    return Upload(repo_id, folder, shards, tables, card)


def push_to_hub(upload: Upload, *, private: bool) -> str:
    """Upload, and return the address of the repository.

    Shards are sent before the tables that name them, so that a reader never finds a corpus with a shard missing. An
    interrupted upload is repeated by the same call; what is there already is not sent again.

    Raises:
        UserError: no login, no right to write there, or the repository is public and should be private.
    """
    api = HfApi()
    repo = upload.repo_id
    try:
        address = api.create_repo(repo, repo_type="dataset", private=private or None, exist_ok=True)
        if private and not api.repo_info(repo, repo_type="dataset").private:
            raise UserError(f"dataset {repo!r} exists and is public: make it private first, or leave --private")
        api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=upload.folder,
            allow_patterns=upload.shards,
            commit_message="Shards of frames",
        )
        operations = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in upload.tables.items()
        ]
        api.create_commit(repo, operations, repo_type="dataset", commit_message="Manifest, drop report and card")
    except (LocalTokenNotFoundError, HTTPError, OfflineModeIsEnabled) as error:
        # Not chained: the message of a request may quote a signed URL.
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = f"HTTP {status}" if status else type(error).__name__
        raise UserError(
            f"dataset {repo!r} cannot be written ({reason}): log in with `hf auth login` as somebody who may "
            "write there, then run the same command again"
        ) from None
    return str(address)


def _clean_drops(path: Path) -> pa.Table:
    """The drop report, absolute paths in its details shortened to file names."""
    if not path.is_file():
        raise UserError(f"{str(path)!r} does not exist; curation writes it beside the manifest")
    table = pq.read_table(path)
    details = [without_folders(detail) if detail else detail for detail in table["detail"].to_pylist()]
    return table.set_column(table.schema.get_field_index("detail"), "detail", pa.array(details, pa.string()))


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=ROWS_PER_GROUP)
    return sink.getvalue()


def _refuse_traces(corpus: Corpus, drops: pa.Table, texts: dict[str, str]) -> None:
    """`UserError` for the first text that tells where on this machine or by whom the corpus was made, or a secret."""
    for name in _CHECKED:
        for value in pc.unique(corpus.manifest.column(name)).to_pylist():
            _refuse(value, f"column {name!r} of {MANIFEST_FILE}")
    for value in pc.unique(pc.list_flatten(corpus.manifest.column("procedures"))).to_pylist():
        _refuse(value, f"column 'procedures' of {MANIFEST_FILE}")
    for name in ("input", "path", "video_id", "detail"):
        for value in pc.unique(drops[name]).to_pylist():
            _refuse(value, f"column {name!r} of {DROPS_FILE}")
    for name, text in texts.items():
        for line in text.splitlines():
            _refuse(line, name)


def _refuse(text: str | None, where: str) -> None:
    if text and holds_secret(text):
        raise UserError(f"{where} holds what looks like a token, key or password: revoke it, and curate again without")
    if text and (found := machine_path(text)):
        raise UserError(
            f"{where} holds a path of this machine, {found!r}, which must not be published: curate again under names "
            "that do not tell it"
        )
