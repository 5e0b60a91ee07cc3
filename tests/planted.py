"""A tiny Llama with known reasoning neurons, for tests of everything that claims to find them.

The model says one sentence for ever: ``step so + step so + ...``. After ``step`` and after ``+`` the next word follows
from the embedding alone. After the cue ``so`` it is ``+``, and that is the work of the planted neurons only: they read
a direction that no other token's embedding has, and their value vectors lie along a direction that the unembedding rows
of words for addition share and that nothing else writes to. One of them does so with a negative coefficient and a
value vector that points the other way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cotlens import LanguageModel
from cotlens.types import SignedNeuron

CUE = "so"
SENTENCE = ("step", CUE, "+")
#: Seeds of the bundled concept of addition, and none of another concept.
ADDITION = (
    "+",
    "plus",
    "add",
    "addition",
    "sum",
    "total",
    "together",
    "combined",
    "additional",
    "adds",
    "added",
    "sums",
)
#: Of other concepts two seeds each: enough to be asked for, too few to be confirmed.
OTHERS = ("minus", "less", "times", "twice", "half", "split", "same", "equal")
PLANTED = (SignedNeuron(1, 5, 1), SignedNeuron(2, 17, -1), SignedNeuron(2, 40, 1), SignedNeuron(3, 9, 1))

_FILLERS = 900
_D, _F, _LAYERS = 128, 64, 4


#: What to let the model say in the place of ``+``, for its answers to be right where the planted neurons work.
ANSWER = "\nThe answer is 7.\n"


@dataclass(frozen=True)
class Planted:
    """The model, and what was planted in it."""

    lm: LanguageModel
    neurons: tuple[SignedNeuron, ...]
    cue: int
    addition: tuple[int, ...]
    """Token ids of the words for addition; ``+`` comes first."""

    def sentence(self, repeats: int = 2) -> list[int]:
        """Token ids of what the model says."""
        return [self.id(word) for word in SENTENCE * repeats]

    def id(self, word: str) -> int:
        [token] = self.lm.encode(word)
        return token


def plant(seed: int = 0, said: str = "+") -> Planted:
    """Build the model; different seeds give different random parts. ``said`` is how the token ``+`` reads."""
    tokenizer = _make_tokenizer(said)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=_D,
        intermediate_size=_F,
        num_hidden_layers=_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    ids = {word: tokenizer.convert_tokens_to_ids(word.replace("+", said)) for word in (*SENTENCE, *ADDITION)}
    with torch.no_grad():
        _fill(model, ids)
    lm = LanguageModel(model, tokenizer, name="planted")
    return Planted(lm, PLANTED, ids[CUE], tuple(ids[word] for word in ADDITION))


def _make_tokenizer(said: str) -> PreTrainedTokenizerFast:
    words = ["<end>", "<unknown>", *SENTENCE[:2], said, *ADDITION[1:], *OTHERS, *(f"word{n}" for n in range(_FILLERS))]
    whole_words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unknown>"))
    whole_words.pre_tokenizer = pre_tokenizers.Whitespace()
    whole_words.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=whole_words, eos_token="<end>", unk_token="<unknown>")


def _fill(model: LlamaForCausalLM, ids: dict[str, int]) -> None:
    cue, plus, after_step, after_plus = torch.linalg.qr(torch.randn(_D, 4)).Q.T  # orthogonal directions of length 1

    def elsewhere(rows: Tensor) -> Tensor:
        """Without any part along the two directions that the planted neurons read and write."""
        return rows - (rows @ cue)[:, None] * cue - (rows @ plus)[:, None] * plus

    for parameter in model.parameters():
        if parameter.ndim == 1:  # gains of norms
            parameter.normal_(1.0, 0.05)
        else:
            parameter.normal_(0.0, 0.02)
    embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
    embedding.copy_(elsewhere(torch.randn_like(embedding) * 0.3))
    embedding[ids[CUE]] = 4 * cue
    embedding[ids["step"]] = 4 * after_step
    embedding[ids["+"]] = 4 * after_plus
    head.copy_(elsewhere(torch.randn_like(head) * 0.03))
    for place, word in enumerate(ADDITION):
        head[ids[word]] += (1.0 - 0.03 * place) * plus
    head[ids[CUE]] += after_step
    head[ids["step"]] += after_plus

    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.copy_(elsewhere(layer.self_attn.o_proj.weight.T).T)
        layer.mlp.down_proj.weight.copy_(elsewhere(layer.mlp.down_proj.weight.T).T)
        layer.mlp.gate_proj.weight.copy_(elsewhere(layer.mlp.gate_proj.weight))
        layer.mlp.up_proj.weight.copy_(elsewhere(layer.mlp.up_proj.weight))
    # What they write is short beside the embedding: more of it would leave less of the cue to the later ones, after the
    # norm that comes before each block.
    for neuron in PLANTED:
        mlp = model.model.layers[neuron.layer].mlp
        mlp.gate_proj.weight[neuron.neuron] = 0.3 * cue
        mlp.up_proj.weight[neuron.neuron] = neuron.sign * 0.15 * cue
        mlp.down_proj.weight[:, neuron.neuron] = neuron.sign * 0.15 * plus
