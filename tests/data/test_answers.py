from decimal import Decimal

import pytest

from cotlens.data.answers import decimal_text, extract_answer, is_correct, parse_number
from cotlens.errors import InputError

# What the published extraction got wrong, and what it should have given.
PUBLISHED_MISTAKES = [
    ("The answer is $18.00.", "18"),
    ("The answer is 12.5.", "12.5"),
    ("The answer is -5.", "-5"),
    ("The answer is 18.\n\nQuestion: Sam has 3 apples. How many has he?\nThe answer is 3.", "18"),
    ("The answer is 18 (or 9*2).", "18"),
]

FORMATS = [
    ("The answer is $1,234.50", "1234.50"),
    ("The answer is -3", "-3"),
    ("The answer is 18.", "18"),
    ("The answer is 18,", "18"),
    ("The answer is 18, which is right.", "18"),
    ("The answer is 0.", "0"),
    ("The answer is 007.", "7"),
    ("The answer is 3.50.", "3.5"),
    ("The answer is .5.", "0.5"),
    ("The answer is 18", "18"),
    ("The answer is: 18", "18"),
    ("The answer is = 18", "18"),
    ("The answer is:\n18", "18"),
    ("The answer is:\r\n18", "18"),
    ("The answer is\n\n18", "18"),
    ("THE ANSWER IS 18", "18"),
    ("so the answer is 18", "18"),
    ("The\nanswer  is 18", "18"),
    ("The answer is 18 apples.", "18"),
    ("The answer is 18kg.", "18"),
    ("The answer is 18 km/h.", "18"),
    ("The answer is therefore 18.", "18"),
    ("The answer is x = 18.", "18"),
    ("The answer is (18).", "18"),
    ('The answer is "18".', "18"),
    ("The answer is `18`.", "18"),
    ("The answer is ~18.", "18"),
    ("The answer is +18.", "18"),
    ("The answer is **18**.", "18"),
    ("The answer is **$18**.", "18"),
    ("**The answer is 18**", "18"),
    ("The answer is *18*.", "18"),
    ("The answer is __18__.", "18"),
    ("The answer is $**18**.", "18"),
    ("The answer is \\boxed{18}.", "18"),
    ("The answer is $\\boxed{-18}$.", "-18"),
    ("The answer is $18$.", "18"),
    ("The answer is \\$18.", "18"),
    ("The answer is $ 18.", "18"),
    ("The answer is US$18.", "18"),
    ("The answer is €18.", "18"),
    ("The answer is £18.50 in all.", "18.5"),
    ("The answer is ¥1,800.", "1800"),
    ("The answer is ₹18.", "18"),
    ("The answer is 18€.", "18"),
    ("The answer is 18 %.", "18"),
    ("The answer is 18%.", "18"),
    ("The answer is 12.5% of it.", "12.5"),
    ("The answer is -$5.", "-5"),
    ("The answer is $-5.", "-5"),
    ("The answer is $ -5.", "-5"),
    ("The answer is -€1,000.25.", "-1000.25"),
    ("The answer is \u22125.", "-5"),
    ("The answer is \u20135.", "-5"),
    ("The answer is - 5.", "-5"),
    ("The answer is -0.", "0"),
    ("The answer is 1,234.", "1234"),
    ("The answer is 1,234,567.", "1234567"),
    ("The answer is 12,34.", "12"),
    ("The answer is 1,2345.", "1"),
    ("The answer is 1, 2 and 3.", "1"),
    ("The answer is 3/4.", "0.75"),
    ("The answer is -3/4.", "-0.75"),
    ("The answer is 3 / 4.", "0.75"),
    ("The answer is 3/2.5.", "1.2"),
    ("The answer is 3 1/2 cups.", "3.5"),
    ("The answer is -3 1/2.", "-3.5"),
    ("The answer is 1.5e3.", "1500"),
    ("The answer is 2E-3.", "0.002"),
    ("The answer is 10-4.", "10"),
    ("The answer is 10 - 4.", "10"),
    ("The answer is 5-7.", "5"),
    ("The answer is 5. The answer is 6.", "5"),
]

NO_STRICT_ANSWER = [
    "",
    "18",
    "There are 18.",
    "#### 18",
    "The answer is",
    "The answer is eighteen.",
    "The answer is unknown. There are 18 apples.",
    "The answer is unknown!\nThere are 18.",
    "The answer is unknown\n18 apples",
    "The answer is 1e400.",
    "The answer is -1e400.",
    "The answer is 1e-400.",
    "The answer is 1e99999999.",
    "The answer is 5/0.",
    "The answer is 0/0.",
    "The answer is 3 1/0.",
    "The answer is " + "9" * 31 + ".",
    "The answer is NaN.",
    "The answer is inf.",
    "The answer is Infinity.",
    "The answer is A1.",
    "The answer is ,,,.",
    "The answer is -.",
    "The answer is $.",
    "The answering machine is 18.",
    "Breathe answer is 18.",
]


