"""Fetches the test mixins of the installed transformers from its source distribution; nothing of it is committed.

`python tests/transformers_common/sdist.py` makes `.cache/transformers-tests-VERSION` and prints where it lies. This is
the only step that uses the network (the package registry, through pip); a second call finds the folder and downloads
nothing. What the source distribution lacks of its own test folder becomes stand-ins, rewritten at every call.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

PACKAGE = "transformers_tests"  # what `tests` of the source distribution is imported as: `tests` is ours

# The test files that ours are built on; a source distribution without one of them is of no use.
NEEDED = (
    "test_backbone_common.py",
    "test_configuration_common.py",
    "test_image_processing_common.py",
    "test_modeling_common.py",
    "test_video_processing_common.py",
)

# Path in the cache folder -> text. `ConfigTester` reads a value for every common setting, each another than the
# default; the two mixins are parents that test what ZEN has not (text generation) or tests elsewhere (export).
STAND_INS = {
    f"{PACKAGE}/__init__.py": "",
    f"{PACKAGE}/exporters/__init__.py": "",
    f"{PACKAGE}/exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    f"{PACKAGE}/generation/__init__.py": "",
    f"{PACKAGE}/generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    f"{PACKAGE}/utils/__init__.py": "",
    f"{PACKAGE}/utils/test_configuration_utils.py": """\
config_common_kwargs = {
    "architectures": ["AnyModel"],
    "chunk_size_feed_forward": 5,
    "dtype": "float16",
    "id2label": {0: "first", 1: "second", 2: "third"},
    "is_encoder_decoder": True,
    "label2id": {"first": 0, "second": 1, "third": 2},
    "output_hidden_states": True,
    "problem_type": "regression",
    "return_dict": False,
}
""",
    "utils/fetch_hub_objects_for_ci.py": """\
def url_to_local_path(url):
    raise RuntimeError(f"these tests do not use the network, but one asks for {url}")
""",
}


class SdistError(Exception):
    """The source distribution cannot be had; one sentence says why."""


def installed_version() -> str:
    """Version of the transformers that is installed here."""
    return importlib.metadata.version("transformers")


def cache_folder(version: str) -> Path:
    """Where the test files of one version lie: below the checkout, ignored by git."""
    return Path(__file__).resolve().parents[2] / ".cache" / f"transformers-tests-{version}"


def is_complete(folder: Path) -> bool:
    """Whether `prepare` has finished there."""
    return all((folder / PACKAGE / name).is_file() for name in NEEDED) and all(
        (folder / name).is_file() for name in STAND_INS
    )


def prepare(version: str, folder: Path) -> None:
    """Fill `folder` with the test files of one version and with the stand-ins.

    The folder appears under its name only when the files of the source distribution are all in it.

    Raises:
        SdistError: pip cannot download it, it is of another version, or it lacks a test file.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not all((folder / PACKAGE / name).is_file() for name in NEEDED):
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as temporary:
            unpacked = Path(temporary) / "unpacked"
            unpack(download(version, Path(temporary)), version, unpacked)
            # Two runs at once: the second to finish finds the same files there.
            if not folder.exists():
                unpacked.rename(folder)
    for name, text in STAND_INS.items():
        write_atomically(folder / name, text)


def download(version: str, folder: Path) -> Path:
    """The path of the archive that pip laid into `folder`.

    Raises:
        SdistError: With the last line of what pip said.
    """
    requirement = f"transformers=={version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", "transformers", "--dest", str(folder), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = sorted(folder.glob("*.tar.gz"))
    if result.returncode or not archives:
        said = [line.strip() for line in result.stderr.splitlines() if line.strip()] or ["pip said nothing"]
        raise SdistError(
            f"the source distribution of {requirement}, whose test mixins are run here, cannot be downloaded with pip: "
            f"{said[-1].removeprefix('ERROR: ')}"
        )
    return archives[0]


def unpack(archive: Path, version: str, folder: Path) -> None:
    """Lay the test files of `archive` into `folder`, as the package `transformers_tests`.

    Raises:
        SdistError: The archive is damaged, of another version, or lacks a test file.
    """
    root = f"transformers-{version}"
    package = folder / PACKAGE
    package.mkdir(parents=True)
    try:
        with tarfile.open(archive) as tar:
            member = tar.extractfile(f"{root}/PKG-INFO")
            metadata = member.read().decode() if member else ""
            found = re.search(r"^Version: (\S+)$", metadata, flags=re.MULTILINE)
            if found is None or found[1] != version:
                raise SdistError(f"{archive.name} says it is version {found and found[1]}, not {version}")
            for entry in tar.getmembers():
                path = PurePosixPath(entry.name)
                # Only plain files directly in `tests`: no name can lead out of the folder.
                if entry.isfile() and path.parent == PurePosixPath(root, "tests") and path.suffix == ".py":
                    tar.extract(entry.replace(name=path.name, deep=False), package, filter="data")
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        raise SdistError(f"{archive.name} cannot be unpacked: {error}") from error
    missing = [name for name in NEEDED if not (package / name).is_file()]
    if missing:
        raise SdistError(f"{archive.name} lacks {', '.join(f'tests/{name}' for name in missing)}")


def write_atomically(path: Path, text: str) -> None:
    """Write `text`, so that nobody reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(temporary).replace(path)


def main() -> int:
    """Prepare the folder of the installed version and print it; 1 with one sentence where that fails."""
    version = installed_version()
    folder = cache_folder(version)
    try:
        prepare(version, folder)
    except SdistError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
