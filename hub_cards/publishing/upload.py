"""The Hub's side: what is there, what would change, and one commit of it.

Large files that arrived before an interruption are not sent again: the store of the Hub knows them by their SHA-256.
"""

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import Any

from httpx2 import HTTPError  # what the client itself speaks HTTP with
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from hub_cards.hub_folder import MADE_BY as CARD
from hub_cards.hub_folder import MARKER, README
from hub_cards.publishing.publication import (
    MADE_BY,
    Base,
    Content,
    Publication,
    check_unchanged,
    hash_of,
    licence_of,
)
from hub_cards.run_records import sha256_of
from training.errors import UserError

MAIN = "main"
_MADE_ANEW = frozenset({README, ".gitattributes"})  # what the Hub itself puts into a new repository
_BRANCH = re.compile(r"(?!.*\.\.)[A-Za-z0-9][\w./-]{0,99}")
_SHOWN = 200  # characters of the Hub's message


@dataclass(frozen=True)
class Remote:
    """A branch as it is."""

    commit: str | None  # None when the repository or branch is not there yet
    private: bool | None  # None when the repository is not there yet
    files: dict[str, RepoFile]
    written: dict[str, str]  # path -> SHA-256 of what an earlier publication wrote


@dataclass(frozen=True)
class Changes:
    """What a publication does to a branch."""

    add: tuple[str, ...]
    replace: tuple[str, ...]
    delete: tuple[str, ...]
    keep: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return bool(self.add or self.replace or self.delete)


def check_branch(name: str) -> None:
    """`UserError` unless this can be the name of a branch; ids of commits cannot be written to."""
    if not _BRANCH.fullmatch(name) or re.fullmatch(r"[0-9a-f]{40}", name):
        raise UserError(f"--revision {name!r} is no branch; give a name such as v1.0")


def read_base(api: HfApi, base_id: str) -> Base:
    """The published base model and the licence its card states; `UserError` if it is not on the Hub."""
    with explained(base_id):
        try:
            info = api.model_info(base_id)
        except RepositoryNotFoundError:
            raise UserError(
                f"the base model {base_id!r} is not on the Hub, or not open to you: publish it first"
            ) from None
    return Base(base_id, licence_of(info.card_data.to_dict() if info.card_data else {}))


def read_remote(api: HfApi, publication: Publication, revision: str, *, private: bool) -> Remote:
    """What the branch holds: an absent repository nothing, an absent branch what it will begin with.

    Raises:
        UserError: the Hub cannot be reached or does not accept the login, or the repository should be private and is
            not.
    """
    repo, kind = publication.repo_id, publication.kind.repo_type
    with explained(repo):
        try:
            is_private = bool(api.repo_info(repo, repo_type=kind).private)
        except RepositoryNotFoundError:
            return Remote(None, None, {}, {})
        if private and not is_private:
            raise UserError(f"{repo!r} exists and is public: make it private first, or leave --private")
        try:
            commit = api.repo_info(repo, repo_type=kind, revision=revision).sha
        except RevisionNotFoundError:
            commit = None
        # A new branch begins as a copy of main.
        rows = api.list_repo_tree(repo, repo_type=kind, revision=commit or MAIN, recursive=True)
        files = {row.path: row for row in rows if isinstance(row, RepoFile)}
        written = _read_written(api, publication, commit or MAIN) if MARKER in files else {}
    return Remote(commit, is_private, files, written)


def compare(api: HfApi, publication: Publication, remote: Remote) -> Changes:
    """What has to be sent, and what an earlier publication wrote that is no longer there.

    Raises:
        UserError: a file of another origin would be replaced.
    """
    local = publication.files
    add = [name for name in local if name not in remote.files]
    same = {name for name in local if name in remote.files and _is_same(local[name], remote.files[name])}
    replace = [name for name in local if name in remote.files and name not in same]
    if foreign := [name for name in replace if name not in {*remote.written, *_MADE_ANEW, MARKER}]:
        raise UserError(
            f"{publication.repo_id!r} holds {foreign[0]!r}, which no earlier publication wrote: choose another "
            "repository, or remove the file there"
        )
    stale = [name for name in remote.written if name in remote.files and name not in local]
    with explained(publication.repo_id):
        delete = [name for name in stale if _is_as_written(api, publication, remote, name)]
    return Changes(tuple(add), tuple(replace), tuple(delete), tuple(sorted(same)))


def prepare_repository(api: HfApi, publication: Publication, revision: str, *, private: bool) -> None:
    """Make repository and branch where they are missing; `UserError` without login or the right to write there."""
    repo, kind = publication.repo_id, publication.kind.repo_type
    with explained(repo):
        sdk = "gradio" if kind == "space" else None
        api.create_repo(repo, repo_type=kind, private=private or None, exist_ok=True, space_sdk=sdk)
        if revision != MAIN:
            api.create_branch(repo, branch=revision, repo_type=kind, exist_ok=True)


