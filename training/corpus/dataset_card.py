"""The dataset card of a corpus: counted from its tables, nothing typed by hand."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from training.corpus.corpus import SPLITS, Corpus
from training.corpus.manifest import CLIP_SCHEMA, CURATION_FILE, DROPS_FILE, MANIFEST_FILE, SHARD_FOLDER
from training.corpus.shards import SHARD_SCHEMA
from training.report.markdown import Verbatim, markdown_text

# Licences that the Hub knows by name and that are usual for surgical data; any other is called "other".
HUB_LICENCES = ("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "mit", "apache-2.0")
_STEPS = ("overlay", "field_of_view", "deidentify", "balance")  # settings of curation beside its filters
_UNKNOWN = ("", "unknown")
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


def dataset_card(corpus: Corpus, repo_id: str, drops: pa.Table) -> str:
    """The text of README.md.

    Args:
        corpus: the corpus.
        repo_id: where it will be on the Hub.
        drops: its drop report.
    """
    counts = {split: corpus.count(split) for split in SPLITS}
    frames = sum(each.frames for each in counts.values())
    facts = json.loads(corpus.storage.read_bytes(CURATION_FILE).decode("utf-8"))
    splits = [
        (split, *(getattr(each, key) for key in ("cases", "videos", "clips", "frames")))
        for split, each in counts.items()
    ]
    kinds = [("shards", SHARD_SCHEMA), (MANIFEST_FILE, CLIP_SCHEMA)]
    columns = "\n\n".join(
        f"`{name}`: " + ", ".join(f"`{field.name}` ({field.type})" for field in schema) for name, schema in kinds
    )
    return f"""---
{yaml.safe_dump(_metadata(corpus, repo_id, frames), sort_keys=False).strip()}
---

# {repo_id.partition("/")[2]}

Frames of surgical video for pretraining, curated by `training.curate` of ZEN: {frames} frames that passed its filters,
in clips of neighbouring frames. Fingerprint of the manifest: `{corpus.fingerprint}`, schema version
{markdown_text(facts.get("schema_version", "not recorded"))}.

{_table(("split", "cases", "videos", "clips", "frames"), splits)}

Splits are by case. **The shards hold both splits**: `{MANIFEST_FILE}` says which clip belongs to which.

## Sources and licences

{_table(("source", "licence", "cases", "clips", "frames"), _sources(corpus))}

The rights in the pictures stay with their sources, under these licences.

## Procedures

{_table(("procedure", "cases", "clips", "frames"), _procedures(corpus))}

## Filters

{_table(("step", "settings"), _filters(facts.get("settings", {})))}

## What was left out

{_table(("reason", "spans", "frames"), _reasons(drops))}

`{DROPS_FILE}` has one row per dropped span, with the reason and the score that decided it.

## Loading

All frames, as a stream:

```python
from datasets import load_dataset

frames = load_dataset("{repo_id}", split="train", streaming=True)
picture = next(iter(frames))["image"]
```

Clips of one split, in a checkout of ZEN (`data.corpus=hf://datasets/{repo_id}` trains on it; append `@<commit>` to
pin it):

```python
from training.corpus import Corpus

corpus = Corpus.open("hf://datasets/{repo_id}")
clip = corpus.clips("train")[0]
pictures = corpus.read(clip, range(clip.num_frames))
```

## Files

- `{SHARD_FOLDER}/*.parquet`: one row per frame, JPEG or WebP in `image`; neighbouring rows are one clip.
- `{MANIFEST_FILE}`: one row per clip, with the shard and its first row there, the sampling weight and the circle of
  the endoscope.
- `masks.parquet`, if there: pixels that show no tissue (overlays, outside the circle), one PNG per mask.
- `duplicates.parquet`, if there: near-duplicates across videos; rows that are not representative are not drawn.
- `{CURATION_FILE}`: settings, package versions and counts.

