"""De-identification: no true name in any byte of a corpus, and the way back in the private folder only."""

import hashlib
import hmac
import json
import os
import sys
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from evaluation.overlap import count_overlap
from training import corpus_names
from training.corpus import Corpus, unit
from training.corpus.curation import curate
from training.corpus.identity import open_names, private_folder
from training.corpus.manifest import read_clips, read_drops
from training.corpus.private_names import read_names
from training.errors import UserError

PATIENT = "Musterfrau"
SURGEON = "DrWunderlich"
NUMBER = 48151623  # a patient's number in the name of a picture


def all_bytes(folder: Path) -> bytes:
    """Every file name and every byte below a folder, Parquet columns also uncompressed."""
    texts = []
    for path in sorted(folder.rglob("*")):
        texts.append(str(path.relative_to(folder)).encode())
        if path.is_file():
            texts.append(path.read_bytes())
            if path.suffix == ".parquet":
                texts.append(repr(pq.read_table(path).to_pylist()).encode())
                texts.append(repr(pq.read_metadata(path).metadata).encode())
    return b"\n".join(texts)


def tagged_video(path: Path, frames: list[np.ndarray]) -> Path:
    """A video with sound, a title and an artist, at 10 frames per second."""
    with av.open(str(path), "w") as container:
        container.metadata.update(title=PATIENT, artist=SURGEON)
        video, sound = container.add_stream("mpeg4", rate=10), container.add_stream("aac", rate=48000)
        video.height, video.width = frames[0].shape[:2]
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = number
            container.mux(video.encode(picture))
        beep = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        beep.sample_rate = 48000
        container.mux(sound.encode(beep))
        container.mux(sound.encode(None))
        container.mux(video.encode(None))
    return path


@pytest.fixture
def hospital(tmp_path, moving, scene, write_still) -> Path:
    """An input folder that names a patient wherever one can: folders, files, EXIF, container metadata, extension."""
    root = tmp_path / f"{SURGEON}_or3"
    (root / "op").mkdir(parents=True)
    tagged = tagged_video(root / "op" / f"{PATIENT}, Anna.mp4", moving(3, seed=1))
    assert PATIENT.encode() in tagged.read_bytes()
    exif = Image.Exif()
    exif[0x9286], exif[0x013B] = PATIENT, SURGEON
    for number in range(3):
        path = root / "stills" / f"{PATIENT}_{NUMBER + number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.roll(scene(2), 7 * number, axis=1)).save(path, exif=exif)
    (root / "stills" / f"{PATIENT}_{NUMBER + 3}.jpg").write_bytes(path.read_bytes()[:700])
    (root / f"bad {PATIENT}.mp4").write_text(PATIENT)
    (root / f"report.{PATIENT}").write_text(PATIENT)
    write_still(root / f"{PATIENT}" / "masks" / "1.png", scene(1))
    return root


def test_no_name_in_any_byte_and_the_way_back(hospital, tmp_path, settings):
    out = tmp_path / "corpus"
    curate([hospital], out, settings(deidentify=True))
    content = all_bytes(out)
    for secret in (PATIENT, PATIENT.lower(), SURGEON, "Anna", str(NUMBER), str(tmp_path), "or3"):
        assert secret.encode() not in content, secret
    mtime = str((hospital / "op" / f"{PATIENT}, Anna.mp4").stat().st_mtime_ns)
    assert mtime.encode() not in content
    clips, drops = read_clips(out / "manifest.parquet"), read_drops(out / "drops.parquet")
    assert {drop.reason for drop in drops} == {"undecodable", "not_media", "label_folder"}
    assert all(drop.path.startswith("file-") and drop.input.startswith("input-") for drop in drops)
    rows = {row.path: row for row in read_names(private_folder(out, settings(deidentify=True)))}
    for record in [*clips, *drops]:
        row = rows[record.path]
        assert (hospital.parent / row.true_input / row.true_path) == Path(row.location)
        assert record.video_id == row.video_id
    stills = next(clip for clip in clips if rows[clip.path].true_path.startswith("stills/"))
    assert (stills.t_start, stills.num_frames) == (0.0, 3)
    assert rows[stills.path].first_number == NUMBER


