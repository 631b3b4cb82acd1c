"""The inputs of curation, opened: folders and files, source manifests, datasets."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.corpus.hub_source import DatasetSource, is_dataset, open_dataset
from training.corpus.identity import private_folder
from training.corpus.remote import Known, fetch_files
from training.corpus.settings import CurationSettings
from training.corpus.source_manifest import is_source_manifest, read_source_manifest
from training.corpus.sources import Scan, beside, check_places, scan
from training.errors import UserError


@dataclass(frozen=True)
class Inputs:
    """Everything that the inputs name."""

    found: Scan  # on this machine, and what is to be fetched
    datasets: list[DatasetSource]
    staging: Path  # for what is fetched; beside the corpus, where every worker sees it and no corpus holds it

    @property
    def hopeless(self) -> bool:
        """Whether no input holds anything that could be a video or still."""
        return not (self.found.videos or self.found.stills or self.found.remote or self.datasets)

    @property
    def may_hold_videos(self) -> bool:
        """Whether a video decoder is needed."""
        videos = self.found.videos or self.found.remote
        return bool(videos) or any(dataset.kind == "video" for dataset in self.datasets)

    def scans(self, known: Known) -> Iterator[Scan]:
        """All files in pieces: first what is on this machine, then what has to be fetched or streamed, bit by bit.

        Files of a later piece are gone when the next is asked for.

        Args:
            known: what is not on this machine and true here is not fetched again.
        """
        if self.staging.exists():  # of a killed run
            shutil.rmtree(self.staging, ignore_errors=True)
        yield self.found
        if not (self.found.remote or self.datasets):
            return
        self.staging.mkdir(mode=0o700)
        try:
            yield from fetch_files(self.found.remote, known, self.staging)
            for dataset in self.datasets:
                yield from dataset.scans(known, self.staging)
        finally:
            shutil.rmtree(self.staging)


def staging_folder(out: Path) -> Path:
    """Where a run into the corpus `out` holds what it fetches, until that is curated."""
    return beside(out, ".fetched")


def open_inputs(words: Sequence[Path | str], out: Path, settings: CurationSettings) -> Inputs:
    """Open the inputs of a run.

    Raises:
        UserError: what the readers of the kinds of input raise, or two inputs of the same name where that matters.
    """
    datasets = [open_dataset(str(word), settings.dataset_columns) for word in words if is_dataset(str(word))]
    places = check_places([Path(word) for word in words if not is_dataset(str(word))], out)
    manifests = [place for place in places if is_source_manifest(place)]
    names = [*(place.stem for place in manifests), *(dataset.address.input for dataset in datasets)]
    names += {place.name for place in places if place not in manifests}
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two inputs are called {name!r}, where one is a manifest or dataset: rename one of them")
    staging = staging_folder(out)
    outputs = [out, staging, private_folder(out, settings)] if settings.deidentify else [out, staging]
    found = scan([place for place in places if place not in manifests], *outputs)
    root = Path(settings.root) if settings.root else None
    for manifest in manifests:
        found.extend(read_source_manifest(manifest, root, allow_urls=settings.allow_urls))
    return Inputs(found, datasets, staging)
