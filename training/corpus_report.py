"""Write the report of a corpus: `python -m training.corpus_report CORPUS [--output FILE]`."""

import argparse
from importlib.util import find_spec
from pathlib import Path

from training.corpus.storage import Storage
from training.errors import UserError, run_entry


def main() -> None:
    """Parse the command line, write the page, and print where it lies."""
    parser = argparse.ArgumentParser(
        prog="python -m training.corpus_report",
        description="One HTML page with what a corpus holds and what was left out, in tables and pictures. It shows "
        "frames of the corpus: treat it as you treat them.",
    )
    parser.add_argument("corpus", metavar="CORPUS", help="folder, URL or hf://datasets/ORG/NAME")
    parser.add_argument("--output", type=Path, metavar="FILE", help="HTML file; CORPUS/report.html if not given")
    options = parser.parse_args()
    storage = Storage.at(options.corpus)
    if options.output is None and not storage.is_local:
        raise UserError(f"corpus {storage.shown!r} is not a local folder: say where the page goes with --output FILE")
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        raise UserError(f"the report needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    from training.corpus.report.page import make_report  # after parsing: a typo should not wait for matplotlib

    output = options.output or storage.folder / "report.html"
    make_report(options.corpus, output)
    print(f"report: {output}  (open it in a browser; it shows frames of the corpus)")


if __name__ == "__main__":
    run_entry(main)
