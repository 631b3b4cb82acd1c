"""What the journal holds, read back; damage of its files is tested in test_journal.py."""

from training.corpus.manifest import Drop
from training.corpus.staged import FileRecord
from training.corpus.state import State, commit_folders


def record(path: str, *, replaced: bool) -> FileRecord:
    return FileRecord("data", path, 1, 1, "", "s", "", None, "CC0", "", "", 0, 0, replaced)


def drop(path: str, detail: str) -> Drop:
    return Drop("data", path, "", None, None, 0, "undecodable", None, None, detail)


def test_commits_are_in_the_order_of_their_numbers(tmp_path):
    names = ["00000", "00009", "99999", "100000", "100001"]
    for name in ["work", "00010.tmp", "7", *reversed(names)]:
        (tmp_path / name).mkdir()
    assert [path.name for path in commit_folders(tmp_path)] == names
    assert commit_folders(tmp_path / "work") == []


def test_a_file_that_was_replaced_takes_its_earlier_drops_with_it():
    state = State()
    state.add([record("a", replaced=False), record("b", replaced=False)], [], [drop("a", "1"), drop("b", "2")], [])
    state.add([record("a", replaced=True)], [], [drop("a", "3")], [])
    assert [(row.path, row.detail) for row in state.drops] == [("b", "2"), ("a", "3")]
    assert state.commits == 2
    assert state.files["data", "a"].replaced