@pytest.mark.parametrize(
    "name",
    [
        f"{PATIENT}, Anna",
        f'Anna\'s "{PATIENT}"',
        f"Anna\n{PATIENT}",
        f"Anna\\{PATIENT}",
        f"Anna {PATIENT}" + "x" * 200,
        os.fsdecode(f"Anna {PATIENT}".encode() + b"\xff"),
    ],
)
def test_details_of_broken_files_do_not_tell_their_names(tmp_path, settings, video_bytes, name):
    """Decoders quote names in their messages, escaped, cut and in other ways."""
    root = tmp_path / "data" / f"of {name[:40]}"
    root.mkdir(parents=True)
    (root / f"{name}.mp4").write_text("x")
    (root / f"{name}.mkv").write_bytes(b"\x1aE\xdf\xa3" + b"x" * 100)
    (root / f"{name}.ts").write_bytes(b"G" + bytes(600))
    (root / f"{name}.png").write_text("x")
    (root / f"{name}.webp").write_bytes(b"RIFF\x10\0\0\0WEBPVP8 ")
    (root / f"{name}.mov").write_bytes(video_bytes[:1500] + bytes(500) + video_bytes[2000:])
    curate([tmp_path / "data"], tmp_path / "out", settings(deidentify=True))
    content = all_bytes(tmp_path / "out")
    for secret in (PATIENT, "Anna", str(tmp_path)):
        assert secret.encode() not in content, secret
    assert len(read_drops(tmp_path / "out" / "drops.parquet")) == 6


def test_a_still_that_is_gone_when_its_turn_comes_is_not_named(tmp_path, settings, scene, write_still, monkeypatch):
    path = tmp_path / "data" / f'Anna\'s "{PATIENT}"_1.png'
    for number in range(2):
        write_still(path.with_stem(f"{path.stem[:-1]}{number}"), scene(number))
    real = unit._hashes

    def vanishing(one):
        found = real(one)
        path.unlink()
        return found

    monkeypatch.setattr(unit, "_hashes", vanishing)
    curate([tmp_path / "data"], tmp_path / "out", settings(deidentify=True))
    (drop,) = read_drops(tmp_path / "out" / "drops.parquet")
    assert drop.detail == "pillow: No such file or directory"


def test_ids_are_the_salted_hash(hospital, tmp_path, settings):
    out = tmp_path / "corpus"
    curate([hospital], out, settings(deidentify=True, source="site"))
    private = tmp_path / "corpus.private"
    salt = bytes.fromhex((private / "salt").read_text())
    assert len(salt) == 32
    assert [oct(path.stat().st_mode)[-3:] for path in (private, private / "salt", private / "names.jsonl")] == [
        "700",
        "600",
        "600",
    ]
    row = next(row for row in read_names(private) if row.true_path.endswith("Anna.mp4"))
    expected = hmac.new(salt, b"case\0" + row.true_case_id.encode(), hashlib.sha256).hexdigest()[:16]
    assert row.case_id == f"case-{expected}"
    clip = next(clip for clip in read_clips(out / "manifest.parquet") if clip.case_id == row.case_id)
    assert clip.clip_id == f"{row.video_id}-000000"
    assert clip.source == "site"


def test_second_run_adds_under_the_same_salt(hospital, tmp_path, settings, moving, write_video):
    out, chosen = tmp_path / "corpus", settings(deidentify=True)
    first = curate([hospital], out, chosen)
    assert curate([hospital], out, chosen).nothing_new
    before = read_names(tmp_path / "corpus.private")
    write_video(hospital / "op" / "second.mp4", moving(2, seed=7))
    second = curate([hospital], out, chosen)
    assert second.counts["files"] == first.counts["files"] + 1
    rows = read_names(tmp_path / "corpus.private")
    assert rows[: len(before)] == before
    assert len(rows) == len(before) + 1
    assert {clip.split for clip in read_clips(out / "manifest.parquet")} == {"train", "held_out"}


