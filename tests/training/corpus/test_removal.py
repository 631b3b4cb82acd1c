"""Removing a case: exactly its shards change, nothing of it stays, and it does not come back."""

import errno
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training import corpus_remove as entry
from training import corpus_report
from training.corpus import Corpus, removal
from training.corpus import journal as journal_module
from training.corpus.curation import curate
from training.corpus.duplicates import embeddings
from training.corpus.duplicates import table as table_module
from training.corpus.duplicates.seen import SeenCase, read_seen, write_seen
from training.corpus.duplicates.table import read_summary
from training.corpus.manifest import read_clips, read_drops
from training.corpus.removal import remove_case
from training.corpus.state import read_settings, read_state
from training.corpus.withdrawn import EMBEDDINGS, REPORT_FILE, SUMMARY_KEY
from training.errors import UserError

ROOT = Path(entry.__file__).parents[1]


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven stills videos, each a case: v0 to v5 of three frames, `odd` of two (one of them broken)."""
    from importlib import util

    spec = util.spec_from_file_location("corpus_fixtures", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    made = util.module_from_spec(spec)
    spec.loader.exec_module(made)
    root = tmp_path_factory.mktemp("stills") / "data"
    for video in range(6):
        for frame in range(3):
            made.save_still(root / f"v{video}_{frame:03d}.png", np.roll(made.draw_scene(video), 7 * frame, axis=1))
    made.save_still(root / "odd_001.png", made.draw_scene(9))
    (root / "odd_002.png").write_text("broken")
    return root


@pytest.fixture(scope="module")
def whole(stills: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of `stills` in several shards; treat it as read-only."""
    out = tmp_path_factory.mktemp("whole") / "out"
    curate([stills], out, small_settings())
    assert len(list((out / "shards").iterdir())) > 2
    return out


def small_settings(**changes):
    from training.corpus.filters import FilterSettings
    from training.corpus.settings import CurationSettings

    filters = FilterSettings()
    off = {name: type(value)(enabled=False) for name, value in vars(filters).items() if hasattr(value, "enabled")}
    values = {"short_side": 64, "shard_megabytes": 0.012, "engine": "inline", "deidentify": False, "licence": "CC0"}
    return CurationSettings(**{**values, "filters": FilterSettings(**off), **changes})


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "out"))


def frames_of(out: Path) -> dict[str, list[bytes]]:
    """Encoded frames per clip, read as the loader does."""
    corpus = Corpus.open(out)
    return {
        clip.clip_id: [image.to_pybytes() for _, image in corpus.encoded(clip, range(clip.num_frames))]
        for split in ("train", "held_out")
        for clip in corpus.clips(split)
    }


def mentions(out: Path, word: str) -> set[str]:
    """Files of the corpus in which a word stands, looked for in the cells of tables."""
    found = set()
    for path in out.rglob("*"):
        if path.suffix == ".parquet":
            held = str(pq.read_table(path).to_pylist())
        elif path.is_file():
            held = path.read_text()
        else:
            continue
        if word in held:
            found.add(path.relative_to(out).as_posix())
    return found


@pytest.mark.parametrize("case", ["data__v0", "data__v3", "data__v5", "data__odd"])
def test_only_its_shards_change_and_nothing_of_it_stays(whole, out, case):
    before, frames = digests(whole), frames_of(whole)
    clips = read_clips(whole / "manifest.parquet")
    held = {clip.shard for clip in clips if clip.case_id == case}
    done = remove_case(out, case)
    after = digests(out)
    shards = {name for name in before if name.startswith("shards/")}
    assert {name for name in shards if after.get(name) != before[name]} == {f"shards/{name}" for name in held}
    assert frames_of(out) == {
        clip.clip_id: frames[clip.clip_id] for clip in clips if clip.case_id != case
    }  # the others, bit by bit
    record = f"{read_state(out / 'journal').commits - 1:05d}/removals.json"
    assert mentions(out, case.removeprefix("data__") + "_00") == {f"journal/{record}"}
    assert mentions(out, case) == {"removals.json", f"journal/{record}"}
    assert {clip.case_id: clip.split for clip in read_clips(out / "manifest.parquet")} == {
        clip.case_id: clip.split for clip in clips if clip.case_id != case
    }
    assert [shard.name for shard in done.removal.shards] == sorted(held)
    for shard in done.removal.shards:
        assert shard.before == before[f"shards/{shard.name}"]
        assert shard.after == after.get(f"shards/{shard.name}", "")
    facts, old = (json.loads((folder / "curation.json").read_text()) for folder in (out, whole))
    assert facts["settings"] == old["settings"]  # licence=CC0 among them, which only the run of curation knew
    assert facts["counts"]["frames_kept"] == old["counts"]["frames_kept"] - done.removal.frames
    assert facts["counts"]["frames_sampled"] == facts["counts"]["frames_kept"] + sum(
        drop.num_frames for drop in read_drops(out / "drops.parquet")
    )


