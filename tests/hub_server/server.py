"""The routes: creating, listing, uploading and downloading, with rights, and faults that a test switches on."""

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.hub_server.repositories import LARGE, Repository, Stored

SIGNATURE = "signature=deadbeef"  # addresses for uploads carry one, as a real store's do
_ID = r"(?P<name>[^/]+/[^/]+)"
_API = rf"/api/(?P<kind>model|dataset|space)s/{_ID}"
_PLAIN = rf"/(?:(?P<kind>dataset|space)s/)?{_ID}"
_ROUTES: list[tuple[str, re.Pattern[str], str]] = []


class RefusedError(Exception):
    """An answer other than success: status, text for people, and the Hub's code."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True)
class Request:
    """One request, as tests look at it."""

    method: str
    path: str
    token: str | None


def route(method: str, pattern: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Answer requests of this method whose path has this pattern."""

    def add(answer: Callable[..., Any]) -> Callable[..., Any]:
        _ROUTES.append((method, re.compile(pattern), answer.__name__))
        return answer

    return add


class HubServer(ThreadingHTTPServer):
    """A context that serves while it lasts.

    Attributes:
        tokens: token -> what it may do, "read" or "write".
        repositories: (kind, name) -> repository.
        blobs: SHA-256 -> content of large files that have arrived, committed or not.
        requests: all there were.
        cuts: SHA-256 -> how many of the next uploads, or downloads, of that file lose their connection in the middle.
        halfway: SHA-256 -> what to do, once, when half of an upload of that file has arrived; it is lost then.
        quota: bytes of a commit beyond which it is refused; `None` is no limit.
        outage: status that every request is answered with; `None` while all is well.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.tokens: dict[str, str] = {}
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.cuts: dict[str, int] = {}
        self.halfway: dict[str, Callable[[], object]] = {}
        self.quota: int | None = None
        self.outage: int | None = None
        self.lock = threading.Lock()

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of the server."""

    def asked(self, method: str, part: str = "") -> list[str]:
        """Paths of the requests of a method whose path has a part."""
        return [each.path for each in self.requests if each.method == method and part in each.path]