def test_same_salt_gives_the_same_bytes(hospital, tmp_path, settings):
    chosen = settings(deidentify=True, private=str(tmp_path / "keys"))
    for name in ("a", "b"):
        curate([hospital], tmp_path / name, chosen)
    for name in ("manifest.parquet", "drops.parquet", "curation.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    curate([hospital], tmp_path / "c", settings(deidentify=True))
    ids = [{clip.case_id for clip in read_clips(tmp_path / name / "manifest.parquet")} for name in ("a", "c")]
    assert not ids[0] & ids[1]


def test_benchmark_files_are_found_in_both_modes(hospital, tmp_path, settings):
    video = hospital / "op" / f"{PATIENT}, Anna.mp4"
    digests = {"case": [hashlib.sha256(video.read_bytes()).hexdigest()]}
    for name, hidden in (("a", True), ("b", False)):
        curate([hospital], tmp_path / name, settings(deidentify=hidden, held_out_fraction=0.0))
        assert count_overlap(digests, Corpus.open(tmp_path / name)) == 1


def test_lost_or_other_salt_is_refused(hospital, tmp_path, settings):
    out, chosen = tmp_path / "corpus", settings(deidentify=True)
    curate([hospital], out, chosen)
    salt = tmp_path / "corpus.private" / "salt"
    text = salt.read_text()
    salt.unlink()
    with pytest.raises(UserError, match=r"hashed with a salt that is not in .*corpus.private'"):
        curate([hospital], out, chosen)
    salt.write_text("00" * 32)
    with pytest.raises(UserError, match=r"made with other settings .salt='"):
        curate([hospital], out, chosen)
    salt.write_text("no salt")
    with pytest.raises(UserError, match="is no salt: it must hold 64 hex digits"):
        curate([hospital], out, chosen)
    salt.write_text(text)
    assert curate([hospital], out, chosen).nothing_new
    with pytest.raises(UserError, match="deidentify=True there, False now"):
        curate([hospital], out, settings(deidentify=False))


def test_private_folder_inside_the_corpus_is_refused(hospital, tmp_path, settings):
    out = tmp_path / "corpus"
    with pytest.raises(UserError, match="lies inside the corpus: what is private must stay outside"):
        curate([hospital], out, settings(deidentify=True, private=str(out / "keys")))
    assert not out.exists()


def test_the_output_folder_may_be_the_one_that_one_stands_in(hospital, tmp_path, settings, monkeypatch):
    (tmp_path / "corpus").mkdir()
    monkeypatch.chdir(tmp_path / "corpus")
    curate([hospital], Path(), settings(deidentify=True))
    assert {path.name for path in tmp_path.iterdir()} == {hospital.name, "corpus", "corpus.private"}
    monkeypatch.chdir(tmp_path / "corpus" / "journal")
    assert curate([hospital], Path(".."), settings(deidentify=True)).nothing_new
    with pytest.raises(UserError, match=r"output '/' has no name: give a folder that is new, empty, or a corpus"):
        private_folder(Path("/"), settings(deidentify=True))


def test_mistake_leaves_no_salt(tmp_path, settings):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other.txt").write_text("x")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.mp4").write_text("x")
    with pytest.raises(UserError, match="holds other files"):
        curate([tmp_path / "data"], tmp_path / "out", settings(deidentify=True))
    assert not (tmp_path / "out.private").exists()


def test_half_a_line_of_a_killed_run_is_overwritten(tmp_path, settings, hospital):
    out = tmp_path / "corpus"
    private = tmp_path / "corpus.private"
    private.mkdir()
    (private / "names.jsonl").write_text('{"input": "inp')
    curate([hospital], out, settings(deidentify=True))
    lines = (private / "names.jsonl").read_text().splitlines()
    assert all(json.loads(line)["path"].startswith("file-") for line in lines)


def test_own_private_folder_is_no_input(tmp_path, settings, moving, write_video):
    write_video(tmp_path / "a.mp4", moving(2))
    chosen = settings(deidentify=True)
    curate([tmp_path], tmp_path / "corpus", chosen)
    assert curate([tmp_path], tmp_path / "corpus", chosen).nothing_new


def test_lookup_both_ways(hospital, tmp_path, settings, monkeypatch, capsys):
    out = tmp_path / "corpus"
    curate([hospital], out, settings(deidentify=True))
    row = next(row for row in read_names(tmp_path / "corpus.private") if row.true_path.endswith("Anna.mp4"))
    for name in (row.case_id, row.true_case_id, f"{row.video_id}-000000", f"{row.true_input}/{row.true_path}"):
        monkeypatch.setattr(sys, "argv", ["corpus_names", str(out), name])
        corpus_names.main()
        assert capsys.readouterr().out.split("  ") == [
            row.case_id,
            row.video_id,
            row.path,
            row.true_case_id,
            row.location + "\n",
        ]
    monkeypatch.setattr(sys, "argv", ["corpus_names", str(out), "nobody"])
    with pytest.raises(UserError, match="'nobody' is neither a name in"):
        corpus_names.main()
    monkeypatch.setattr(sys, "argv", ["corpus_names", str(tmp_path / "none"), "nobody"])
    with pytest.raises(UserError, match="no private table of names in"):
        corpus_names.main()


def test_readable_names_need_no_private_folder(tmp_path, settings):
    with open_names(tmp_path / "out", settings(deidentify=False)) as names:
        assert names.mark == ""
    assert not (tmp_path / "out.private").exists()