def test_an_emptied_shard_vanishes_and_its_number_may_come_again(stills, tmp_path):
    out = tmp_path / "out"
    curate([stills], out, small_settings(shard_megabytes=0.001))  # a case per shard
    last = max(path.name for path in (out / "shards").iterdir())
    case = next(clip.case_id for clip in read_clips(out / "manifest.parquet") if clip.shard == last)
    assert remove_case(out, case).removal.shards[0].after == ""
    assert not (out / "shards" / last).exists()
    assert Corpus.open(out)


def test_the_record_holds_what_is_needed_and_no_content(out, whole):
    remove_case(out, "data__v1")
    (public,) = json.loads((out / "removals.json").read_text())
    assert set(public) == {"case_id", "time", "clips", "frames", "shards", "files"}
    assert (public["case_id"], public["clips"], public["frames"], public["files"]) == ("data__v1", 1, 3, [])
    assert public["time"].endswith("+00:00")
    (kept,) = read_state(out / "journal").removals
    known = read_state(whole / "journal").files
    assert [(file.input, file.path, file.sha256) for file in kept.files] == [
        (file.input, file.path, file.sha256) for file in known.values() if file.case_id == "data__v1"
    ]


def test_it_does_not_come_back_by_name_by_content_or_as_a_case(stills, out, tmp_path):
    remove_case(out, "data__v1")
    before = digests(out / "shards")
    again = curate([stills], out, small_settings())
    assert again.counts["dropped"]["removed"] == {"rows": 3, "frames": 0}
    assert digests(out / "shards") == before
    assert curate([stills], out, small_settings()).nothing_new
    # the same bytes elsewhere, and another file of the case
    (tmp_path / "more" / "data").mkdir(parents=True)
    shutil.copy(stills / "v1_001.png", tmp_path / "more" / "renamed.png")
    shutil.copy(stills / "odd_001.png", tmp_path / "more" / "v7_001.png")
    table = tmp_path / "list.csv"
    table.write_text("path,case_id\nmore/renamed.png,x\nmore/v7_001.png,data__v1\n")
    curate([table], out, small_settings())
    reasons = {drop.path: drop.detail for drop in read_drops(out / "drops.parquet") if drop.reason == "removed"}
    assert reasons["more/renamed.png"] == "the same content as a file of a case that was removed from this corpus"
    assert reasons["more/v7_001.png"] == "its case was removed from this corpus"
    assert digests(out / "shards") == before


def test_a_changed_file_of_a_removed_case_is_refused_too(stills, out, tmp_path):
    remove_case(out, "data__v1")
    data = Path(shutil.copytree(stills, tmp_path / "data"))
    curate([data], out, small_settings())
    shutil.copy(stills / "odd_001.png", data / "v1_001.png")  # another content, and with it another size and time
    curate([data], out, small_settings())
    assert "data__v1" not in {clip.case_id for clip in read_clips(out / "manifest.parquet")}
    rows = [drop for drop in read_drops(out / "drops.parquet") if drop.path == "v1_001.png"]
    assert [drop.detail for drop in rows] == ["a file of a case that was removed from this corpus"]


def test_videos_are_added_after_a_removal(stills, out, tmp_path):
    remove_case(out, "data__v5")
    names = {path.name for path in (out / "shards").iterdir()}
    (tmp_path / "new").mkdir()
    for number in range(3):
        shutil.copy(stills / f"v0_00{number}.png", tmp_path / "new" / f"x_00{number}.png")
    before = digests(out / "shards")
    curate([tmp_path / "new"], out, small_settings())
    assert digests(out / "shards").items() > before.items()
    assert len({path.name for path in (out / "shards").iterdir()}) == len(names) + 1
    assert "new__x-000000" in frames_of(out)


def test_a_second_removal_keeps_the_record_of_the_first(out):
    remove_case(out, "data__v0")
    remove_case(out, "data__v4")
    assert [row["case_id"] for row in json.loads((out / "removals.json").read_text())] == ["data__v0", "data__v4"]
    assert [path.name for path in sorted((out / "journal").glob("0*"))] == [
        f"{read_state(out / 'journal').commits - 1:05d}"
    ]
    done = remove_case(out, "data__v0")
    assert done.again


