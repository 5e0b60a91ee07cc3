from cotlens.data import VARIANTS
from cotlens.report.names import variant_names


def test_built_in_names_stay_whole_and_files_go_by_their_name() -> None:
    assert variant_names(VARIANTS) == {name: name for name in VARIANTS}
    assert variant_names(["file:/home/me/prompts/mine.txt"]) == {"file:/home/me/prompts/mine.txt": "file:mine.txt"}


def test_no_two_names_are_alike() -> None:
    same = [f"file:/{folder}/prompt.txt" for folder in "abc"]
    long = [f"file:/a/prompt-of-the-{middle}-series.txt" for middle in ("first", "other")]
    names = variant_names([*same, *long])
    assert list(names) == [*same, *long]
    assert [names[variant] for variant in same] == ["file:prompt.txt", "file:prompt.txt (2)", "file:prompt.txt (3)"]
    assert len(set(names.values())) == 5
    assert max(map(len, names.values())) <= 20


def test_what_hides_is_shown() -> None:
    (name,) = variant_names(["file:/a/\u202ex\x00"]).values()
    assert name == "file:\\u202ex\\x00"
