"""Publishing: what goes, what stays, what is refused, and that what arrives can be read.

The Hub is replaced at `HfApi`: the double takes the calls and writes the files into a folder. Reading back goes
through that folder, by `Corpus.open` and by `datasets`, which follows the `configs` of the card.
"""

import fnmatch
import getpass
import json
import shutil
import sys

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from httpx2 import ConnectError
from huggingface_hub.errors import LocalTokenNotFoundError
from markdown_it import MarkdownIt

from training import corpus_publish
from training.corpus import Corpus
from training.corpus import publish_dataset as publish_module
from training.corpus.dataset_card import dataset_card
from training.corpus.machine_paths import machine_path, without_folders
from training.corpus.manifest import DROP_SCHEMA, Drop, write_rows
from training.corpus.masks import make_mask
from training.corpus.publish_dataset import plan_upload, push_to_hub
from training.errors import UserError


@pytest.fixture
def folder(write_corpus, write_duplicates, tmp_path):
    mask = make_mask("v", np.ones((24, 32), bool))
    clips = [
        {"num_frames": 3, "mask": mask.mask_id, "case_id": "a"},
        {"num_frames": 2, "split": "held_out", "case_id": "b", "procedures": ("hernia|repair", "colectomy")},
        {"num_frames": 2, "case_id": "c", "procedures": (), "licence": "CC BY-SA 4.0", "source": "other"},
    ]
    folder = write_corpus(tmp_path / "corpus", clips, [mask], clips_per_shard=2)
    write_duplicates(folder, [("clip0", 1, False)])
    detail = "cannot open '/data/site/patient.mp4'"
    drops = [
        Drop("data", "a.mp4", "v", 0.0, 2.0, 3, "black", 1.5, 10.0, ""),
        Drop("data", "p.mp4", "", None, None, 0, "undecodable", None, None, detail),
    ]
    write_rows(drops, DROP_SCHEMA, folder / "drops.parquet")
    (folder / "journal").mkdir()
    (folder / "journal" / "settings.json").write_text("{}")
    (folder / "drop_examples.parquet").write_bytes(b"pictures of dropped frames")
    (folder / "shards" / "shard-00009.parquet").write_bytes(b"left over")
    return folder


class Hub:
    """`HfApi` as far as publishing uses it; repositories are folders."""

    def __init__(self, root, private=True, error=None):
        self.root, self.private, self.error = root, private, error
        self.commits = []

    def create_repo(self, repo_id, *, repo_type, private, exist_ok):
        assert (repo_type, exist_ok) == ("dataset", True)
        if self.error:
            raise self.error
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)
        return f"https://hub/datasets/{repo_id}"

    def repo_info(self, repo_id, *, repo_type):
        return self

    def upload_folder(self, *, repo_id, repo_type, folder_path, allow_patterns, commit_message):
        names = [path.relative_to(folder_path).as_posix() for path in folder_path.rglob("*") if path.is_file()]
        chosen = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns)]
        for name in chosen:
            (self.root / repo_id / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder_path / name, self.root / repo_id / name)
        self.commits.append(sorted(chosen))

    def create_commit(self, repo_id, operations, *, repo_type, commit_message):
        for each in operations:
            with each.as_file() as file:
                (self.root / repo_id / each.path_in_repo).write_bytes(file.read())
        self.commits.append(sorted(each.path_in_repo for each in operations))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr(publish_module, "HfApi", lambda: hub)
    return hub


def test_what_goes_and_in_which_order(folder, hub):
    assert push_to_hub(plan_upload(folder, "org/name", private=True), private=True) == "https://hub/datasets/org/name"
    assert hub.commits == [
        ["shards/shard-00000.parquet", "shards/shard-00001.parquet"],
        ["README.md", "curation.json", "drops.parquet", "duplicates.parquet", "manifest.parquet", "masks.parquet"],
    ]
    details = pq.read_table(hub.root / "org/name/drops.parquet")["detail"].to_pylist()
    assert details == ["", "cannot open 'patient.mp4'"]