def test_held_out_cases_are_removed_alike(out):
    held = [clip.case_id for clip in read_clips(out / "manifest.parquet") if clip.split == "held_out"]
    assert held
    remove_case(out, held[0])
    assert held[0] not in {clip.case_id for clip in read_clips(out / "manifest.parquet")}
    splits = {clip.split for clip in read_clips(out / "manifest.parquet")}
    assert "train" in splits  # and no trained case has moved to the other side, see above


def test_clusters_of_duplicates_get_another_representative(out):
    clips = {clip.case_id: clip for clip in read_clips(out / "manifest.parquet")}

    def row(cluster: int, case: str, representative: bool) -> dict:
        clip = clips[f"data__{case}"]
        ids = {"clip_id": clip.clip_id, "position": 0, "video_id": clip.video_id, "case_id": clip.case_id}
        distance = 0.0 if representative else 2.0
        return {"cluster": cluster, **ids, "representative": representative, "distance": distance, "method": "hash"}

    rows = [
        *(row(0, "v1", True), row(0, "v2", False), row(0, "v3", False)),
        *(row(1, "v1", True), row(1, "v4", False)),
        *(row(2, "v2", False), row(2, "v1", False), row(2, "v5", True)),
    ]
    table = pa.Table.from_pylist(rows).replace_schema_metadata({SUMMARY_KEY: b'{"clusters": 3}'})
    pq.write_table(table, out / "duplicates.parquet")
    remove_case(out, "data__v1")
    assert read_summary(out) == {"clusters": 3, "cases_removed_since": ["data__v1"]}
    left = pq.read_table(out / "duplicates.parquet").to_pylist()
    assert [(row["cluster"], row["case_id"], row["representative"], row["distance"]) for row in left] == [
        (0, "data__v2", True, 0.0),  # v1 led this cluster
        (0, "data__v3", False, 2.0),  # and v4 alone is no cluster
        (2, "data__v2", False, 2.0),
        (2, "data__v5", True, 0.0),
    ]
    Corpus.open(out).segments("train")


def test_what_other_commands_derived_from_the_case_goes_too(out):
    clips = {clip.case_id: clip for clip in read_clips(out / "manifest.parquet")}
    own, other = clips["data__v1"], next(clip for clip in clips.values() if clip.shard != clips["data__v1"].shard)
    rows = [SeenCase(clip.clip_id, "data", "cholec80/video41", 1, 0.0, 4.0, False) for clip in (own, other)]
    write_seen(rows, out)
    features = out / "journal" / embeddings.FOLDER / "model"
    features.mkdir(parents=True)
    for clip in (own, other):
        (features / f"{Path(clip.shard).stem}-0123456789abcdef.npy").write_bytes(b"x")
    (out / REPORT_FILE).write_text("<img>")
    remove_case(out, "data__v1")
    assert [row.clip_id for row in read_seen(out)] == [other.clip_id]
    assert [path.name for path in features.iterdir()] == [f"{Path(other.shard).stem}-0123456789abcdef.npy"]
    assert not (out / REPORT_FILE).exists()


def test_what_killed_runs_have_left_of_the_case_goes_too(out):
    """Half-written tables and embeddings, and the videos that a run had fetched when it was killed."""
    (out / "journal" / EMBEDDINGS / "model").mkdir(parents=True)
    (out / "journal" / "evaluation").mkdir()
    left = [
        out / "journal" / EMBEDDINGS / "model" / "shard-00000-0123456789abcdef.npy.tmp",
        out / "journal" / "evaluation" / "x.parquet.tmp",
        out / "journal" / "seen_cases.parquet.tmp",
        *(out / f"{name}.tmp" for name in ("duplicates.parquet", "curation.json", "removals.json", REPORT_FILE)),
    ]
    for path in left:
        path.write_bytes(b"data__v1")
    own = out / "notes.tmp"
    own.write_text("not ours")
    fetched = out.with_name(out.name + ".fetched") / "tmp1"
    fetched.mkdir(parents=True)
    (fetched / "0.mp4").write_bytes(b"data__v1")
    remove_case(out, "data__v1")
    assert not any(path.exists() for path in left)
    assert own.exists()
    assert not fetched.parent.exists()


