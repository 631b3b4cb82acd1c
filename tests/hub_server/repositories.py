"""What the Hub of tests keeps: repositories with branches and commits, large files by their SHA-256."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LARGE = (".safetensors", ".parquet", ".onnx", ".bin", ".png")  # go by LFS, as on the Hub


@dataclass(frozen=True)
class Stored:
    """One file of one commit."""

    content: bytes
    is_large: bool

    @property
    def oid(self) -> str:
        """The hash that git gives it."""
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def sha256(self) -> str:
        """Of the content."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def etag(self) -> str:
        """As `resolve` states it: of a large file the SHA-256, else git's hash."""
        return self.sha256 if self.is_large else self.oid

    def facts(self, path: str) -> dict[str, Any]:
        """As a listing states it."""
        row: dict[str, Any] = {"type": "file", "path": path, "size": len(self.content), "oid": self.oid}
        if self.is_large:
            row["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 130}
        return row


@dataclass
class Repository:
    """Branches point to commits, commits are whole trees; the first is empty."""

    kind: str  # "model", "dataset" or "space"
    name: str  # "ORG/NAME"
    private: bool = False
    gated: bool = False  # its files are for `readers` only, though everybody may see that it is there
    readers: set[str] = field(default_factory=set)  # tokens whose owners have accepted its terms
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, Stored]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the first commit."""
        if not self.commits:
            self.commit("main", {})

    def commit(self, branch: str, files: dict[str, Stored]) -> str:
        """Let a branch or tag point to a new commit of these files; returns its id."""
        text = f"{self.kind} {self.name} {branch} {len(self.commits)}"
        oid = hashlib.sha1(text.encode()).hexdigest()
        self.commits[oid] = files
        self.branches[branch] = oid
        return oid

    def commit_folder(self, folder: Path, branch: str = "main") -> str:
        """Let a branch or tag point to a new commit of the files of a folder; returns its id."""
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        return self.commit(
            branch, {name: Stored(path.read_bytes(), name.endswith(LARGE)) for name, path in files.items()}
        )

    def find(self, revision: str) -> str | None:
        """The commit that a branch or an id of a commit means; `None` if there is none."""
        return self.branches.get(revision) or (revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Content by path, at a revision that exists."""
        return {path: each.content for path, each in self.commits[self.branches.get(revision, revision)].items()}

    def tree(self, commit: str, folder: str, recursive: bool) -> list[dict[str, Any]] | None:
        """Rows of files, and of folders where they are not entered; `None` when the folder does not exist."""
        start = f"{folder}/" if folder else ""
        rows, folders = [], set()
        for path, stored in sorted(self.commits[commit].items()):
            if not path.startswith(start):
                continue
            inner = path.removeprefix(start).split("/")
            for depth in range(1, len(inner) if recursive else min(len(inner), 2)):
                folders.add(start + "/".join(inner[:depth]))
            if recursive or len(inner) == 1:
                rows.append(stored.facts(path))
        if folder and not rows and not folders:
            return None
        return [{"type": "directory", "path": each, "oid": "0" * 40} for each in sorted(folders)] + rows