@pytest.mark.parametrize(("text", "expected"), PUBLISHED_MISTAKES + FORMATS)
@pytest.mark.parametrize("mode", ["strict", "flexible"])
def test_number_after_the_cue_is_the_answer_in_both_modes(text, expected, mode):
    assert extract_answer(text, mode) == Decimal(expected)


LATEX = [
    (r"$\frac{1}{2}$", "0.5"), (r"\dfrac{3}{4}", "0.75"), (r"\tfrac{3}{4}", "0.75"),
    (r"\frac { 3 } { 4 }", "0.75"), (r"-\frac{3}{4}", "-0.75"), (r"\frac{-3}{4}", "-0.75"),
    (r"\frac{1.5}{2}", "0.75"), (r"\frac{1,000}{8}", "125"), (r"\frac{1}{1,000}", "0.001"),
    (r"2\frac{1}{2}", "2.5"), (r"2 \frac{1}{2}", "2.5"), (r"-2\frac{1}{2}", "-2.5"),
    (r"\boxed{\frac{3}{8}}", "0.375"), (r"$\frac{1}{4} = 0.25$", "0.25"), (r"\frac{48 \times 1250}{48}", "48"),
    (r"\frac{3}{0} or 2", None), ("\n\\[\n\\boxed{12}\n\\]", "12"), (":\n\\[ 12 \\]", "12"),
    (r"\( 12 \)", "12"), ("\n$$\n12\n$$", "12"), ("\n$$-12$$", "-12"), (r"$-\boxed{12}$", "-12"),
    (r"\boxed {12}", "12"), (r"\boxed{12", "12"), (r"\boxed{\text{12 apples}}", "12"),
    (r"\boxed{1{,}234.5}", "1234.5"), (r"1{,}234{,}567", "1234567"), (r"1\,234\,567", "1234567"),
    (r"1,\!234", "1234"), (r"3\,kg", "3"), (r"25\%", "25"),
]  # fmt: skip

POWERS_OF_TEN = [
    ("7 × 10^2", "700"), ("7×10^2", "700"), ("7 * 10^{3}", "7000"), (r"7 \times 10^{-2}", "0.07"),
    ("7 x 10^−2", "0.07"), ("-1.5 × 10^3", "-1500"), ("$7 × 10^2", "700"), ("4.0 × 10^6 + 300,000", "4000000"),
    ("7 × 10^2 / 2", "350"), ("7 × 10^{ 2 }", "700"), ("7 × 10", "7"), ("7 × 100^2", "7"), ("7 × 2^10", "7"),
    ("10^2", "10"), ("7 × 10^400", None), ("7 × 10^-400", None), ("7 × 10^" + "9" * 40, None),
]  # fmt: skip

THOUSANDS = [
    ("400 000", "400000"), ("4 000", "4000"), ("1 234 567", "1234567"), ("12 000 000", "12000000"),
    ("$1 234 567.50", "1234567.5"), ("-400 000", "-400000"), ("12\u00a0345", "12345"), ("12\u202f345", "12345"),
    ("12\u2009345.5", "12345.5"), ("1\u00a0234\u00a0567", "1234567"), ("12 345", "12"), ("12 345 6", "12"),
    ("1234 567", "1234"), ("1 234 5678", "1"), ("1 234 56", "1"), ("1  234  567", "1"), ("400 0000", "400"),
    ("5\t000", "5"), ("5\n000", "5"), ("12\u00a03456", "12"),
]  # fmt: skip

DIVISIONS = [
    ("3 / 4", "0.75"), ("3/4", "0.75"), ("14 / 25 = 0.56", "14"), ("14 / 25=0.56", "14"),
    ("14 / 2.5 = 5.6", "14"), ("1,400 / 1,000 = 1.4", "1400"), ("14 / 25\n= 0.56", "14"),
    ("1/4 = 0.25", "0.25"), ("-1/4 = -0.25", "-0.25"), ("1,000/2,000", "0.5"), ("3/1,000", "0.003"),
    ("3 1/2 = 3.5", "3.5"), ("15\n15/3 = 5", "15"), ("15\n/3", "15"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "expected"), LATEX + POWERS_OF_TEN + THOUSANDS + DIVISIONS)
def test_the_first_number_is_read_whole(written, expected):
    answer = extract_answer(f"The answer is {written}.")
    assert answer == (None if expected is None else Decimal(expected))
    if expected is not None:
        assert extract_answer(f"The answer is {written}. Now 2 of 9.", "flexible") == answer


@pytest.mark.parametrize("text", NO_STRICT_ANSWER)
def test_strict_gives_none_without_a_finite_number_in_the_sentence_of_the_cue(text):
    assert extract_answer(text, "strict") is None