@pytest.mark.parametrize("name", ["duplicates.parquet", "journal/seen_cases.parquet"])
def test_a_broken_table_that_may_name_the_case_is_named(out, stills, name):
    (out / name).write_bytes(b"broken")
    for act in (lambda: remove_case(out, "data__v1"), lambda: curate([stills], out, small_settings())):
        with pytest.raises(
            UserError, match=rf"{name}' cannot be read \(ArrowInvalid\), and may name a removed case: restore it from"
        ):
            act()
        with pytest.raises(UserError, match=r"has no curation.json"):
            Corpus.open(out)
    (out / name).unlink()
    remove_case(out, "data__v1")
    assert "data__v1" not in {clip.case_id for clip in read_clips(out / "manifest.parquet")}


def test_names_that_are_written_twice_are_the_same():
    assert EMBEDDINGS == embeddings.FOLDER
    assert SUMMARY_KEY == table_module._SUMMARY
    assert f'"{REPORT_FILE}"' in Path(corpus_report.__file__).read_text()


def test_a_damaged_record_does_not_stop_a_removal(out, stills):
    (out / "curation.json").write_text("{")
    remove_case(out, "data__v1")
    assert "data__v1" not in {clip.case_id for clip in read_clips(out / "manifest.parquet")}
    assert Corpus.open(out)


def test_a_dry_run_writes_nothing(out, monkeypatch, capsys):
    before = digests(out)
    monkeypatch.setattr(sys, "argv", ["x", str(out), "--case", "data__v2", "--dry-run"])
    entry.main()
    text = capsys.readouterr().out
    assert "would remove case data__v2: 3 frames in 1 clips of 3 files" in text
    assert digests(out) == before


def test_the_entry_says_what_was_done(out, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", str(out), "--case", "data__v2"])
    entry.main()
    entry.main()
    text = capsys.readouterr().out
    assert "removed case data__v2: 3 frames in 1 clips of 3 files\nshards that hold it: shard-0000" in text
    assert f"already; {out} is complete" in text


def test_a_case_with_the_same_file_is_named(stills, tmp_path, monkeypatch, capsys):
    data = Path(shutil.copytree(stills, tmp_path / "data"))
    shutil.copy(data / "v2_001.png", data / "copy_001.png")
    curate([data], tmp_path / "out", small_settings())
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "out"), "--case", "data__v2"])
    entry.main()
    assert "note: a file with the same content is in case data__copy too" in capsys.readouterr().out


def test_true_and_hashed_names_of_a_case(stills, tmp_path):
    out = tmp_path / "out"
    curate([stills], out, small_settings(deidentify=True))
    hashed = {clip.case_id for clip in read_clips(out / "manifest.parquet")}
    first = remove_case(out, "data__v2").removal.case_id
    assert first in hashed
    second = sorted(hashed - {first})[0]
    assert remove_case(out, second).removal.case_id == second
    assert {clip.case_id for clip in read_clips(out / "manifest.parquet")} == hashed - {first, second}
    assert curate([stills], out, small_settings(deidentify=True)).counts["dropped"]["removed"]["rows"] >= 4
    shutil.move(tmp_path / "out.private", tmp_path / "safe")
    with pytest.raises(UserError, match="unknown case 'data__v3'"):
        remove_case(out, "data__v3")
    assert remove_case(out, "data__v3", private=str(tmp_path / "safe")).removal.frames == 3


def test_mistakes(out, tmp_path):
    with pytest.raises(UserError, match=r"unknown case 'data__v9'\. Did you mean 'data__v\d'\? Known: data__odd, data"):
        remove_case(out, "data__v9")
    with pytest.raises(
        UserError, match=r"is no corpus \(no journal/settings.json\): give the OUT of a training.curate"
    ):
        remove_case(tmp_path / "nowhere", "x")
    for case in ("odd", "v0", "v1", "v2", "v3", "v4"):
        remove_case(out, f"data__{case}")
    with pytest.raises(UserError, match=r"case 'data__v5' is the only one with frames in .* delete the whole folder"):
        remove_case(out, "data__v5")


def test_a_shard_that_is_not_the_journals_is_not_rewritten(out):
    name = next(clip.shard for clip in read_clips(out / "manifest.parquet") if clip.case_id == "data__v2")
    others = [path for path in (out / "shards").iterdir() if path.name != name]
    shutil.copy(others[0], out / "shards" / name)
    before = digests(out)
    with pytest.raises(UserError, match=r"does not hold clip .* as the journal says: restore the file"):
        remove_case(out, "data__v2")
    (out / "shards" / name).unlink()
    with pytest.raises(UserError, match="is missing: restore the file"):
        remove_case(out, "data__v2")
    del before[f"shards/{name}"]
    assert digests(out) == before