def test_what_arrives_is_the_corpus(folder, hub, tmp_path):
    push_to_hub(plan_upload(folder, "org/name", private=True), private=True)
    here, there = Corpus.open(folder), Corpus.open(f"file://{hub.root / 'org/name'}")
    assert there.manifest == here.manifest
    assert there.segments("train").num_frames == 4
    np.testing.assert_array_equal(there.read(there.manifest[1], [1])[0], here.read(here.manifest[1], [1])[0])
    assert there.mask(there.manifest[0]).all()
    frames = datasets.load_dataset(str(hub.root / "org/name"), split="train", streaming=True)
    assert [row["clip_id"] for row in frames] == ["clip0"] * 3 + ["clip1"] * 2 + ["clip2"] * 2
    assert next(iter(frames))["image"].size == (32, 24)
    rows = datasets.load_dataset(str(hub.root / "org/name"), "manifest", split="train", streaming=True)
    assert [row["num_frames"] for row in rows] == [3, 2, 2]


def test_the_card_says_what_is_inside(folder):
    card = plan_upload(folder, "org/name", private=False).card
    metadata = yaml.safe_load(card.split("---")[1])
    assert (metadata["license"], metadata["size_categories"]) == ("other", ["n<1K"])
    for line in (
        "| train | 2 | 1 | 2 | 5 |",
        "| held_out | 1 | 1 | 1 | 2 |",
        "| data | CC-BY-4.0 | 2 | 2 | 5 |",
        "| other | CC BY-SA 4.0 | 1 | 1 | 2 |",
        "| cholecystectomy | 1 | 1 | 3 |",
        "| hernia\\|repair | 1 | 1 | 2 |",
        "| not recorded | 1 | 1 | 2 |",
        "| black | 1 | 3 |",
        'load_dataset("org/name", split="train", streaming=True)',
        'Corpus.open("hf://datasets/org/name")',
    ):
        assert line in card


def test_one_known_licence_is_the_hubs(write_corpus, tmp_path):
    folder = write_corpus(tmp_path / "corpus", [{"num_frames": 1, "licence": "CC BY-NC 4.0"}])
    assert (
        yaml.safe_load(plan_upload(folder, "org/name", private=False).card.split("---")[1])["license"] == "cc-by-nc-4.0"
    )


@pytest.mark.parametrize("name", ["name", "a/b/c", "org/na me"])
def test_bad_names(folder, name):
    with pytest.raises(UserError, match="is no repository name: it must be ORG/NAME"):
        plan_upload(folder, name, private=True)


def test_unknown_licences_stay_private(write_corpus, tmp_path):
    folder = write_corpus(tmp_path / "corpus", [{"num_frames": 1, "licence": "unknown"}])
    with pytest.raises(
        UserError, match=r"no licence is recorded for source 'data': curate it with licence=\.\.\., or publish"
    ):
        plan_upload(folder, "org/name", private=False)
    assert plan_upload(folder, "org/name", private=True).shards


@pytest.mark.parametrize("path", ["/data/site/a.mp4", f"share/{getpass.getuser()}/a.mp4", r"C:\\videos\\a.mp4"])
def test_paths_of_this_machine_are_refused(write_corpus, tmp_path, path):
    folder = write_corpus(tmp_path / "corpus", [{"num_frames": 1, "path": path}])
    with pytest.raises(UserError, match=r"column 'path' of manifest.parquet holds a path of this machine"):
        plan_upload(folder, "org/name", private=True)


def test_settings_with_a_path_are_refused(folder):
    facts = json.loads((folder / "curation.json").read_text())
    (folder / "curation.json").write_text(
        json.dumps({**facts, "settings": {"model": "/models/detector.onnx"}}, indent=1)
    )
    with pytest.raises(UserError, match=r"curation.json holds a path of this machine, '/models/detector.onnx'"):
        plan_upload(folder, "org/name", private=True)


@pytest.mark.parametrize("secret", ["hf_" + "Ab1" * 10, "https://me:s3cret@host/x"])
def test_secrets_are_refused_and_not_repeated(folder, write_corpus, tmp_path, secret):
    facts = json.loads((folder / "curation.json").read_text())
    (folder / "curation.json").write_text(json.dumps({**facts, "inputs": [secret]}, indent=1))
    with pytest.raises(UserError, match=r"curation.json holds what looks like a token, key or password") as caught:
        plan_upload(folder, "org/name", private=True)
    assert secret not in str(caught.value)
    for name, value in (("source", secret), ("procedures", (secret,)), ("licence", secret)):
        other = write_corpus(tmp_path / name, [{"num_frames": 1, name: value}])
        with pytest.raises(UserError, match=rf"column '{name}' of manifest.parquet holds what looks like a token"):
            plan_upload(other, "org/name", private=True)


