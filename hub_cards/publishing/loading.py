"""Whether others can load what is to be published: strictly, before anything is sent."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hub_cards.hub_folder import MADE_BY, MARKER, read_marker
from hub_cards.publishing.kinds import ADAPTER, EXPORT, MODEL, Kind
from hub_cards.run_records import WEIGHTS, hash_weights_file, lookup, read_json
from modeling_zen.export.runtime import FACTS
from training.errors import UserError

_SECONDS = 900  # a giant model takes a minute from a cold disk; a hanging one should not take the day
_PASSED_ON = frozenset({"PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "SYSTEMROOT", "TMPDIR"})
_SHOWN = 300  # characters of another library's message


def check_loading(kind: Kind, folder: Path, base_id: str) -> str:
    """Load the folder strictly; returns what was seen, in a few words.

    Args:
        kind: of the folder.
        folder: as it will be published, but for the ids of adapters' base models.
        base_id: id of the base model of an adapter or export, which is loaded from the Hub.

    Raises:
        UserError: it cannot be loaded, or not all of it, or it was made from other weights than the base model has.
    """
    if kind.name == MODEL:
        return check_model(folder)
    if kind.name == ADAPTER:
        return _check_adapter(folder, base_id)
    if kind.name == EXPORT:
        return _check_export(folder, base_id)
    return _check_metric(folder)


def check_model(folder: Path) -> str:
    """Load a model folder with its own code in a fresh process, without this project, the network and any token."""
    script = Path(__file__).with_name("clean_load.py")
    with tempfile.TemporaryDirectory() as home:
        environment = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
        environment |= {"HOME": home, "HF_HOME": home, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-I", str(script), str(folder.resolve())]
        try:
            done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise UserError(f"{str(folder)!r} was not loaded within {_SECONDS} seconds") from error
    answer = _last_object(done.stdout)
    if "error" in answer or done.returncode != 0:
        reason = str(answer.get("error") or f"the process ended with {done.returncode}")
        raise UserError(f"{str(folder)!r} cannot be loaded by others: {reason[:_SHOWN]}")
    for name, keys in answer["problems"].items():
        raise UserError(f"{str(folder)!r} does not load whole, {name.replace('_', ' ')}: {', '.join(keys[:5])}")
    if not answer["finite"]:
        raise UserError(f"{str(folder)!r} gives features that are not finite numbers")
    return f"{answer['parameters']:,} parameters, {answer['values']:,} features of one image"


def _last_object(output: str) -> dict[str, Any]:
    """The last line of a process as JSON; empty where it is none. Code of a folder may print what it likes before."""
    lines = output.splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _check_adapter(folder: Path, base_id: str) -> str:
    """Put the adapter onto its base model, by this project's own code: that of the base's repository is not run."""
    import modeling_zen
    from modeling_zen.adapter_zen import read_head_config
    from modeling_zen.adapters import load_adapter

    try:
        stored = read_head_config(folder)
        name = (stored.architectures or ["ZenModel"])[0] if stored is not None else "ZenModel"
        if name == "ZenModel":
            base = modeling_zen.ZenModel.from_pretrained(base_id)
        else:
            base = getattr(modeling_zen, name).from_pretrained(base_id, config=stored)
        adapted = load_adapter(base, folder)
    except (OSError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:_SHOWN]
        raise UserError(f"the adapter {str(folder)!r} cannot be put onto {base_id}: {reason}") from error
    return f"all weights fit {base_id}, adapters {', '.join(adapted.peft_config)}{_check_base(folder, base_id)}"


def _check_base(folder: Path, base_id: str) -> str:
    """Compare the base model with the weights that an adapter was trained on; says so where nothing records them."""
    from transformers.utils.hub import cached_file

    if not (folder / MARKER).is_file() or read_json(folder / MARKER).get("made_by") != MADE_BY:
        return "; on which weights it was trained is recorded nowhere"
    path = cached_file(base_id, WEIGHTS)
    published = hash_weights_file(Path(str(path)))
    _refuse_others(folder, base_id, str(read_marker(folder)["weights_sha256"]), published)
    return ", and are those it was trained on"


def _refuse_others(folder: Path, base_id: str, recorded: str, published: str) -> None:
    if recorded != published:
        raise UserError(
            f"{str(folder)!r} was made from weights {recorded[:12]}, but {base_id} has {published[:12]}: name its own "
            "base model with --base-id, or make it again"
        )


def _check_export(folder: Path, base_id: str) -> str:
    from modeling_zen import ZenModel
    from modeling_zen.export.exporter import weights_sha256
    from modeling_zen.export.graph import for_export
    from modeling_zen.export.runtime import ZenExportedModel

    try:
        model = ZenExportedModel.from_pretrained(folder)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"the export {str(folder)!r} cannot be loaded: {error}") from error
    try:
        base = for_export(ZenModel.from_pretrained(base_id))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:_SHOWN]
        raise UserError(f"the base model {base_id} of {str(folder)!r} cannot be loaded: {reason}") from error
    recorded = str(lookup(model.facts, ("source_weights_sha256",), str(folder / FACTS)))
    _refuse_others(folder, base_id, recorded, weights_sha256(base))
    return f"{model.facts['format']} in {model.facts['precision']}"


def _check_metric(folder: Path) -> str:
    import evaluate

    try:
        metric = evaluate.load(str(folder.resolve()))
    except (OSError, ValueError, ImportError, SyntaxError) as error:
        raise UserError(f"the metric {str(folder)!r} cannot be loaded: {error}") from error
    return f"metric {metric.name}"
