"""Reading from the Hub: a revision becomes a commit, and what the Hub refuses becomes one sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from httpx2 import HTTPError, LocalProtocolError  # what the client itself speaks HTTP with
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

from training.errors import UserError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
# What the client raises when it is refused or cannot connect. OSError is the base of most, and what transformers wraps
# them in; a connection that breaks off is a plain HTTPError, a token that fits no header a UnicodeEncodeError.
HUB_ERRORS = (
    OSError,
    HTTPError,
    EntryNotFoundError,
    RevisionResolutionError,
    HFValidationError,
    UnicodeEncodeError,
)


@dataclass(frozen=True)
class HubSource:
    """A repository as the user named it.

    Attributes:
        repo: ORG/NAME.
        revision: Commit, tag or branch; `None` is the newest commit of its main branch.
        without_network: What to do on a machine without internet, for messages. Models are looked for in the cache
            too, datasets are not.
        kind: Of repository.
    """

    repo: str
    revision: str | None
    without_network: str
    kind: Literal["model", "dataset"] = "model"

    @property
    def page(self) -> str:
        """Its address in a browser."""
        return f"{_endpoint()}/{'datasets/' if self.kind == 'dataset' else ''}{self.repo}"


def split_revision(name: str) -> tuple[str, str | None]:
    """`NAME@REVISION` as name and revision; a name without one has `None`."""
    name, _, revision = name.partition("@")
    return name, revision or None


def resolve_commit(source: HubSource) -> str:
    """The commit that a revision means now; without a connection, the one that it meant when it was last asked for.

    Raises whatever the Hub's client does; call it inside `explained`.
    """
    return str(HfApi().resolve_revision(source.repo, repo_type=source.kind, revision=source.revision).resolved)


def newest_commit(source: HubSource) -> str:
    """As `resolve_commit`, but always asked of the Hub: also whether a commit exists, and nothing from the cache."""
    return str(HfApi().repo_info(source.repo, repo_type=source.kind, revision=source.revision).sha)


@contextmanager
def explained(who: str, source: HubSource) -> Iterator[None]:
    """Turn what the Hub refuses into a `UserError` that begins with `who`; other errors pass."""
    try:
        yield
    except UserError:
        raise
    except HUB_ERRORS as error:
        refusal = hub_refusal(source, error)
        if refusal is None:
            raise
        raise UserError(f"{who}: {refusal}") from None  # not chained: its message may quote a signed address


def hub_refusal(source: HubSource, error: BaseException) -> str | None:
    """Why the Hub did not give something and what to do, without its own text; `None` if the Hub is not the reason.

    Args:
        source: what was asked for.
        error: as the client, or a library around it, raised it; its causes are looked through.
    """
    causes = list(_causes(error))

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    repo, token = source.repo, get_token() or ""
    if has(UnicodeEncodeError, LocalProtocolError) and not (token.isascii() and token.isprintable()):
        return (
            "the token of this machine holds a character that no token has: set HF_TOKEN anew, or run `hf auth login`"
        )
    if has(GatedRepoError):
        return gated_refusal(source)
    if has(RevisionNotFoundError):
        return f"{repo} has no revision {source.revision!r}: give a commit, tag or branch of {source.page}/tree/main"
    if has(RepositoryNotFoundError, HFValidationError):
        return _not_found(source)
    if statuses := [cause.response.status_code for cause in causes if isinstance(cause, HfHubHTTPError)]:
        if statuses[0] != 404:
            return _refused(source, statuses[0])
    elif has(OfflineModeIsEnabled) or (constants.HF_HUB_OFFLINE and has(LocalEntryNotFoundError)):
        absent = "is not in the local cache" if source.kind == "model" else "is on the Hub"
        return f"{_at(source)} {absent}, and HF_HUB_OFFLINE switches the Hub off; {source.without_network}"
    elif has(HTTPError, LocalEntryNotFoundError, RevisionResolutionError):
        reason = next((type(cause).__name__ for cause in causes if isinstance(cause, HTTPError)), "no connection")
        absent = "is not in the local cache, or not all of it, and" if source.kind == "model" else "cannot be read, as"
        return (
            f"{_at(source)} {absent} the Hub at {_endpoint()} cannot be reached or broke off ({reason}): run the same "
            f"command again, or {source.without_network}"
        )
    return None


def gated_refusal(source: HubSource) -> str:
    """What to do about a repository whose terms have to be accepted first."""
    if get_token() is None:
        return (
            f"{source.repo} is gated, and there is no token on this machine: accept its terms at {source.page} and run "
            "`hf auth login`, or set HF_TOKEN"
        )
    return (
        f"{source.repo} is gated, and the token of this machine has no access to it: accept its terms at {source.page} "
        "with the account of that token, which needs the right to read gated repositories"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _not_found(source: HubSource) -> str:
    none = "there is no folder and" if source.kind == "model" else "there is"
    if get_token() is None:
        return (
            f"{none} no public Hub {source.kind} called {source.repo!r}: check the name, and if it is private, run `hf "
            "auth login` or set HF_TOKEN"
        )
    return (
        f"{none} no Hub {source.kind} called {source.repo!r} that the token of this machine may read: check the name "
        "and the rights of the token"
    )


def _refused(source: HubSource, status: int) -> str:
    if status == 401:
        return (
            f"the Hub does not accept the token of this machine (HTTP 401, asked for {source.repo}): renew it with "
            "`hf auth login`, or correct or unset HF_TOKEN"
        )
    if status == 403:
        return (
            f"the token of this machine may not read {source.repo} (HTTP 403): use one with the right to read it, with "
            "`hf auth login` or HF_TOKEN"
        )
    if status == 429:
        return f"the Hub asks for fewer requests (HTTP 429, asked for {source.repo}): run it again in some minutes"
    return (
        f"the Hub at {_endpoint()} fails (HTTP {status}, asked for {_at(source)}): run it again later, or, if it was "
        "fetched before, with HF_HUB_OFFLINE=1"
    )


def _at(source: HubSource) -> str:
    return source.repo if source.revision is None else f"{source.repo} at {source.revision!r}"


def _endpoint() -> str:
    """Address of the Hub without credentials."""
    return re.sub(r"(?<=://)[^/@]*@", "", constants.ENDPOINT)