def test_strict_is_the_default_mode():
    assert extract_answer("There are 18.") is None
    assert extract_answer("The answer is 18.") == 18


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There are 3 and then 18.", "18"),
        ("#### 18", "18"),
        ("23 - 5 = 18 apples", "18"),
        ("It costs $1,234.50", "1234.50"),
        ("It falls to -5", "-5"),
        ("so x=-5", "-5"),
        ("He is left with 10-4", "4"),
        ("He is left with 10 - 4", "4"),
        ("He is left with 10 -4", "4"),
        ("He is left with 20% - 4", "4"),
        ("He is left with (3 + 7) - 4", "4"),
        ("He is left with $10 - $4", "4"),
        ("It is 3/4", "0.75"),
        ("It is 2 1/2", "2.5"),
        ("18, 19,", "19"),
        ("Version A2 has 7", "7"),
        ("see page7 of 9 x8", "9"),
        ("The answer is unknown. There are 18.", "18"),
        ("The answer is eighteen, 9 and 9", "9"),
        ("The answer is A. 18", "18"),
    ],
)
def test_flexible_falls_back_to_the_last_number(text, expected):
    assert extract_answer(text, "flexible") == Decimal(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is 5.\n- 96 degrees", "96"),
        ("- 96 degrees", "96"),
        ("  * 96 degrees", "96"),
        ("+ 96 degrees", "96"),
        ("• 96 degrees", "96"),
        ("– 96 degrees", "96"),
        ("There are 18.\n4. Then we", "18"),
        ("There are 18.\n  4) Then we", "18"),
        ("There are 18.\n**4.** Then we", "18"),
        ("There are 18.\r\n4. Then we", "18"),
        ("There are 18.\n4. Then 7", "7"),
        ("There are 18.\n4.\n", "4"),
        ("320.", "320"),
        ("We get\n320.", "320"),
        ("We get\n320.\n\nDone", "320"),
        ("We get\n3.5 of them", "3.5"),
        ("We get\n-5", "-5"),
        ("We had 7\n-5", "-5"),
        ("We had 7\n−5 degrees", "-5"),
        ("We had 7\n- 5 degrees", "5"),
        ("There are 3 (4. of them)", "4"),
    ],
)
def test_flexible_counts_no_list_markers(text, expected):
    assert extract_answer(text, "flexible") == Decimal(expected)


@pytest.mark.parametrize("text", ["1. First\n2. Then", "- one\n- two", "4) Then"])
def test_flexible_finds_nothing_in_list_markers_alone(text):
    assert extract_answer(text, "flexible") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is:\n- 18 apples", "18"),
        ("The answer is\n\n * 18 apples", "18"),
        ("The answer is - 18", "-18"),
        ("The answer is: - 18", "-18"),
        ("The answer is:\n-18", "-18"),
    ],
)
def test_a_dash_and_a_space_on_a_new_line_after_the_cue_is_a_bullet(text, expected):
    assert extract_answer(text) == Decimal(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("230 m - 85 m", "85"),
        (r"230 \text{ m} - 85 \text{ m}", "85"),
        ("$10.40 each - $4 off", "4"),
        ("20% of it – 4", "4"),
        ("12 apples −4", "-4"),
        ("12 -4", "4"),
        ("12 - -4", "-4"),
        ("12 apples = - 4", "-4"),
        ("12 apples: − 4", "-4"),
        ("12 apples (- 4)", "-4"),
        ("12 apples (-4)", "-4"),
    ],
)
def test_a_minus_with_a_space_is_an_operator_after_an_operand_with_its_unit(text, expected):
    assert extract_answer(text, "flexible") == Decimal(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so 14 / 25 = 0.56", "0.56"),
        ("so 12 345", "345"),
        ("so 12 345 678", "12345678"),
        (r"so \frac{3}{8} + \frac", "0.375"),
        (r"so \boxed{375000} bolts in 30 days", "30"),
        ("at 10:30", "30"),
        ("so 7 × 10^2", "700"),
        ("so 1 2 3 4", "4"),
        ("so 100 200 300 4", "4"),
        ("so 15\n8/2", "4"),
    ],
)
def test_flexible_takes_the_last_number_whole(text, expected):
    assert extract_answer(text, "flexible") == Decimal(expected)


def test_flexible_prefers_the_strict_answer_to_the_last_number():
    assert extract_answer("The answer is 18. I used 9 and 2.", "flexible") == 18


@pytest.mark.parametrize("text", ["", "no number", "eighteen", "3 then 1e400", "3 then 5/0", "A1", ",,,"])
def test_flexible_gives_none_when_the_last_number_is_none(text):
    assert extract_answer(text, "flexible") is None


