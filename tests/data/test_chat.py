"""A prompt as a conversation, in the tokenizer's own chat template."""

import copy
from typing import Any

import pytest
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from cotlens import LanguageModel
from cotlens.config import PromptConfig
from cotlens.data import VARIANTS, Prompt, make_template
from cotlens.data.prompts import as_chat
from cotlens.errors import InputError

QUESTION = "A cat has 3 kittens and then 4 more. How many kittens has it?"
LAYOUTS = ("turns", "message")

PLAIN = (
    "<|end|>system: You are helpful.\n{% for m in messages %}[{{ m['role'] }}]\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
STRIPPING = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TEMPLATES = {"plain": PLAIN, "stripping": STRIPPING}

each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_variant = pytest.mark.parametrize("variant", list(VARIANTS))
each_template = pytest.mark.parametrize("template", list(TEMPLATES))


@pytest.fixture
def chat(tokenizer: PreTrainedTokenizerFast):
    """The tiny tokenizer with a chat template."""

    def with_template(template: str | None) -> PreTrainedTokenizerFast:
        own = copy.deepcopy(tokenizer)
        own.chat_template = template
        return own

    return with_template


def asked(variant: str, **settings: Any) -> Prompt:
    return make_template(variant, PromptConfig(**settings)).ask(QUESTION)


def parts(prompt: Prompt) -> list[tuple[str, int | None, str]]:
    return [(s.part, s.demonstration, prompt.text[s.start : s.end].strip()) for s in prompt.sections]


def messages(prompt: Prompt) -> list[tuple[str, str]]:
    """What the plain template made of each message."""
    turns = prompt.text.removeprefix("<|end|>system: You are helpful.\n").split("<|end|>\n")
    assert turns.pop() == "[assistant]\n"
    return [tuple(turn.removeprefix("[").split("]\n", 1)) for turn in turns]


@each_template
@each_layout
@each_variant
def test_sections_point_at_the_same_texts_as_before(variant, layout, template, chat):
    before = asked(variant)
    after = as_chat(before, chat(TEMPLATES[template]), layout)
    assert parts(after) == parts(before)
    places = [place for section in after.sections for place in (section.start, section.end)]
    assert places == sorted(places)
    assert after.text.endswith(("[assistant]\n", "<assistant>"))


@pytest.mark.parametrize("variant", [name for name in VARIANTS if not name.startswith("zero_shot")])
def test_in_turns_each_demonstration_is_a_question_and_an_answer(variant, chat):
    plain = asked(variant, shots=3)
    turns = messages(as_chat(plain, chat(PLAIN), "turns"))
    assert [role for role, _ in turns] == ["user", "assistant"] * 3 + ["user"]
    blocks = plain.text.strip().split("\n\n")
    cue = VARIANTS[variant].cue
    for block, (_, question), (_, answer) in zip(blocks[:3], turns[:6:2], turns[1:6:2], strict=True):
        assert f"{question}\n{answer}" == block
        assert question.endswith(f"\n{cue.strip()}")
    assert turns[-1][1] == blocks[3] == f"Question: {QUESTION}\n{cue.strip()}"


@each_variant
def test_in_one_message_the_whole_prompt_is_the_users(variant, chat):
    plain = asked(variant, shots=3)
    assert messages(as_chat(plain, chat(PLAIN), "message")) == [("user", plain.text.strip())]


@each_layout
def test_without_demonstrations_there_is_one_message_either_way(layout, chat):
    turns = messages(as_chat(asked("zero_shot_cot"), chat(PLAIN), layout))
    assert turns == [("user", f"Question: {QUESTION}\nLet's think step by step")]


@each_layout
def test_the_templates_special_tokens_are_not_added_twice(layout, llama, chat):
    tokenizer = chat(PLAIN)
    begin = processors.TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", 0)])
    tokenizer.backend_tokenizer.post_processor = begin
    own = LanguageModel(llama.model, tokenizer)
    prompt = as_chat(asked("cot"), tokenizer, layout)
    assert prompt.special_tokens is False
    ids = own.encode(prompt.text, prompt.special_tokens)
    end = tokenizer.eos_token_id
    assert ids.count(end) == prompt.text.count("<|end|>")
    assert ids[0] == end
    assert ids[1] != end
    assert own.decode(ids) == prompt.text


@pytest.mark.embedded
@each_layout
def test_the_embedded_models_own_template_holds_the_parts(layout, smollm2: LanguageModel):
    before = asked("cot")
    after = as_chat(before, smollm2.tokenizer, layout)
    assert parts(after) == parts(before)
    assert after.text.startswith("<|im_start|>system\n")
    assert after.text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert after.text.count("<|im_start|>user\n") == (9 if layout == "turns" else 1)
    ids = smollm2.encode(after.text, after.special_tokens)
    assert smollm2.decode(ids) == after.text


def test_a_users_own_text_can_be_a_conversation(tmp_path, chat):
    file = tmp_path / "own.txt"
    file.write_text("  Be brief.\n\nQuestion: How many?\nSo 5.\n\nQuestion: And here?\nSo 6.\n\n\n")
    before = make_template(f"file:{file}").ask(QUESTION)
    after = as_chat(before, chat(PLAIN), "turns")
    assert parts(after) == parts(before)
    assert messages(after) == [
        ("user", "Be brief.\n\nQuestion: How many?"),
        ("assistant", "So 5."),
        ("user", "Question: And here?"),
        ("assistant", "So 6."),
        ("user", f"Question: {QUESTION}"),
    ]


# What goes wrong.


@pytest.mark.parametrize("template", [None, ""])
def test_a_tokenizer_without_a_template_is_refused_with_the_remedy(template, chat):
    with pytest.raises(InputError) as caught:
        as_chat(asked("cot"), chat(template), "turns")
    assert str(caught.value) == "the model's tokenizer has no chat template; leave out --chat (prompt.chat)"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ raise_exception('Only\\none message, please') }}", "Only one message, please"),
        ("{% for m in messages %}{{ m['content'] }}", "Unexpected end of template"),
        ("{{ messages[0].nothing.at_all }}", "'dict object' has no attribute 'nothing'"),
    ],
)
def test_a_template_that_refuses_the_messages_is_quoted_in_one_line(template, problem, chat):
    with pytest.raises(InputError) as caught:
        as_chat(asked("cot"), chat(template), "turns")
    assert str(caught.value).startswith(f"the model's chat template refuses these messages: {problem}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}",
        "{% for m in messages %}{{ m['content'] | e }}{% endfor %}",
        "{{ messages[-1]['content'] }}",
        "{% for m in messages | reverse %}{{ m['content'] }}{% endfor %}",
    ],
)
def test_a_template_that_alters_or_drops_texts_is_refused(template, chat):
    with pytest.raises(InputError) as caught:
        as_chat(asked("cot"), chat(template), "turns")
    assert str(caught.value) == ("the model's chat template alters the messages' texts; leave out --chat (prompt.chat)")
