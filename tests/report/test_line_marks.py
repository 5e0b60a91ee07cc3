from cotlens.report.line_marks import Line, compared_lines, plain_lines

COT = ("Question: Q", "He has 3.", "So 3 + 2 = 5 pens.", "The answer is 5.")


def text(line: Line) -> str:
    return "".join(piece.text for piece in line.pieces)


def new(line: Line) -> list[str]:
    return [piece.text for piece in line.pieces if piece.new]


def test_the_same_lines_are_not_marked() -> None:
    assert compared_lines(COT, COT) == plain_lines(COT)
    assert not any(line.changed or line.left_out for line in plain_lines(COT))


def test_new_words_of_a_rewritten_line_are_marked() -> None:
    lines = compared_lines((*COT[:2], "So 3 + 2 = lantern pens.", "The answer is lantern."), COT)
    assert [line.changed for line in lines] == [False, False, True, True]
    assert [new(line) for line in lines] == [[], [], ["lantern"], ["lantern"]]
    assert text(lines[2]) == "So 3 + 2 = lantern pens."


def test_a_line_with_little_in_common_is_marked_as_a_whole() -> None:
    lines = compared_lines((*COT[:2], "Nothing of it is left here", COT[3]), COT)
    assert lines[2].changed
    assert new(lines[2]) == []


def test_lines_left_out_are_counted_where_they_stood() -> None:
    lines = compared_lines((COT[0], COT[3]), COT)
    assert [line.left_out for line in lines] == [0, 2, 0]
    shorter = compared_lines((COT[0], "3 + 2 = 5.", COT[3]), COT)
    assert [(text(line), line.changed, line.left_out) for line in shorter] == [
        (COT[0], False, 0), ("3 + 2 = 5.", True, 0), ("", False, 1), (COT[3], False, 0),
    ]  # fmt: skip


def test_lines_in_another_order_are_marked() -> None:
    lines = compared_lines((COT[0], COT[2], COT[1], COT[3]), COT)
    assert [text(line) for line in lines if line.pieces] == [COT[0], COT[2], COT[1], COT[3]]
    assert [text(line) for line in lines if line.changed] in ([COT[1]], [COT[2]])
    assert not any(line.left_out for line in lines)


def test_nothing_and_everything_new() -> None:
    assert compared_lines((), COT) == (Line(left_out=4),)
    assert all(line.changed for line in compared_lines(COT, ()))
    assert compared_lines((), ()) == ()
