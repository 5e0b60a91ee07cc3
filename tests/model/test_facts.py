"""What a model's settings tell before anything is loaded."""

import re
from collections.abc import Iterator
from pathlib import Path

import gguf
import pytest
import transformers
from transformers import (
    DbrxConfig,
    FalconMambaConfig,
    Gemma3Config,
    GPT2Config,
    GraniteConfig,
    Llama4Config,
    LlamaConfig,
    MambaConfig,
    MixtralConfig,
    PretrainedConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    Qwen3NextConfig,
    RecurrentGemmaConfig,
    RwkvConfig,
    T5Config,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, model_type_to_module_name
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from cotlens.errors import ModelFormatError
from cotlens.model.facts import check_facts, config_facts, gguf_facts, why_refused
from cotlens.model.source import resolve_model

#: Their own settings leave the number of experts out, or switch them off: they may be dense.
DENSE_UNLESS_STATED = {"dots1", "gemma4", "gemma4_text", "hunyuan_v1_moe"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MixtralConfig(), r"a mixture of 8 experts \(mixtral\), which is not supported yet; give a dense model"),
        (Qwen3MoeConfig(), "a mixture of 128 experts"),
        (DbrxConfig(ffn_config={"moe_num_experts": 16}), "a mixture of 16 experts"),
        (Llama4Config(), "a mixture of 16 experts"),
        (MambaConfig(), r"a model with a recurrent state \(mamba\); give one whose layers all attend"),
        (FalconMambaConfig(), "a recurrent state"),
        (RecurrentGemmaConfig(), "a recurrent state"),
        (RwkvConfig(), "a recurrent state"),
        (Qwen3NextConfig(num_experts=0), "a recurrent state"),
        (T5Config(), "an encoder-decoder model"),
    ],
    ids=lambda value: value.model_type if isinstance(value, PretrainedConfig) else "",
)
def test_a_model_of_another_kind_is_refused_by_its_settings(
    tmp_path: Path, config: PretrainedConfig, message: str
) -> None:
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not read")
    for weights in (True, False):
        with pytest.raises(ModelFormatError, match=message):
            resolve_model(str(tmp_path), weights=weights)


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(), Qwen3Config(), GPT2Config(), Gemma3Config(), GraniteConfig(),
        {"model_type": "doge", "is_moe": False, "num_experts": 16384},
        {"model_type": "hunyuan_v1_moe", "num_experts": 1},
    ],
    ids=lambda config: config["model_type"] if isinstance(config, dict) else config.model_type,
)  # fmt: skip
def test_a_dense_model_is_not(config: PretrainedConfig | dict[str, object]) -> None:
    check_facts("dense", config_facts(config if isinstance(config, dict) else config.to_dict()))


def of_other_kinds() -> Iterator[str]:
    """The causal architectures that the installed transformers computes with experts or a recurrent state."""
    models = Path(transformers.__file__).parent / "models"
    for kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        files = (models / model_type_to_module_name(kind)).glob("modeling_*.py")
        code = "".join(file.read_text(encoding="utf-8") for file in files)
        if re.search(r"_is_stateful = True|self\.experts\b", code):
            yield kind


def test_every_such_architecture_of_transformers_is_known_by_its_settings() -> None:
    kinds = [kind for kind in of_other_kinds() if kind not in DENSE_UNLESS_STATED]
    assert len(kinds) > 30
    assert not [kind for kind in kinds if why_refused(config_facts(CONFIG_MAPPING[kind]().to_dict())) is None]


@pytest.mark.parametrize(
    ("kind", "key", "value", "message"),
    [
        ("llama", "llama.expert_count", 8, "a mixture of 8 experts"),
        ("llama", "llama.expert_count", 0, None),
        ("mamba", "mamba.ssm.state_size", 16, "a recurrent state"),
        ("rwkv6", "rwkv6.wkv.head_size", 64, "a recurrent state"),
        ("t5", "t5.block_count", 2, "an encoder-decoder model"),
    ],
)
def test_the_head_of_a_gguf_file_tells_it_too(
    tmp_path: Path, kind: str, key: str, value: int, message: str | None
) -> None:
    file = tmp_path / "head.gguf"
    writer = gguf.GGUFWriter(file, kind)
    writer.add_uint32(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    if message is None:
        assert why_refused(gguf_facts(file)) is None
        assert resolve_model(str(file)).kind == "gguf"
    else:
        with pytest.raises(ModelFormatError, match=message):
            resolve_model(str(file))
