"""Held-out cases: folder words, the stable draw, and what stays when a corpus grows."""

from training.corpus.splits import resolve_splits


def cases(number: int, word: str = "") -> dict[str, set[str]]:
    return {f"case{index:03d}": {word} for index in range(number)}


def held_out(splits: dict[str, str]) -> set[str]:
    return {case for case, split in splits.items() if split == "held_out"}


def test_folder_words_decide():
    words = {"a": {"held_out"}, "b": {"train"}, "c": {"train", "held_out"}, "d": {"", "held_out"}}
    assert resolve_splits(words, {}, 0.5) == {"a": "held_out", "b": "train", "c": "held_out", "d": "held_out"}


def test_draw_takes_the_fraction_and_only_of_unassigned_cases():
    assert len(held_out(resolve_splits(cases(50), {}, 0.1))) == 5
    words = cases(20) | {f"t{index}": {"train"} for index in range(100)} | {"v": {"held_out"}}
    drawn = held_out(resolve_splits(words, {}, 0.1))
    assert "v" in drawn
    assert len(drawn) == 3
    assert not any(case.startswith("t") for case in drawn)


def test_draw_depends_on_the_ids_only():
    words = cases(30)
    assert resolve_splits(dict(reversed(words.items())), {}, 0.2) == dict(
        reversed(resolve_splits(words, {}, 0.2).items())
    )


def test_one_case_is_held_out_when_there_are_two():
    assert len(held_out(resolve_splits(cases(2), {}, 0.1))) == 1
    assert held_out(resolve_splits(cases(1), {}, 0.1)) == set()
    assert len(held_out(resolve_splits(cases(2, "train"), {}, 0.1))) == 1
    assert held_out(resolve_splits(cases(9), {}, 0.0)) == set()


def test_never_everything():
    assert len(held_out(resolve_splits(cases(3), {}, 0.99))) == 2


def test_growing_keeps_earlier_splits_and_tops_up_the_fraction():
    first = resolve_splits(cases(20), {}, 0.1)
    second = resolve_splits(cases(60), first, 0.1)
    assert {case: second[case] for case in first} == first
    assert len(held_out(second)) == 6


def test_a_trained_case_moves_only_when_a_folder_says_so():
    first = {"a": "train", "b": "held_out"}
    assert resolve_splits({"a": {"held_out", ""}, "b": {"train"}}, first, 0.1) == {"a": "held_out", "b": "held_out"}