def send(api: HfApi, publication: Publication, remote: Remote, changes: Changes, revision: str) -> str:
    """One commit of the changes upon the state they were compared with; returns its address.

    Raises:
        UserError: a file is not as it was checked, the Hub refused, or the connection broke off; what has arrived is
            not sent again by the next call.
    """
    operations: list[Any] = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=publication.files[name])
        for name in (*changes.add, *changes.replace)
    ]
    operations += [CommitOperationDelete(path_in_repo=name) for name in changes.delete]
    # The operations know the hashes of their files, and the Hub takes no file of another.
    check_unchanged(publication)
    accepted = publication.accepted
    with explained(publication.repo_id, sending=True):
        done = api.create_commit(
            publication.repo_id,
            operations,
            repo_type=publication.kind.repo_type,
            revision=revision,
            parent_commit=remote.commit,
            commit_message=f"Publish {publication.kind.name} of {len(publication.files)} files",
            commit_description=f"Unclear licences accepted: {accepted}" if accepted else None,
        )
    return str(done.commit_url)


@contextmanager
def explained(repo_id: str, sending: bool = False) -> Iterator[None]:
    """Errors of the Hub and of the network as one sentence, without addresses: those of uploads are signed."""
    try:
        yield
    except LocalTokenNotFoundError:
        raise UserError(f"{repo_id!r} cannot be written without a login: set HF_TOKEN or run `hf auth login`") from None
    except (HTTPError, OfflineModeIsEnabled, RuntimeError) as error:
        # An upload that fails is wrapped; not chained, as messages of requests quote their addresses.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if not isinstance(cause, HTTPError | OfflineModeIsEnabled):
            raise
        raise UserError(_sentence(repo_id, cause, sending)) from None
    except UserError:
        raise
    except ValueError as error:  # so the client says that the Hub does not take the metadata of a card
        if README not in str(error):
            raise
        raise UserError(f"the Hub does not take {README}: {_without_secrets(str(error))}") from None


def _sentence(repo_id: str, error: Exception, sending: bool) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return "publishing needs the network, but HF_HUB_OFFLINE is set: unset it"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    said = _without_secrets(getattr(error, "server_message", None) or "")
    said = f", the Hub says: {said}" if said else ""
    if status is None and not sending:
        return (
            f"the Hub cannot be reached ({type(error).__name__}): check the network, and HF_ENDPOINT where that is "
            "set; nothing was sent"
        )
    if status is None:
        return (
            f"the connection to the Hub broke off ({type(error).__name__}): run the same command again, and what has "
            f"arrived of {repo_id!r} is not sent again"
        )
    if status == 401:
        return (
            f"{repo_id!r} cannot be written, as the login is missing or not accepted (HTTP 401{said}): set HF_TOKEN or "
            "run `hf auth login`"
        )
    if status in (403, 413, 507):
        return (
            f"{repo_id!r} cannot be written (HTTP {status}{said}): it needs a token with the right to write there and "
            "enough storage left"
        )
    if status in (409, 412):
        return f"{repo_id!r} was changed by somebody else meanwhile (HTTP {status}{said}): run the same command again"
    return f"{repo_id!r} cannot be written (HTTP {status}{said}); run the same command again later"


def _without_secrets(text: str) -> str:
    text = re.sub(r"\S+://\S+", "(address)", " ".join(text.split()))
    token = get_token()
    return (text.replace(token, "(token)") if token else text)[:_SHOWN]


def _is_same(local: Content, remote: RepoFile) -> bool:
    if remote.lfs is not None:
        return hash_of(local) == remote.lfs.sha256
    content = local if isinstance(local, bytes) else local.read_bytes()
    return sha1(b"blob %d\0" % len(content) + content).hexdigest() == remote.blob_id


def _read_written(api: HfApi, publication: Publication, revision: str) -> dict[str, str]:
    """The files that the branch's marker lists; none if the marker is another program's."""
    text = _fetch(api, publication, MARKER, revision, lambda path: path.read_text(encoding="utf-8"))
    try:
        marker = json.loads(text)
        is_ours = marker["made_by"] in (CARD, MADE_BY)
        return {str(name): str(digest) for name, digest in marker["files"].items()} if is_ours else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _is_as_written(api: HfApi, publication: Publication, remote: Remote, name: str) -> bool:
    """Whether a file of the branch is still what an earlier publication wrote."""
    row = remote.files[name]
    if row.lfs is not None:
        return bool(row.lfs.sha256 == remote.written[name])
    return _fetch(api, publication, name, remote.commit or MAIN, sha256_of) == remote.written[name]


def _fetch(api: HfApi, publication: Publication, name: str, revision: str, read: Callable[[Path], str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = api.hf_hub_download(
            publication.repo_id, name, repo_type=publication.kind.repo_type, revision=revision, local_dir=folder
        )
        return read(Path(path))
