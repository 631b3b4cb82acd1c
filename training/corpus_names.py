"""Find a case of a de-identified corpus: `python -m training.corpus_names CORPUS NAME...` (a hash, or a true name)."""

import argparse
from dataclasses import astuple
from pathlib import Path

from training.corpus.identity import private_folder
from training.corpus.private_names import read_names
from training.corpus.settings import CurationSettings
from training.errors import UserError, run_entry


def main() -> None:
    """Print every source file that a name stands for: its names in the corpus, the true ones, and where it lies."""
    parser = argparse.ArgumentParser(
        prog="python -m training.corpus_names",
        description="Which files stand behind a case, video or file of a de-identified corpus, or the other way round.",
    )
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    parser.add_argument("names", nargs="+", metavar="NAME", help="case_id, video_id or path, hashed or true")
    parser.add_argument("--private", default="", metavar="FOLDER", help="where the names are, if not CORPUS.private")
    options = parser.parse_args()
    folder = private_folder(options.corpus, CurationSettings(private=options.private))
    rows = read_names(folder)
    if not rows:
        raise UserError(f"no private table of names in {str(folder)!r}: give the right folder with --private")
    for name in options.names:
        # A clip is its video and a number; a true path may be given from the input's own name on.
        found = [
            row
            for row in rows
            if name in astuple(row)
            or name == f"{row.true_input}/{row.true_path}"
            or (row.video_id and name.rsplit("-", 1)[0] == row.video_id)
        ]
        if not found:
            raise UserError(f"{name!r} is neither a name in {str(options.corpus)!r} nor one behind it")
        for row in found:
            print(f"{row.case_id or '-'}  {row.video_id or '-'}  {row.path}  {row.true_case_id or '-'}  {row.location}")


if __name__ == "__main__":
    run_entry(main)