{columns}
"""


def unlicensed(corpus: Corpus) -> list[str]:
    """Sources with a clip whose licence is not recorded."""
    return sorted({str(row[0]) for row in _sources(corpus) if str(row[1]).lower() in _UNKNOWN})


def _metadata(corpus: Corpus, repo_id: str, frames: int) -> dict[str, object]:
    known = {_hub_licence(str(licence)) for _, licence, *_ in _sources(corpus)}
    [licence] = known if len(known) == 1 else ["other"]
    metadata: dict[str, object] = {"license": licence}
    if licence == "other":
        metadata["license_name"] = "see-sources"
        metadata["license_link"] = f"https://huggingface.co/datasets/{repo_id}#sources-and-licences"
    return metadata | {
        "pretty_name": repo_id.partition("/")[2],
        "task_categories": ["image-feature-extraction"],
        "tags": ["surgery", "endoscopy", "laparoscopy", "medical", "video"],
        "size_categories": [next((name for limit, name in _SIZES if frames < limit), "n>10M")],
        "configs": [
            {
                "config_name": "frames",
                "default": True,
                "data_files": [{"split": "train", "path": f"{SHARD_FOLDER}/*.parquet"}],
            },
            {"config_name": "manifest", "data_files": [{"split": "train", "path": MANIFEST_FILE}]},
            {"config_name": "drops", "data_files": [{"split": "train", "path": DROPS_FILE}]},
        ],
    }


def _hub_licence(licence: str) -> str:
    """ "CC BY-NC 4.0" -> "cc-by-nc-4.0"; "other" when it is none that the Hub knows."""
    words = re.sub(r"[\s_]+", "-", licence.strip().lower())
    return words if words in HUB_LICENCES else "other"


def _sources(corpus: Corpus) -> list[tuple[Any, ...]]:
    return _grouped(corpus, {"source": corpus.manifest.column("source"), "licence": corpus.manifest.column("licence")})


def _procedures(corpus: Corpus) -> list[tuple[Any, ...]]:
    """Clips with several procedures count for each of them."""
    listed = corpus.manifest.column("procedures").combine_chunks()
    empty = pc.equal(pc.fill_null(pc.list_value_length(listed), 0), 0)
    filled = pc.if_else(empty, pa.scalar(["not recorded"], listed.type), listed)
    return _grouped(corpus, {"procedure": pc.list_flatten(filled)}, pc.list_parent_indices(filled))


def _grouped(corpus: Corpus, keys: dict[str, pa.Array], rows: pa.Array | None = None) -> list[tuple[Any, ...]]:
    """Keys, cases, clips and frames of each group of clips, most frames first."""
    numbers = {name: corpus.manifest.column(name) for name in ("case_id", "num_frames")}
    if rows is not None:
        numbers = {name: values.take(rows) for name, values in numbers.items()}
    counted = pa.table({**keys, **numbers}).group_by(list(keys))
    table = counted.aggregate([("case_id", "count_distinct"), ("num_frames", "count"), ("num_frames", "sum")])
    names = [*keys, "case_id_count_distinct", "num_frames_count", "num_frames_sum"]
    found = [tuple(row[name] for name in names) for row in table.to_pylist()]
    return sorted(found, key=lambda row: (-row[-1], str(row[:-3])))


def _filters(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """What curation looked for and with which thresholds, as it recorded them; a step that was off says so."""
    rows = []
    steps = {**settings.get("filters", {}), **{name: settings[name] for name in _STEPS if name in settings}}
    for name, values in steps.items():
        if not isinstance(values, dict):
            rows.append((name, str(values)))
            continue
        is_on = values.get("enabled", True)
        stated = (f"{key} {value}" for key, value in values.items() if key != "enabled" and value not in ("", [], {}))
        rows.append((name, ", ".join(stated) if is_on else "off"))
    return rows or [("not recorded", "not recorded")]


def _reasons(drops: pa.Table) -> list[tuple[Any, ...]]:
    table = drops.group_by("reason").aggregate([("num_frames", "count"), ("num_frames", "sum")])
    found = [(row["reason"], row["num_frames_count"], row["num_frames_sum"]) for row in table.to_pylist()]
    return sorted(found, key=lambda row: (-row[1], row[0]))


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, [Verbatim("---")] * len(head), *rows]
    return "\n".join("| " + " | ".join(markdown_text(value) for value in line) + " |" for line in lines)
