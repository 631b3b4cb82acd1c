"""URLs in source manifests, served on the loopback interface."""

import functools
import http.server
import threading
from pathlib import Path

import pytest

from training.corpus.curation import curate
from training.corpus.manifest import read_clips, read_drops
from training.corpus.remote import check_url, plain_url


@pytest.fixture
def site(tmp_path, moving, write_video):
    """Address of a server of one video, and the paths it was asked for."""
    write_video(tmp_path / "site" / "a.mp4", moving(4))
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(tmp_path / "site"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_fetched_once_curated_and_removed(site, tmp_path, settings):
    address, asked = site
    manifest = tmp_path / "m.csv"
    manifest.write_text(
        f"url,video_id,t_start,t_end\n{address}/a.mp4?key=s3cret,v,0,2\n{address}/a.mp4?key=s3cret,v,2,\n"
        f"{address}/gone.mp4,g,,\nhttps://youtu.be/0hNB8vLQiA4,y,,\n"
    )
    out = tmp_path / "out"
    curate([manifest], out, settings(allow_urls=True))
    clips = read_clips(out / "manifest.parquet")
    assert [(clip.video_id, clip.t_start, clip.num_frames) for clip in clips] == [("v", 0.0, 2), ("v", 2.0, 2)]
    drops = {drop.path: (drop.reason, drop.detail) for drop in read_drops(out / "drops.parquet")}
    assert drops[f"{address}/gone.mp4"] == ("not_fetched", "FileNotFoundError")
    assert drops["https://youtu.be/0hNB8vLQiA4"][1].startswith("a video site, whose terms forbid it")
    assert not any("s3cret" in text for clip in clips for text in (clip.path, clip.clip_id))
    assert {path.name for path in tmp_path.iterdir()} == {"site", "m.csv", "out"}
    assert asked.count("/a.mp4?key=s3cret") == 1
    curate([manifest], out, settings(allow_urls=True))
    assert asked.count("/a.mp4?key=s3cret") == 1
    assert read_clips(out / "manifest.parquet") == clips


def test_what_a_killed_run_had_fetched_goes_with_the_next_run_whatever_its_inputs(site, tmp_path, settings):
    (tmp_path / "out.fetched" / "tmp1").mkdir(parents=True)
    (tmp_path / "out.fetched" / "tmp1" / "file.mp4").write_bytes(b"of a patient")
    curate([tmp_path / "site"], tmp_path / "out", settings())
    assert {path.name for path in tmp_path.iterdir()} == {"site", "out"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://host/a.mp4", None),
        ("s3://bucket/a.mp4", None),
        ("file:///etc/passwd", "not a plain URL"),
        ("/etc/passwd", "not a plain URL"),
        ("zip://a.mp4::file:///x.zip", "not a plain URL"),
        ("https:///a.mp4", "not a plain URL"),
        ("https://[x/a.mp4", "not a URL"),
        ("https://www.youtube.com/watch?v=0hNB8vLQiA4", "a video site"),
        ("https://YOUTU.BE./0hNB8vLQiA4", "a video site"),
        ("https://notyoutube.com/a.mp4", None),
    ],
)
def test_which_urls_are_fetched(url, expected):
    problem = check_url(url)
    assert (problem is None) if expected is None else (problem is not None and problem[1].startswith(expected))


def test_shown_url_has_no_secrets():
    assert plain_url("https://me:pass@host:1/a.mp4") == "https://host:1/a.mp4"
    assert plain_url("https://host/a?x=1") != plain_url("https://host/a?x=2")
    assert Path(plain_url("https://host/a?x=1")).name.startswith("a?")
