import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cotlens.errors import InputError
from cotlens.model.limits import check_neuron_count, check_token_count, check_token_id, check_top_k
from cotlens.model.source import ModelSource, resolve_model


@pytest.fixture
def source_of(tmp_path: Path) -> Callable[..., ModelSource]:
    def source_of(**settings: object) -> ModelSource:
        (tmp_path / "config.json").write_text(json.dumps(settings))
        (tmp_path / "model.safetensors").write_bytes(b"not read")
        return resolve_model(str(tmp_path))

    return source_of


@pytest.mark.parametrize(
    ("check", "most"),
    [(check_top_k, 48), (check_neuron_count, 144), (check_token_count, 400)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_as_many_as_there_are_and_no_more(
    source_of: Callable[..., ModelSource], check: Callable[[ModelSource, str, int], None], most: int
) -> None:
    source = source_of(num_hidden_layers=3, intermediate_size=48, vocab_size=400)
    check(source, "--count", 1)
    check(source, "--count", most)
    for count in (0, -1, most + 1):
        with pytest.raises(InputError, match=rf"--count {count}: .*so give 1 to {most}"):
            check(source, "--count", count)


def test_ids_end_where_the_vocabulary_does(source_of: Callable[..., ModelSource]) -> None:
    source = source_of(vocab_size=400)
    check_token_id(source, "--token-id", 0)
    check_token_id(source, "--token-id", 399)
    for token_id in (-1, 400):
        with pytest.raises(InputError, match=f"--token-id {token_id}: out of range; .* has 0 to 399"):
            check_token_id(source, "--token-id", token_id)


def test_where_settings_state_no_size_only_what_is_never_right_is_refused(
    source_of: Callable[..., ModelSource],
) -> None:
    source = source_of(model_type="unheard_of")
    for check in (check_top_k, check_neuron_count, check_token_count):
        check(source, "--count", 10**9)
        with pytest.raises(InputError, match="--count 0: give 1 or more"):
            check(source, "--count", 0)
    check_token_id(source, "--token-id", 10**9)
    with pytest.raises(InputError, match="ids begin at 0"):
        check_token_id(source, "--token-id", -1)
