"""Train and evaluate what a comparison lacks, each in a process of its own; what is finished is left alone."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from training.comparison.cost import Cost, measure_cost
from training.comparison.plan import Run
from training.corpus import Corpus
from training.errors import UserError
from training.run_folder import RunFolder, write_json


@dataclass(frozen=True)
class Finished:
    """A run that has been trained and evaluated."""

    run: Run
    seconds: float  # of training, measurements on held-out frames included
    cost: Cost
    records: Path  # of the benchmark, one JSON object a line


def run_module(module: str, words: Sequence[str]) -> None:
    """`python -m module words` with the same terminal; ended with this process.

    Raises:
        UserError: it failed.
    """
    process = subprocess.Popen([sys.executable, "-m", module, *words])
    try:
        code = process.wait()
    except BaseException:
        process.terminate()  # a training saves and leaves
        process.wait()
        raise
    if code:
        raise UserError(
            f"{module} ended with code {code}, its own message stands above; the same command goes on from there"
        )


def finish(run: Run, corpus: Corpus, output: Path, benchmark: Sequence[str]) -> Finished:
    """Train, measure the cost of, and evaluate one run, as far as that has not been done.

    Args:
        run: what to train.
        corpus: it is trained on.
        output: folder of the comparison.
        benchmark: arguments of `evaluation.benchmark` besides `--model` and `--output`.

    Raises:
        UserError: the folder holds a run of other settings, or a process failed.
    """
    folder = RunFolder.open(run.config)
    if _steps(folder) != run.config.max_steps:
        run_module("training.pretrain", ["--config", str(run.file), *run.words])
    facts = json.loads((folder.hub / "training.json").read_text(encoding="utf-8"))
    parts = output / "parts"
    parts.mkdir(exist_ok=True)
    cost_file = parts / f"{run.name}-step{facts['steps']}-cost.json"
    if not cost_file.is_file():
        write_json(cost_file, asdict(measure_cost(run, corpus)))
    cost = Cost(**json.loads(cost_file.read_text(encoding="utf-8")))
    # Another step or another question has another file, so that one holds the answers to one question only.
    asked = hashlib.sha256(json.dumps([facts["steps"], *benchmark]).encode()).hexdigest()[:8]
    records, done = parts / f"{run.name}-{asked}.jsonl", parts / f"{run.name}-{asked}-done.json"
    if not done.is_file():
        run_module("evaluation.benchmark", ["--model", str(folder.hub), "--output", str(records), *benchmark])
        write_json(done, {"steps": facts["steps"], "arguments": list(benchmark)})
    return Finished(run, float(facts["seconds"]), cost, records)


def _steps(folder: RunFolder) -> int | None:
    """Steps of the finished run in a folder; `None` while there is none."""
    file = folder.hub / "training.json"
    return int(json.loads(file.read_text(encoding="utf-8"))["steps"]) if file.is_file() else None
