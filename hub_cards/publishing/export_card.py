"""The card of an exported graph: what export.json measured, and the licence of the model it was made from."""

import math
from pathlib import Path
from typing import Any

import yaml

from hub_cards.licence_terms import LICENCE_FILE
from hub_cards.run_records import lookup
from modeling_zen.export.runtime import FACTS
from training.errors import UserError
from training.report.markdown import code_span, markdown_text


def export_card(facts: dict[str, Any], folder: Path, repo_id: str, base_id: str, licence: dict[str, str]) -> str:
    """Metadata and text; `UserError` naming a figure that export.json does not hold.

    Args:
        facts: of export.json.
        folder: where it lies, for messages.
        repo_id: under which it will be published.
        base_id: of the model it was made from.
        licence: `license`, and `license_name` and `license_link` where that is "other", as the card of that model has
            them.
    """
    where = str(folder / FACTS)
    form, precision = (str(lookup(facts, (key,), where)) for key in ("format", "precision"))
    if licence.get("license_link") == LICENCE_FILE:  # which stands beside the card of the base model
        licence = {**licence, "license_link": f"https://huggingface.co/{base_id}/blob/main/{LICENCE_FILE}"}
    front = {
        "library_name": form,
        "pipeline_tag": "image-feature-extraction",
        **licence,
        "base_model": base_id,
        # The Hub's words: what a smaller or other form of the same weights is to them.
        "base_model_relation": "quantized",
        "tags": [form, precision, "surgery", "endoscopy", "medical", "zen"],
    }
    parity = lookup(facts, ("parity",), where)
    rows = []
    for tokens, meaning in (("pooler", "pooled"), ("dense", "dense")):
        mean, least = (_number(parity, tokens, key, where) for key in ("cosine_mean", "cosine_min"))
        rows.append(f"| {meaning} | {mean:.6f} | {least:.6f} |")
    form, precision = markdown_text(form), markdown_text(precision)
    height, width = (lookup(facts, ("input", key), where) for key in ("height", "width"))
    size = "any multiple of the patch" if height is None else markdown_text(f"{height} × {width} px")
    measured_on = str(lookup(parity, ("on",), where)).removeprefix("frames of ")
    frames = markdown_text(f"{lookup(parity, ('frames',), where)} frames of {measured_on}")
    versions = ", ".join(f"{name} {version}" for name, version in sorted(lookup(facts, ("versions",), where).items()))
    weights = str(lookup(facts, ("source_weights_sha256",), where))[:12]
    return f"""---
{yaml.safe_dump(front, sort_keys=False)}---

# {repo_id.partition("/")[2]}

The encoder of [{base_id}](https://huggingface.co/{base_id}) as a graph for {form} in {precision}. Input: {size}.

```python
from huggingface_hub import snapshot_download
from modeling_zen.export import ZenExportedModel

model = ZenExportedModel.from_pretrained(snapshot_download("{repo_id}"))
```

Agreement with the original on {frames}:

| tokens | mean cosine | least cosine |
|---|---|---|
{chr(10).join(rows)}

Made with {markdown_text(versions)} from weights {code_span(weights)}. Not a medical device.
"""


def _number(parity: Any, tokens: str, key: str, where: str) -> float:
    value = lookup(parity, (tokens, key), where)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{key} of {tokens} in {where} is {value!r}, not a finite number; export the model again")
    return float(value)
