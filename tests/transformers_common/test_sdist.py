"""The fetch step, without the network: archives made here."""

import io
import tarfile
from pathlib import Path

import pytest
from sdist import NEEDED, PACKAGE, STAND_INS, SdistError, download, is_complete, prepare, unpack

VERSION = "5.99.0"


def archive(folder: Path, files: dict[str, str], version: str = VERSION) -> Path:
    path = folder / f"transformers-{VERSION}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in {
            f"transformers-{VERSION}/PKG-INFO": f"Name: transformers\nVersion: {version}\n",
            **files,
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return path


def files_of(*names: str) -> dict[str, str]:
    return {f"transformers-{VERSION}/tests/{name}": "" for name in names}


def test_only_test_files_come_out(tmp_path: Path) -> None:
    foreign = {
        f"transformers-{VERSION}/tests/../../escaped.py": "",
        "/absolute.py": "",
        f"transformers-{VERSION}/src/transformers/__init__.py": "",
        f"transformers-{VERSION}/tests/data.txt": "",
    }
    unpack(archive(tmp_path, {**files_of(*NEEDED), **foreign}), VERSION, tmp_path / "out")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {f"{PACKAGE}/{name}" for name in NEEDED}
    assert {path.name for path in tmp_path.iterdir()} == {"out", f"transformers-{VERSION}.tar.gz"}


def test_another_version(tmp_path: Path) -> None:
    with pytest.raises(SdistError, match=r"transformers-5.99.0.tar.gz says it is version 5.1.0, not 5.99.0"):
        unpack(archive(tmp_path, files_of(*NEEDED), version="5.1.0"), VERSION, tmp_path / "out")


def test_a_test_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SdistError, match=f"lacks tests/{NEEDED[0]}$"):
        unpack(archive(tmp_path, files_of(*NEEDED[1:])), VERSION, tmp_path / "out")


def test_damaged_archive(tmp_path: Path) -> None:
    path = archive(tmp_path, files_of(*NEEDED))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(SdistError, match=r"cannot be unpacked"):
        unpack(path, VERSION, tmp_path / "out")


def test_no_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SdistError, match=r"transformers==5.99.0, whose .* cannot be downloaded with pip: No matching"):
        download(VERSION, tmp_path)


def test_a_failed_fetch_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path, {})
    monkeypatch.setattr("sdist.download", lambda version, folder: path)
    with pytest.raises(SdistError):
        prepare(VERSION, tmp_path / "cache" / "folder")
    assert list((tmp_path / "cache").iterdir()) == []


def test_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path, files_of(*NEEDED))
    monkeypatch.setattr("sdist.download", lambda version, folder: path)
    folder = tmp_path / "cache" / "folder"
    prepare(VERSION, folder)
    assert is_complete(folder)
    path.unlink()
    lost = folder / next(iter(STAND_INS))
    lost.unlink()
    assert not is_complete(folder)
    prepare(VERSION, folder)  # no second download
    assert is_complete(folder)
    assert [each.name for each in folder.parent.iterdir()] == ["folder"]
