"""Settings and tiny models that all tests share. Nothing here needs a network."""

import importlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

_SHAPED = ["cotlens.model", "cotlens.capture", "cotlens.discover", "cotlens.project", "cotlens.intervene"]

# Shapes in signatures are checked whenever a test calls the function; users don't pay for that.
with install_import_hook(_SHAPED, "beartype.beartype"):
    for module in (*_SHAPED, "cotlens.model.shared_prefix", "cotlens.intervene.edits"):
        importlib.import_module(module)
    from cotlens import LanguageModel, load_model

settings.register_profile("cotlens", derandomize=True, database=None, deadline=None)
settings.load_profile("cotlens")

VOCABULARY = 400
_SHARED = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
_LLAMA_LIKE = _SHARED | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}

CONFIGS: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_LLAMA_LIKE),
    "qwen2": lambda: Qwen2Config(**_LLAMA_LIKE),
    # The window is shorter than the test prompts; two layers slide and one sees everything.
    "gemma3": lambda: Gemma3TextConfig(
        **_LLAMA_LIKE | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16},
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "gpt2": lambda: GPT2Config(**_SHARED, n_embd=32, n_inner=48, n_layer=3, n_head=4, n_positions=2048),
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the bundled problems; its end token is id 0, and it has no padding token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = resources.files("cotlens.data").joinpath("mini.jsonl").read_text(encoding="utf-8")
    bpe.train_from_iterator(text.splitlines(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>")


def make_model(architecture: str, tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> LanguageModel:
    """A random model of three layers, its weights spread wide enough for varied text and its norms' gains uneven."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[architecture]())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(mean=1.0 if "norm" in name or ".ln_" in name else 0.0, std=0.2)
    return LanguageModel(model, tokenizer, name=f"tiny-{architecture}")


@pytest.fixture(scope="session", params=sorted(CONFIGS))
def lm(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    """One tiny model per architecture; tests that change it must change it back."""
    return make_model(request.param, tokenizer)


@pytest.fixture(scope="session")
def llama(tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    return make_model("llama", tokenizer)


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory, llama: LanguageModel) -> Path:
    """The tiny Llama as a checkpoint on disk."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    llama.model.save_pretrained(folder)
    llama.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def smollm2() -> LanguageModel:
    """The embedded model, converted on its first use."""
    return load_model("smollm2-135m", device="cpu")


@pytest.fixture
def prompts() -> tuple[str, ...]:
    """Four prompts of different lengths with a common beginning."""
    return (
        "Question: A box holds 12 pens. How many pens do 3 boxes hold?\nLet's think step by step\n",
        "Question: A box holds 12 eggs and 2 break.\nLet's think step by step\n",
        "Question: A box holds",
        "Question: A box holds 7 red balls, 4 blue balls and 19 green ones, and Ben takes the green ones. How many?\n",
    )