def test_settings_of_another_version(out):
    facts = json.loads((out / "journal" / "settings.json").read_text())
    (out / "journal" / "settings.json").write_text(json.dumps({**facts, "gone_since": 1}))
    with pytest.raises(UserError, match=r"is of another version of this package .*gone_since.*: use that version"):
        remove_case(out, "data__v2")


def test_the_settings_are_those_of_the_run(out):
    settings, mark = read_settings(out)
    assert settings.short_side == 64
    assert settings.shard_megabytes == 0.012
    assert mark == ""


@pytest.mark.parametrize(
    ("owner", "name"),
    [(removal, "open_shard"), (journal_module, "write_rows"), (journal_module, "write_removals")],
)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_changes_nothing(out, monkeypatch, owner, name, code):
    before = digests(out)

    def full(*_args, **_kwargs):
        raise OSError(code, "full")

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises(UserError, match=r"no space left to rewrite shards of .* run the same command again"):
            remove_case(out, "data__v3")
    assert digests(out) == before
    remove_case(out, "data__v3")


# Runs beside the test: it has no threads, so that it can fork children that end at the n-th change of the disk.
KILLER = """
import hashlib, json, os, shutil, sys
from pathlib import Path
import pyarrow.dataset  # once here, not in every child
sys.path.insert(0, {root!r})
from training.corpus import removal, withdrawn
from training.corpus.corpus import Corpus
from training.errors import UserError

class Fixed(removal.datetime):
    @classmethod
    def now(cls, zone):
        return cls(2026, 1, 2, tzinfo=zone)
removal.datetime = Fixed

def digests(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {{str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}}

def child(act):
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def remove_until(number):
    left = [number]
    def counted(real):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
            return real(*args, **kwargs)
        return call
    for name in ("rename", "replace", "unlink", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
    removal.remove_case(out, "data__v3")

def read():
    try:
        corpus = Corpus.open(out)
    except UserError:
        return
    cases = set()
    for split in ("train", "held_out"):
        for clip in corpus.clips(split):
            cases.add(clip.case_id)
            list(corpus.encoded(clip, range(clip.num_frames)))
    assert corpus.fingerprint in fingerprints, "a mixture"
    assert ("data__v3" in cases) == (corpus.fingerprint == fingerprints[0])

whole, out = Path({whole!r}), Path({out!r})
fingerprints = [json.loads((whole / "curation.json").read_text())["fingerprint"]]
shutil.copytree(whole, out)
assert child(lambda: removal.remove_case(out, "data__v3")) == 0
expected = digests(out)
fingerprints.append(json.loads((out / "curation.json").read_text())["fingerprint"])
number = 0
while True:
    shutil.rmtree(out)
    shutil.copytree(whole, out)
    code = child(lambda: remove_until(number))
    if code == 0:
        break
    assert code == 9, code
    assert child(lambda: (read(), removal.remove_case(out, "data__v3"))) == 0, number
    left = digests(out)
    assert left == expected, (number, sorted(left.items() ^ expected.items()))
    number += 1
print(number)
"""


def test_killed_at_any_change_of_the_disk(whole, tmp_path):
    rows = [
        {"cluster": 0, "clip_id": f"data__{case}-000000", "position": 0, "video_id": f"data__{case}"}
        | {"case_id": f"data__{case}", "representative": case == "v3", "distance": 0.0, "method": "hash"}
        for case in ("v3", "v4", "v5")
    ]
    start = Path(shutil.copytree(whole, tmp_path / "start"))
    pq.write_table(pa.Table.from_pylist(rows), start / "duplicates.parquet")
    script = KILLER.format(root=str(ROOT), whole=str(start), out=str(tmp_path / "out"))
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=250)
    assert run.returncode == 0, run.stderr[-3000:]
    assert int(run.stdout) > 40  # every rename, deletion, new folder and flush of a removal


def test_curation_ends_an_interrupted_removal(stills, out, monkeypatch):
    class Kill(BaseException):
        pass

    def kill(*_):
        raise Kill

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "remove_traces", kill)
        with pytest.raises(Kill):
            remove_case(out, "data__v3")
    with pytest.raises(UserError, match=r"has no curation.json"):
        Corpus.open(out)
    curate([stills], out, small_settings())
    assert "data__v3" not in {clip.case_id for clip in read_clips(out / "manifest.parquet")}
    assert frames_of(out)