class Handler(BaseHTTPRequestHandler):
    """Finds the route, checks rights, and answers."""

    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *_: object) -> None:
        """Tests read `HubServer.requests` instead."""

    def _answer(self) -> None:
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.server.requests.append(Request(self.command, self.path, self.token))
        address = urlsplit(self.path)
        self.query = parse_qs(address.query)
        try:
            if self.server.outage is not None:
                raise RefusedError(self.server.outage, "Internal Error - We're working hard to fix this")
            for method, pattern, name in _ROUTES:
                if method == self.command.replace("HEAD", "GET") and (found := pattern.fullmatch(address.path)):
                    words = {key: unquote(word) if word else "" for key, word in found.groupdict().items()}
                    with self.server.lock:
                        getattr(self, name)(**words)
                    return
            raise RefusedError(404, f"no route for {self.command} {address.path}")
        except RefusedError as refusal:
            self._read()
            headers = {"X-Error-Message": refusal.message, **({"X-Error-Code": refusal.code} if refusal.code else {})}
            self._send({"error": refusal.message}, refusal.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815

    def _read(self) -> bytes:
        """The body, once."""
        if not hasattr(self, "_body") or self._body[0] is not self.headers:
            if self.headers.get("Transfer-Encoding") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                content = b"".join(parts)
            else:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._body = (self.headers, content)
        return self._body[1]

    def _send(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _is_cut(self, sha256: str) -> bool:
        """Whether the connection breaks off in the middle of this file, this time."""
        left = self.server.cuts.get(sha256, 0)
        self.server.cuts[sha256] = max(left - 1, 0)
        return left > 0

    def _rights(self) -> str:
        if self.token is None:
            return ""
        if self.token not in self.server.tokens:
            raise RefusedError(401, "Invalid credentials in Authorization header")
        return self.server.tokens[self.token]

    def _repository(self, kind: str, name: str, *, write: bool = False) -> Repository:
        """The repository, if it is there and the token may see or write it."""
        rights = self._rights()
        repository = self.server.repositories.get((kind or "model", name.removesuffix(".git")))
        if repository is None or (repository.private and not rights):
            raise RefusedError(404 if rights else 401, "Repository not found", "RepoNotFound")
        if write and rights != "write":
            raise RefusedError(403 if rights else 401, "You don't have the rights to write to this repository")
        return repository

    def _commit_of(self, repository: Repository, revision: str) -> str:
        commit = repository.find(revision)
        if commit is None:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    @route("GET", "/api/whoami-v2")
    def who(self) -> None:
        if not self._rights():
            raise RefusedError(401, "Invalid username or password.")
        self._send({"type": "user", "name": "tester", "orgs": [], "auth": {"accessToken": {"role": self._rights()}}})

    @route("POST", "/api/validate-yaml")
    def validate(self) -> None:
        text = json.loads(self._read())["content"]
        errors = []
        try:
            metadata = yaml.safe_load(text.split("---")[1])
            if (licence := metadata.get("license", "")) != licence.lower():
                errors.append({"message": '"license" must be one of [apache-2.0, mit, ...]'})
        except (yaml.YAMLError, IndexError) as error:
            errors.append({"message": str(error)})
        self._send({"errors": errors, "warnings": []}, 400 if errors else 200)

    @route("POST", "/api/repos/create")
    def create(self) -> None:
        facts = json.loads(self._read())
        if self._rights() != "write":
            raise RefusedError(403 if self._rights() else 401, "You don't have the rights to create a repository here")
        key = (facts.get("type") or "model", f"{facts['organization']}/{facts['name']}")
        there = key in self.server.repositories
        if not there:
            self.server.repositories[key] = Repository(*key, private=facts.get("visibility") == "private")
        prefix = "" if key[0] == "model" else f"{key[0]}s/"
        answer = {"url": f"{self.server.address}/{prefix}{key[1]}", "name": key[1]}
        self._send({**answer, "error": "You already created this repo"} if there else answer, 409 if there else 200)

    @route("POST", rf"{_API}/branch/(?P<branch>[^/]+)")
    def create_branch(self, kind: str, name: str, branch: str) -> None:
        repository = self._repository(kind, name, write=True)
        facts = json.loads(self._read() or b"{}")
        if branch in repository.branches:
            raise RefusedError(409, f"Reference already exists: {branch}")
        repository.branches[branch] = self._commit_of(repository, facts.get("startingPoint", "main"))
        self._send({})

    @route("GET", rf"{_API}(?:/revision/(?P<revision>[^/]+))?")
    def info(self, kind: str, name: str, revision: str) -> None:
        repository = self._repository(kind, name)
        commit = self._commit_of(repository, revision or "main")
        files = repository.commits[commit]
        facts = {"id": name, "sha": commit, "private": repository.private, "tags": []}
        facts["gated"] = "auto" if repository.gated else False
        if (readme := files.get("README.md")) and readme.content.startswith(b"---"):
            facts["cardData"] = yaml.safe_load(readme.content.decode().split("---")[1])
        self._send({**facts, "siblings": [{"rfilename": path} for path in sorted(files)]})

    @route("GET", rf"{_API}/refs")
    def refs(self, kind: str, name: str) -> None:
        branches = self._repository(kind, name).branches.items()
        rows = [{"name": each, "ref": f"refs/heads/{each}", "targetCommit": commit} for each, commit in branches]
        self._send({"branches": rows, "tags": [], "converts": []})

    @route("GET", rf"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?")
    def tree(self, kind: str, name: str, revision: str, folder: str) -> None:
        repository = self._repository(kind, name)
        commit = self._commit_of(repository, revision)
        rows = repository.tree(commit, folder, self.query.get("recursive", ["False"])[0] in ("True", "true", "1"))
        if rows is None:
            raise RefusedError(404, f"{folder} does not exist on {revision}", "EntryNotFound")
        self._send(rows)

    @route("POST", rf"{_API}/paths-info/(?P<revision>[^/]+)")
    def paths_info(self, kind: str, name: str, revision: str) -> None:
        repository = self._repository(kind, name)
        commit = self._commit_of(repository, revision)
        body = self._read().decode()
        paths = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
        rows = repository.tree(commit, "", recursive=True) or []
        self._send([row for row in rows if row["path"] in paths])

    @route("POST", rf"{_API}/preupload/(?P<revision>[^/]+)")
    def preupload(self, kind: str, name: str, revision: str) -> None:
        repository = self._repository(kind, name, write=True)
        there = repository.commits[self._commit_of(repository, revision)]
        rows = []
        for each in json.loads(self._read())["files"]:
            mode = "lfs" if each["path"].endswith(LARGE) else "regular"
            oid = there[each["path"]].etag if each["path"] in there else None
            rows.append({"path": each["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._send({"files": rows})

    @route("POST", rf"{_PLAIN}\.git/info/lfs/objects/batch")
    def large_files(self, kind: str, name: str) -> None:
        self._repository(kind, name, write=True)
        rows = []
        for each in json.loads(self._read())["objects"]:
            row = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.server.blobs:
                row["actions"] = {"upload": {"href": f"{self.server.address}/blobs/{each['oid']}?{SIGNATURE}"}}
            rows.append(row)
        self._send({"transfer": "basic", "objects": rows})

    @route("PUT", "/blobs/(?P<sha256>[0-9a-f]{64})")
    def receive_blob(self, sha256: str) -> None:
        if self._is_cut(sha256):
            self.rfile.read(int(self.headers["Content-Length"]) // 2)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if action := self.server.halfway.pop(sha256, None):
            self.rfile.read(int(self.headers["Content-Length"]) // 2)
            action()  # the other half, if it was sent already, is not waited for
            self.close_connection = True
            return
        content = self._read()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise RefusedError(400, "the content is not what its name says")
        self.server.blobs[sha256] = content
        self._send(b"")

    @route("POST", rf"{_API}/commit/(?P<revision>[^/]+)")
    def commit(self, kind: str, name: str, revision: str) -> None:
        repository = self._repository(kind, name, write=True)
        parent = self._commit_of(repository, revision)
        files = dict(repository.commits[parent])
        for line in self._read().splitlines():
            row = json.loads(line)
            value = row["value"]
            if row["key"] == "header" and value.get("parentCommit") not in (None, parent):
                raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
            if row["key"] == "file":
                files[value["path"]] = Stored(base64.b64decode(value["content"]), is_large=False)
            elif row["key"] == "lfsFile":
                if value["oid"] not in self.server.blobs:
                    raise RefusedError(400, f"{value['path']} points to a file that was not uploaded")
                files[value["path"]] = Stored(self.server.blobs[value["oid"]], is_large=True)
            elif row["key"] == "deletedFile":
                del files[value["path"]]
            elif row["key"] == "deletedFolder":
                files = {path: each for path, each in files.items() if not path.startswith(value["path"])}
        size = sum(len(each.content) for each in files.values())
        if self.server.quota is not None and size > self.server.quota:
            raise RefusedError(403, "Private repository storage limit reached, please upgrade your plan")
        oid = repository.commit(revision, files)
        self._send({"success": True, "commitOid": oid, "commitUrl": f"{self.server.address}/{name}/commit/{oid}"})

    @route("GET", rf"{_PLAIN}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
    def resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        repository = self._repository(kind, name)
        if repository.gated and self.token not in repository.readers:
            raise RefusedError(403 if self.token else 401, f"Access to {name} is restricted", "GatedRepo")
        commit = self._commit_of(repository, revision)
        stored = repository.commits[commit].get(path)
        if stored is None:
            self._read()
            missing = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": commit}
            return self._send({"error": "Entry not found"}, 404, missing)
        content, headers, status = stored.content, {"ETag": f'"{stored.etag}"', "X-Repo-Commit": commit}, 200
        headers["Accept-Ranges"] = "bytes"
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(found[1]), min(int(found[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        if self.command == "GET" and self._is_cut(stored.sha256):
            headers["Content-Length"] = str(len(content))
            content = content[: len(content) // 2]
            self.close_connection = True
        self._send(content, status, headers)
        return None