@pytest.mark.parametrize(
    "next_question",
    [
        "\n\nQuestion: 7 + 7?",
        "\nQuestion: 7 + 7?",
        " Question: 7 + 7?",
        "Question: 7 + 7?",
        "\n\nQuestion : 7 + 7?",
        "\nquestion: 7 + 7?",
        "\nQUESTION: 7 + 7?",
        "\n  Q: 7 + 7?",
        "\nq: 7 + 7?",
        "\r\n\r\nQuestion: 7 + 7?",
    ],
)
@pytest.mark.parametrize("mode", ["strict", "flexible"])
def test_text_after_an_invented_next_question_never_counts(next_question, mode):
    run_on = next_question + "\nThe answer is 14."
    assert extract_answer("The answer is 18" + run_on, mode) == 18
    assert extract_answer("nothing here" + run_on, mode) is None
    assert extract_answer(run_on.lstrip(), mode) is None


def test_flexible_reads_only_up_to_the_next_question():
    assert extract_answer("That makes 18.\n\nQuestion: 7 + 7?\n7 + 7 = 14", "flexible") == 18


@pytest.mark.parametrize("text", ["To answer the question: the answer is 18.", "If questioned: the answer is 18"])
def test_the_word_question_within_a_sentence_is_no_next_question(text):
    assert extract_answer(text) == 18


@pytest.mark.parametrize("mode", ["Strict", "flexibel", "", "last"])
def test_an_unknown_mode_is_refused_by_name(mode):
    with pytest.raises(InputError, match=r"mode .* is not known"):
        extract_answer("The answer is 18.", mode)


def test_a_misspelt_mode_gets_the_nearest_one():
    with pytest.raises(InputError, match="did you mean 'flexible'"):
        extract_answer("", "flexibel")


@pytest.mark.parametrize("mode", ["strict", "flexible"])
@pytest.mark.parametrize(
    "code",
    [
        "__import__('os').system('touch {path}')",
        "open('{path}', 'w').write('x')",
        "$(touch {path})",
        "(lambda: open('{path}', 'w'))()",
        "exec(\"open('{path}', 'w')\")",
    ],
)
def test_text_is_never_evaluated_as_code(tmp_path, code, mode):
    victim = tmp_path / "evaluated"
    extract_answer(f"The answer is {code.format(path=victim)}", mode)
    parse_number(code.format(path=victim))
    assert not victim.exists()


@pytest.mark.parametrize("text", ["The answer is 9**9**9.", "The answer is 9*2.", "The answer is (9+9)."])
def test_arithmetic_in_the_answer_is_not_worked_out(text):
    assert extract_answer(text) == 9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18", "18"), (" 18 ", "18"), ("18.", "18"), ("18,", "18"), ("$1,234.50", "1234.5"), ("-3", "-3"),
        ("\u22123", "-3"), ("50%", "50"), ("3/4", "0.75"), ("1 1/2", "1.5"), ("**18**", "18"),
        ("1.5e3", "1500"),
    ],
)  # fmt: skip
def test_parse_number_reads_one_number(text, expected):
    assert parse_number(text) == Decimal(expected)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "eighteen", "18 apples", "1 2", "1,2", "10-4", "1e400", "1/0", "0x10", "nan", "inf", "1_000",
        "--3",
    ],
)  # fmt: skip
def test_parse_number_refuses_what_is_not_one_number(text):
    assert parse_number(text) is None


@pytest.mark.parametrize("sign", ["", "-"])
def test_the_longest_number_keeps_every_digit(sign):
    digits = sign + "123456789012345678901234567891"
    assert parse_number(digits) == Decimal(digits)


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("18", "18", True), ("18.00", "18", True), ("1.8E+1", "18", True), ("-0", "0", True),
        ("-18", "18", False), ("18.01", "18", False), (None, "18", False), (None, "0", False),
    ],
)  # fmt: skip
def test_answers_are_compared_as_numbers(answer, gold, expected):
    assert is_correct(Decimal(answer) if answer is not None else None, Decimal(gold)) is expected


@pytest.mark.parametrize("gold", ["-3", "-1234.5"])
def test_a_negative_gold_answer_can_be_right(gold):
    assert is_correct(extract_answer(f"The answer is {gold}."), Decimal(gold))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("18", "18"), ("18.00", "18"), ("18.50", "18.5"), ("1.5E+3", "1500"), ("1E-3", "0.001"),
        ("100", "100"), ("0.00", "0"), ("-2.50", "-2.5"),
    ],
)  # fmt: skip
def test_decimal_text_has_no_exponent_and_no_needless_zeros(value, text):
    assert decimal_text(Decimal(value)) == text


@pytest.mark.parametrize("text", ["-0", "-0.00", "$-0"])
def test_zero_has_no_sign(text):
    assert not parse_number(text).is_signed()


def test_decimal_text_of_no_answer_is_none():
    assert decimal_text(None) is None