@pytest.mark.parametrize(
    "payload",
    [
        "<script>alert(1)</script> <img src=x onerror=alert(1)>",
        "[x](javascript:alert(1)) ![y](https://evil.example/p.png)",
        "a | b \\| c \\\\| d",
        "line\n\n# head\n\n---\nlicense: mit\n---",
        "`code` ``` **bold** {{ 7 * 7 }}",
        "right\u202eleft zero\u200bwidth",
    ],
)
def test_names_in_the_card_are_inert(write_corpus, tmp_path, payload):
    def shown(word):
        clips = [{"num_frames": 1, "source": word, "licence": word, "procedures": (word,)}]
        corpus = write_corpus(tmp_path / str(len(list(tmp_path.iterdir()))), clips)
        facts = json.loads((corpus / "curation.json").read_text())
        facts |= {"schema_version": word, "settings": {"filters": {word: {word: word}}, "overlay": {"enabled": False}}}
        (corpus / "curation.json").write_text(json.dumps(facts))
        drops = [Drop(word, "a.mp4", "v", 0.0, 2.0, 3, word, 1.5, 10.0, "")]
        write_rows(drops, DROP_SCHEMA, corpus / "drops.parquet")
        card = dataset_card(Corpus.open(corpus), "org/name", pq.read_table(corpus / "drops.parquet"))
        front, _, text = card.removeprefix("---\n").partition("\n---\n")
        return yaml.safe_load(front), MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(text)

    (front, tokens), (expected, plain) = shown(payload), shown("word")
    assert front == expected
    assert [token.type for token in tokens] == [token.type for token in plain]
    kinds = [[child.type for child in token.children or () if child.type != "text"] for token in tokens]
    assert {kind for each in kinds for kind in each} <= {"code_inline", "softbreak", "strong_open", "strong_close"}


def test_the_card_states_the_filters_and_where_the_terms_stand(folder):
    facts = json.loads((folder / "curation.json").read_text())
    filters = {"black": {"enabled": True, "min_luma": 10.0}, "blur": {"enabled": False, "percentile": 75.0}}
    facts["settings"] = {"filters": filters, "overlay": {"action": "mask", "boxes": []}, "deidentify": False}
    (folder / "curation.json").write_text(json.dumps(facts))
    card = plan_upload(folder, "org/name", private=False).card
    for row in ("| black | min_luma 10.0 |", "| blur | off |", "| overlay | action mask |", "| deidentify | False |"):
        assert row in card
    assert yaml.safe_load(card.split("---")[1])["license_link"] == (
        "https://huggingface.co/datasets/org/name#sources-and-licences"
    )


def test_what_is_no_path_of_a_machine():
    for text in ("videos/case1.mp4", "https://host/data/x", "1/2 of the frames", "^(?P<video>.+)_(?P<frame>\\d+)$", ""):
        assert machine_path(text) is None
        assert without_folders(text) == text


def test_a_public_repository_is_not_made_private_by_wishing(folder, hub):
    hub.private = False
    with pytest.raises(UserError, match="dataset 'org/name' exists and is public: make it private first"):
        push_to_hub(plan_upload(folder, "org/name", private=True), private=True)
    assert hub.commits == []


def test_without_login(folder, hub):
    hub.error = LocalTokenNotFoundError("token hf_SECRET")
    with pytest.raises(
        UserError, match=r"cannot be written \(LocalTokenNotFoundError\): log in with `hf auth login`"
    ) as caught:
        push_to_hub(plan_upload(folder, "org/name", private=True), private=True)
    assert "SECRET" not in str(caught.value)
    hub.error = ConnectError("https://me:SECRET@host cannot be reached")
    with pytest.raises(UserError, match=r"dataset 'org/name' cannot be written \(ConnectError\)") as caught:
        push_to_hub(plan_upload(folder, "org/name", private=True), private=True)
    assert "SECRET" not in str(caught.value)


def test_a_dry_run_shows_and_sends_nothing(folder, hub, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", str(folder), "--repo-id", "org/name", "--dry-run"])
    corpus_publish.main()
    printed = capsys.readouterr().out
    assert hub.commits == []
    assert "shards/shard-00000.parquet" in printed
    assert "shard-00009" not in printed
    assert "# name" in printed
    monkeypatch.setattr(sys, "argv", ["x", str(folder), "--repo-id", "org/name", "--private"])
    corpus_publish.main()
    assert capsys.readouterr().out.endswith("published: https://hub/datasets/org/name\n")
