"""From a run, its results and its corpus to the folder for the Hub; nothing is written before all is checked."""

from pathlib import Path

from hub_cards.card_figures import hash_figures
from hub_cards.corpus_facts import CorpusFacts, count_corpus, open_corpus
from hub_cards.diagnosis import Diagnosis, read_diagnosis
from hub_cards.evaluation_metadata import eval_results_files
from hub_cards.hub_folder import PICTURE, README, check_source, check_target, write_folder
from hub_cards.licence_terms import LICENCE_FILE, OTHER, licence_file
from hub_cards.model_card import CardInputs, licensed_inputs, model_card
from hub_cards.pca import DensePicture, dense_pca_picture
from hub_cards.results import read_results
from hub_cards.run_records import Run, lookup, read_run
from training.corpus.corpus import Corpus
from training.errors import UserError
from training.licences import derive
from training.teachers import Teacher, load_teacher


def make_hub_folder(
    run_folder: Path,
    results_file: Path,
    output: Path,
    *,
    corpus: Path | None = None,
    teacher: str | None = None,
    diagnosis: Path | None = None,
    benchmark_owner: str | None = None,
) -> None:
    """Write the folder for the Hub: the run's model, its card and, when the corpus is at hand, the picture.

    Args:
        run_folder: of a finished run.
        results_file: records about this run's model.
        output: folder to write; an earlier one made by this function is replaced.
        corpus: the run's corpus, for its summary and the picture of held-out frames.
        teacher: name, Hub id or folder of a teacher of the run, shown in the picture as well.
        diagnosis: diagnosis.json of this run's model.
        benchmark_owner: see `eval_results_files`.

    Raises:
        UserError: something is missing, broken or does not belong together; nothing has been written then.
    """
    run = read_run(run_folder)
    check_source(run.hub)
    check_target(output, run.hub)
    results = read_results(results_file, run.weights_sha256)
    found: Diagnosis | None = None if diagnosis is None else read_diagnosis(diagnosis, run)
    facts: CorpusFacts | None = None
    picture: DensePicture | None = None
    if corpus is not None:
        opened = open_corpus(corpus, lookup(run.corpus, ("fingerprint",), "corpus.json"))
        facts = count_corpus(opened, corpus)
        picture = _draw(run, opened, teacher)
    note = None if picture is None else picture.note
    card = model_card(CardInputs(run, results, facts, found, note, output.resolve().name))
    inputs = licensed_inputs(run, facts)
    additions = {README: str(card).encode()}
    if (licence := derive(inputs)).identifier == OTHER:
        additions[LICENCE_FILE] = licence_file(licence, inputs).encode()
    for name, text in eval_results_files(results.tasks, benchmark_owner).items():
        additions[name] = text.encode()
    if picture is not None:
        additions[PICTURE] = picture.png()
    record = {"weights_sha256": run.weights_sha256, "picture_note": note}
    write_folder(output, run.hub, additions, {**record, "inputs": inputs, "figures_sha256": hash_figures(str(card))})


def _draw(run: Run, corpus: Corpus, teacher: str | None) -> DensePicture | None:
    """The picture of dense tokens; a teacher in it must be one of the run."""
    loaded: Teacher | None = None
    if teacher is not None:
        loaded = load_teacher(teacher)
        if loaded.identity()["weights_sha256"] not in {each.weights_sha256 for each in run.teachers}:
            names = ", ".join(each.name for each in run.teachers)
            raise UserError(f"--teacher {teacher!r} did not teach this model; its teachers are {names}")
        if loaded.dense_width is None:
            raise UserError(f"--teacher {teacher!r} gives no dense tokens, so there is nothing of it to show")
    return dense_pca_picture(run.hub, corpus, loaded, seed=run.fact("settings", "seed"))
