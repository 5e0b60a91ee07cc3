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
    BloomConfig,
    CohereConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    Glm4Config,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    HyperCLOVAXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SiglipVisionConfig,
    StableLmConfig,
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
#: Shorter than the test prompts.
_WINDOW = {"sliding_window": 16}
_LAYER_TYPES = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
_GEMMA = _LLAMA_LIKE | _WINDOW | _LAYER_TYPES | {"head_dim": 8, "query_pre_attn_scalar": 8}
_FALCON = _SHARED | {"hidden_size": 32, "ffn_hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
_OPT = _SHARED | {
    "hidden_size": 32,
    "ffn_dim": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "word_embed_proj_dim": 32,
    "max_position_embeddings": 2048,
}

#: The models that most tests run on.
CONFIGS: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_LLAMA_LIKE),
    "qwen2": lambda: Qwen2Config(**_LLAMA_LIKE),
    # Two layers slide and one sees everything.
    "gemma3": lambda: Gemma3TextConfig(**_GEMMA),
    "gpt2": lambda: GPT2Config(**_SHARED, n_embd=32, n_inner=48, n_layer=3, n_head=4, n_positions=2048),
}

#: Every architecture that is supported, and what differs within it; the conformance tests run on each.
ARCHITECTURES: dict[str, Callable[[], PretrainedConfig]] = CONFIGS | {
    "llama-tied-biased": lambda: LlamaConfig(
        **_LLAMA_LIKE, mlp_bias=True, attention_bias=True, tie_word_embeddings=True
    ),
    "mistral": lambda: MistralConfig(**_LLAMA_LIKE | _WINDOW),
    "qwen2-window": lambda: Qwen2Config(**_LLAMA_LIKE | _WINDOW | _LAYER_TYPES, use_sliding_window=True),
    "qwen3": lambda: Qwen3Config(**_LLAMA_LIKE, head_dim=8),
    "gemma2": lambda: Gemma2Config(**_GEMMA, attn_logit_softcapping=2.0, final_logit_softcapping=5.0),
    "gemma3-images": lambda: Gemma3Config(
        text_config=Gemma3TextConfig(**_GEMMA),
        vision_config=SiglipVisionConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4
        ),
        mm_tokens_per_image=4,
        image_token_index=399,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    ),
    "phi3": lambda: Phi3Config(**_LLAMA_LIKE | _WINDOW),
    "olmo2": lambda: Olmo2Config(**_LLAMA_LIKE),
    "glm4": lambda: Glm4Config(**_LLAMA_LIKE, head_dim=8),
    "stablelm": lambda: StableLmConfig(**_LLAMA_LIKE),
    "stablelm-parallel": lambda: StableLmConfig(**_LLAMA_LIKE, use_parallel_residual=True, qk_layernorm=True),
    "cohere": lambda: CohereConfig(**_LLAMA_LIKE, logit_scale=0.3),
    "granite": lambda: GraniteConfig(
        **_LLAMA_LIKE, residual_multiplier=0.4, logits_scaling=4.0, embedding_multiplier=3.0, attention_multiplier=0.2
    ),
    # Multiplies with the number that Granite divides by.
    "hyperclovax": lambda: HyperCLOVAXConfig(**_LLAMA_LIKE, residual_multiplier=0.4, logits_scaling=4.0),
    "gpt_neox": lambda: GPTNeoXConfig(**_LLAMA_LIKE),
    "gpt_neox-tied": lambda: GPTNeoXConfig(**_LLAMA_LIKE, use_parallel_residual=False, tie_word_embeddings=True),
    "opt": lambda: OPTConfig(**_OPT),
    # As OPT-350m: norms after the sums, and embeddings narrower than the stream.
    "opt-350m": lambda: OPTConfig(**_OPT | {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "falcon": lambda: FalconConfig(**_FALCON),
    "falcon-grouped": lambda: FalconConfig(**_FALCON, new_decoder_architecture=True, num_kv_heads=2, bias=True),
    "falcon-alibi": lambda: FalconConfig(**_FALCON, alibi=True, multi_query=False, parallel_attn=False, bias=True),
    "bloom": lambda: BloomConfig(**_SHARED, hidden_size=32, n_layer=3, n_head=4),
}


#: What multiplies feed-forward outputs when they join the residual stream, and logits; of all others neither does.
MULTIPLIERS = {"tiny-cohere": (1.0, 0.3), "tiny-granite": (0.4, 0.25), "tiny-hyperclovax": (0.4, 4.0)}


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


#: Standard deviation of the entries of matrices, where another would make all texts alike.
_SPREAD = {"opt-350m": 0.1}
#: For the same reason.
_SEEDS = {"bloom": 5, "falcon-grouped": 2, "gemma2": 2, "olmo2": 2, "opt-350m": 1}


def make_model(architecture: str, tokenizer: PreTrainedTokenizerFast, seed: int | None = None) -> LanguageModel:
    """A random model of three layers, which writes varied text that depends on all of its prompt.

    Layers weigh more than embeddings, so that with tied embeddings a token does not predict itself, and biases weigh
    little, so that they do not decide alone. Gains of norms are uneven.
    """
    torch.manual_seed(_SEEDS.get(architecture, 0) if seed is None else seed)
    model = AutoModelForCausalLM.from_config(ARCHITECTURES[architecture]())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.05)
            elif "norm" in name or ".ln_" in name:
                parameter.normal_(mean=1.0, std=0.3)
            elif any(part in name for part in ("emb", "wte", "wpe")):
                parameter.normal_(std=0.1)
            else:
                parameter.normal_(std=_SPREAD.get(architecture, 0.4))
    return LanguageModel(model, tokenizer, name=f"tiny-{architecture}")


@pytest.fixture(scope="session", params=sorted(CONFIGS))
def lm(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    """One tiny model per architecture; tests that change it must change it back."""
    return make_model(request.param, tokenizer)


@pytest.fixture(scope="session", params=sorted(ARCHITECTURES))
def any_lm(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    """One tiny model for everything that the conformance tests cover; tests that change it must change it back."""
    return make_model(request.param, tokenizer)


@pytest.fixture
def make_lm(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], LanguageModel]:
    """Makes a tiny model of an architecture that the test may change."""
    return lambda architecture: make_model(architecture, tokenizer)


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
