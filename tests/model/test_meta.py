"""Checkpoints in Meta's layout, written here from random weights and read back.

`meta_logits` is the computation of Meta's code, written anew: rotary embeddings turn neighbouring entries.
"""

import base64
import json
import math
import pickle
import zipfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cotlens import load_model
from cotlens.errors import CotlensError, ModelFormatError
from cotlens.model.load import load_reader, load_tokenizer
from cotlens.model.meta_params import MetaParams, read_params
from cotlens.model.source import resolve_model

DIM, LAYERS, HEADS, WIDTH, VOCABULARY = 32, 2, 4, 48, 400
#: Along which axis each kind of matrix is cut.
CUT = {"wq": 0, "wk": 0, "wv": 0, "wo": 1, "w1": 0, "w3": 0, "w2": 1, "output": 0}
IDS = [11, 250, 3, 77, 77, 140, 9, 201]

Weights = dict[str, Tensor]


def random_weights(kv_heads: int = 2) -> Weights:
    generator = torch.Generator().manual_seed(0)

    def matrix(*shape: int) -> Tensor:
        return 0.3 * torch.randn(shape, generator=generator)

    keys = kv_heads * DIM // HEADS
    weights = {"tok_embeddings.weight": matrix(VOCABULARY, DIM), "norm.weight": 1 + matrix(DIM)}
    weights["output.weight"] = matrix(VOCABULARY, DIM)
    for layer in range(LAYERS):
        shapes = {
            "attention.wq": (DIM, DIM), "attention.wk": (keys, DIM), "attention.wv": (keys, DIM),
            "attention.wo": (DIM, DIM), "feed_forward.w1": (WIDTH, DIM), "feed_forward.w2": (DIM, WIDTH),
            "feed_forward.w3": (WIDTH, DIM),
        }  # fmt: skip
        weights |= {f"layers.{layer}.{name}.weight": matrix(*shape) for name, shape in shapes.items()}
        weights |= {f"layers.{layer}.{name}.weight": 1 + matrix(DIM) for name in ("attention_norm", "ffn_norm")}
    return weights


def slices(name: str, weight: Tensor, shards: int, embeddings_axis: int) -> list[Tensor]:
    kind = name.split(".")[-2]
    axis = embeddings_axis if kind == "tok_embeddings" else CUT.get(kind)
    return [weight] * shards if axis is None else [part.clone() for part in weight.chunk(shards, axis)]


def write_ranks(file: Path, merges: tuple[bytes, ...] = (b"th", b"the", b" the", b" a", b"12")) -> None:
    """A tokenizer as Llama 3 has it: every byte, then joined pairs, each with its rank."""
    tokens = [bytes([byte]) for byte in range(256)] + list(merges)
    file.write_bytes(b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens)))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(
        weights: Weights | None = None, shards: int = 1, embeddings_axis: int = 0, kv_heads: int = 2, **stated: Any
    ) -> Path:
        weights = random_weights(kv_heads) if weights is None else weights
        parts = {name: slices(name, weight, shards, embeddings_axis) for name, weight in weights.items()}
        for rank in range(shards):
            shard = {name: part[rank] for name, part in parts.items()}
            shard["rope.freqs"] = torch.ones(DIM // HEADS // 2)
            torch.save(shard, tmp_path / f"consolidated.{rank:02d}.pth")
        params = {"dim": DIM, "n_layers": LAYERS, "n_heads": HEADS, "vocab_size": VOCABULARY, "norm_eps": 1e-5}
        if kv_heads != HEADS:
            params["n_kv_heads"] = kv_heads
        (tmp_path / "params.json").write_text(json.dumps(params | stated))
        write_ranks(tmp_path / "tokenizer.model")
        return tmp_path

    return write


def frequencies(theta: float, factor: float | None) -> Tensor:
    """Angle per position of each pair; with a factor, long waves are stretched as in Llama 3.1."""
    angles = []
    for pair in range(DIM // HEADS // 2):
        angle = theta ** (-2 * pair / (DIM // HEADS))
        turns = 8192 * angle / (2 * math.pi)  # within the context that Llama 3 was trained with
        if factor is not None:
            smooth = min(max((turns - 1) / (4 - 1), 0), 1)
            angle = (1 - smooth) * angle / factor + smooth * angle
        angles.append(angle)
    return torch.tensor(angles)


def meta_logits(weights: Weights, kv_heads: int, theta: float = 10000.0, factor: float | None = None) -> Tensor:
    def norm(x: Tensor, name: str) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weights[name]

    def turn(x: Tensor) -> Tensor:  # [S, H, head_dim]
        angles = torch.outer(torch.arange(len(IDS)), frequencies(theta, factor))
        as_complex = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(as_complex * torch.polar(torch.ones_like(angles), angles)[:, None]).flatten(-2)

    x = weights["tok_embeddings.weight"][IDS]
    mask = torch.full((len(IDS), len(IDS)), -torch.inf).triu(1)
    for layer in range(LAYERS):

        def linear(x: Tensor, name: str, layer: int = layer) -> Tensor:
            return x @ weights[f"layers.{layer}.{name}.weight"].T

        h = norm(x, f"layers.{layer}.attention_norm.weight")
        q, k, v = (linear(h, f"attention.{name}").unflatten(-1, (-1, DIM // HEADS)) for name in ("wq", "wk", "wv"))
        k, v = (t.repeat_interleave(HEADS // kv_heads, dim=1) for t in (turn(k), v))
        scores = torch.einsum("qhd,khd->hqk", turn(q), k) / math.sqrt(DIM // HEADS) + mask
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).flatten(1)
        x = x + linear(mixed, "attention.wo")
        h = norm(x, f"layers.{layer}.ffn_norm.weight")
        x = x + linear(functional.silu(linear(h, "feed_forward.w1")) * linear(h, "feed_forward.w3"), "feed_forward.w2")
    return norm(x, "norm.weight") @ weights.get("output.weight", weights["tok_embeddings.weight"]).T


def read_logits(folder: Path, **options: Any) -> Tensor:
    lm = load_model(str(folder), device="cpu", **options)
    with torch.inference_mode():
        logits: Tensor = lm.model(torch.tensor([IDS])).logits[0]
    return logits


@pytest.mark.parametrize(
    ("kv_heads", "shards", "embeddings_axis"), [(4, 1, 0), (2, 1, 0), (1, 1, 0), (4, 2, 0), (4, 2, 1), (2, 2, 0)]
)
def test_logits_are_those_of_metas_computation(write, kv_heads: int, shards: int, embeddings_axis: int) -> None:
    weights = random_weights(kv_heads)
    folder = write(weights, shards, embeddings_axis, kv_heads)
    torch.testing.assert_close(read_logits(folder), meta_logits(weights, kv_heads), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("stated", "theta", "factor"),
    [
        ({"rope_theta": 500000.0}, 500000.0, None),
        ({"rope_theta": 500000.0, "use_scaled_rope": True}, 500000.0, 32.0),
        ({"rope_theta": 500000.0, "use_scaled_rope": True, "rope_scaling_factor": 8}, 500000.0, 8.0),
    ],
)
def test_positions_turn_as_stated(write, stated: dict[str, Any], theta: float, factor: float | None) -> None:
    weights = random_weights()
    expected = meta_logits(weights, 2, theta, factor)
    torch.testing.assert_close(read_logits(write(weights, **stated)), expected, rtol=1e-4, atol=1e-4)
    assert not expected.allclose(meta_logits(weights, 2), atol=1e-3)


def test_no_bit_of_a_weight_changes(write) -> None:
    weights = random_weights()
    single = load_model(str(write(weights)), device="cpu").model.state_dict()
    double = load_model(str(write(weights, shards=2)), device="cpu").model.state_dict()
    assert single.keys() == double.keys()
    assert all(tensor.equal(double[name]) for name, tensor in single.items())
    same = {
        "embed_tokens": "tok_embeddings", "norm": "norm", "layers.1.self_attn.v_proj": "layers.1.attention.wv",
        "layers.1.self_attn.o_proj": "layers.1.attention.wo", "layers.1.mlp.gate_proj": "layers.1.feed_forward.w1",
        "layers.1.mlp.up_proj": "layers.1.feed_forward.w3", "layers.1.mlp.down_proj": "layers.1.feed_forward.w2",
        "layers.1.input_layernorm": "layers.1.attention_norm",
        "layers.1.post_attention_layernorm": "layers.1.ffn_norm",
    }  # fmt: skip
    for ours, theirs in same.items():
        assert single[f"model.{ours}.weight"].equal(weights[f"{theirs}.weight"]), ours
    assert single["lm_head.weight"].equal(weights["output.weight"])
    for ours, theirs, heads in (("q_proj", "wq", 4), ("k_proj", "wk", 2)):
        rows = weights[f"layers.0.attention.{theirs}.weight"].view(heads, 8, DIM)
        expected = torch.cat([rows[:, 0::2], rows[:, 1::2]], dim=1).reshape(-1, DIM)
        assert single[f"model.layers.0.self_attn.{ours}.weight"].equal(expected), ours


def test_the_model_is_laid_out_as_the_checkpoint_of_a_llama(write, llama) -> None:
    lm = load_model(str(write(kv_heads=4)), device="cpu")
    assert type(lm.model) is type(llama.model)
    assert lm.model.config._attn_implementation == llama.model.config._attn_implementation
    assert (lm.n_layers, lm.d_ff, lm.d_model) == (LAYERS, WIDTH, DIM)
    assert not lm.model.training
    assert {parameter.device.type for parameter in lm.model.parameters()} == {"cpu"}
    assert {buffer.device.type for buffer in lm.model.buffers()} == {"cpu"}


@pytest.mark.parametrize("device", ["cpu", "sharded"])
def test_the_dtype_is_the_one_asked_for_wherever_the_weights_lie(write, device: str) -> None:
    lm = load_model(str(write()), device=device, dtype="bfloat16")
    assert {parameter.dtype for parameter in lm.model.parameters()} == {torch.bfloat16}
    assert lm.model.config.dtype == torch.bfloat16
    assert lm.model(torch.tensor([IDS])).logits.isfinite().all()


def test_half_precision_shards_become_the_dtype_asked_for(write) -> None:
    halves = {name: weight.bfloat16() for name, weight in random_weights().items()}
    model = load_model(str(write(halves)), device="cpu").model
    assert model.dtype == torch.float32
    assert model.lm_head.weight.equal(halves["output.weight"].float())


def test_without_an_output_matrix_the_embeddings_serve(write) -> None:
    weights = random_weights()
    del weights["output.weight"]
    folder = write(weights)
    torch.testing.assert_close(read_logits(folder), meta_logits(weights, 2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_checkpoint_of_llama_2_with_its_sentencepiece_model(write, shards: int) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    weights = random_weights()
    folder = write(weights, shards, embeddings_axis=1, vocab_size=-1)
    text = resources.files("cotlens.data").joinpath("mini.jsonl").read_text(encoding="utf-8").splitlines()
    with (folder / "tokenizer.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text), model_writer=file, vocab_size=VOCABULARY, model_type="bpe", minloglevel=2,
            byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        )  # fmt: skip
    torch.testing.assert_close(read_logits(folder), meta_logits(weights, 2), rtol=1e-4, atol=1e-4)
    lm = load_model(str(folder), device="cpu")
    text = "A box holds 12 eggs. How many do 3 boxes hold?"
    original = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    assert lm.encode(text) == [original.bos_id(), *original.encode(text)]
    assert lm.offsets(text, lm.encode(text))[1][0] == 0
    assert "".join(text[start:end] for start, end in lm.offsets(text, lm.encode(text))) == text
    assert (lm.stop_ids, lm.context_length, lm.model.config.vocab_size) == ({2}, 4096, VOCABULARY)
    reader = load_reader(resolve_model(str(folder)))
    assert (reader.encode(text), reader.stop_ids, reader.context_length) == (lm.encode(text), lm.stop_ids, 4096)


def test_a_tokenizer_of_another_model_is_refused(write) -> None:
    folder = write(vocab_size=-1)
    with pytest.raises(ModelFormatError, match=r"tokenizer\.model: has 517 tokens, .* weights for 400"):
        load_model(str(folder), device="cpu")


def test_a_file_from_before_zip_archives_is_read(write) -> None:
    weights = random_weights()
    folder = write(weights)
    torch.save(weights, folder / "consolidated.00.pth", _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(folder / "consolidated.00.pth")
    torch.testing.assert_close(read_logits(folder), meta_logits(weights, 2), rtol=1e-4, atol=1e-4)


class Harmful:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.mark), "w"))


@pytest.mark.parametrize("archive", [True, False])
def test_a_shard_that_would_run_code_runs_nothing(write, tmp_path: Path, archive: bool) -> None:
    folder, mark = write(), tmp_path / "ran"
    shard = random_weights() | {"extra": Harmful(mark)}
    torch.save(shard, folder / "consolidated.00.pth", _use_new_zipfile_serialization=archive)
    with pytest.raises(ModelFormatError, match=r"consolidated\.00\.pth: asks to run (io|_io|builtins)\.open"):
        load_model(str(folder), device="cpu")
    assert not mark.exists()


def test_a_bare_pickle_runs_nothing(write, tmp_path: Path) -> None:
    folder, mark = write(), tmp_path / "ran"
    (folder / "consolidated.00.pth").write_bytes(pickle.dumps(Harmful(mark)))
    with pytest.raises(ModelFormatError, match=r"consolidated\.00\.pth"):
        load_model(str(folder), device="cpu")
    assert not mark.exists()


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


def edit(name: str, change: Callable[[Tensor], Tensor | None]) -> Callable[[Path], None]:
    """Damage one weight of the first shard; a change to None removes it."""

    def damage(folder: Path) -> None:
        shard = torch.load(folder / "consolidated.00.pth", weights_only=True)
        changed = change(shard.pop(name))
        torch.save(shard | ({} if changed is None else {name: changed}), folder / "consolidated.00.pth")

    return damage


def spoil(weight: Tensor) -> Tensor:
    weight = weight.clone()
    weight.view(-1)[5] = torch.nan
    return weight


def state(**stated: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "params.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | stated))

    return change


W2 = "layers.1.feed_forward.w2.weight"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "consolidated.00.pth").unlink(), r"consolidated\.00\.pth: missing"),
        (lambda folder: (folder / "consolidated.01.pth").unlink(), r"has shape \[200, 32\] in each of 1 .* missing\?"),
        (lambda folder: shorten(folder / "consolidated.01.pth"), r"consolidated\.01\.pth: damaged"),
        (lambda folder: (folder / "tokenizer.model").unlink(), r"tokenizer\.model: missing"),
        (
            lambda folder: (folder / "tokenizer.model").write_bytes(b""),
            r"tokenizer\.model: neither a sentencepiece|cotlens\[meta\]",
        ),
        (lambda folder: (folder / "params.json").write_text("{"), r"params\.json: can't be read"),
        (lambda folder: (folder / "params.json").write_text("[]"), r"params\.json: expected an object, got list"),
        (lambda folder: (folder / "params.json").write_text('{"dim": 32}'), r"n_heads, n_layers: missing"),
        (state(moe_args={}), r"params\.json: moe_args: not known"),
        (state(dim="wide"), r"params\.json: dim is 'wide', expected a whole number"),
        (state(norm_eps="small"), r"params\.json: norm_eps is 'small', expected a number"),
        (state(dim=33), r"params\.json: dim 33, n_heads 4 and n_kv_heads 2 don't fit"),
        (state(n_layers=3), r"consolidated\.00\.pth: has no layers\.2\.attention\.wk\.weight"),
        (state(n_layers=1), r"consolidated\.00\.pth: layers\.1\.attention\.wk\.weight is not known"),
        (state(n_kv_heads=4), r"consolidated\.00\.pth: layers\.0\.attention\.wk\.weight has shape \[8, 32\]"),
        (state(vocab_size=399), r"tok_embeddings\.weight has shape .* and \[399, 32\] is expected"),
        (state(vocab_size=260), r"tokenizer\.model: 261 tokens leave no room"),
        (edit(W2, spoil), r"consolidated\.00\.pth: layers\.1\.feed_forward\.w2\.weight holds NaN"),
        (edit(W2, lambda weight: None), r"consolidated\.00\.pth: has no layers\.1\.feed_forward\.w2\.weight"),
        (edit(W2, lambda weight: weight[:5]), r"consolidated\.00\.pth: .*w2\.weight has shape \[5, 24\]"),
        (edit(W2, lambda weight: weight.to(torch.int8)), r"holds torch\.int8; quantised"),
        (edit("norm.weight", lambda gain: gain + 1), r"norm\.weight differs between shards"),
        (edit("norm.weight", lambda gain: 3), r"consolidated\.00\.pth: expected tensors by name"),
    ],
)
def test_what_is_missing_or_damaged_is_named(write, damage: Callable[[Path], None], message: str) -> None:
    folder = write(shards=2)
    damage(folder)
    with pytest.raises(CotlensError, match=message) as caught:
        load_model(str(folder), device="cpu")
    assert caught.value.exit_code == 3


def test_the_tokenizer_may_lie_one_folder_up(write, tmp_path: Path) -> None:
    folder = write()
    inner = tmp_path / "7B"
    inner.mkdir()
    for name in ("params.json", "consolidated.00.pth"):
        (folder / name).rename(inner / name)
    assert load_tokenizer(str(inner)).decode(load_tokenizer(str(inner))("the cat")["input_ids"][1:]) == "the cat"


def test_the_source_tells_sizes_without_reading_weights(write) -> None:
    folder = write(shards=2, ffn_dim_multiplier=1.3, multiple_of=16)
    for file in folder.glob("*.pth"):
        file.write_bytes(b"no weights at all")
    source = resolve_model(str(folder))
    assert (source.kind, source.layers()) == ("meta", LAYERS)
    assert source.width() == 112  # 1.3 * (2 * 4 * 32 / 3), rounded up to a multiple of 16


@pytest.mark.parametrize(
    ("params", "width", "context"),
    [
        (MetaParams(dim=4096, n_layers=32, n_heads=32, norm_eps=1e-6), 11008, 2048),
        (MetaParams(dim=4096, n_layers=32, n_heads=32), 11008, 4096),
        (MetaParams(8192, 80, 64, n_kv_heads=8, multiple_of=4096, ffn_dim_multiplier=1.3), 28672, 4096),
        (MetaParams(4096, 32, 32, 8, multiple_of=1024, ffn_dim_multiplier=1.3, rope_theta=5e5), 14336, 8192),
        (MetaParams(2048, 16, 32, 8, ffn_dim_multiplier=1.5, rope_theta=5e5, use_scaled_rope=True), 8192, 131072),
        (MetaParams(dim=4096, n_layers=32, n_heads=32, rope_theta=1e6, max_seq_len=1000), 11008, 1000),
    ],
    ids=["Llama 1 7B", "Llama 2 7B", "Llama 2 70B", "Llama 3 8B", "Llama 3.2 1B", "stated"],
)
def test_sizes_are_those_of_the_published_models(params: MetaParams, width: int, context: int) -> None:
    assert (params.width, params.context_length) == (width, context)


def test_params_of_later_releases_are_wrapped(tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text(json.dumps({"model": {"dim": 64, "n_layers": 1, "n_heads": 2}}))
    assert read_params(tmp_path) == MetaParams(dim=64, n_layers=1, n_heads=2)


def test_the_fingerprint_follows_every_file(write) -> None:
    folder = write(shards=2)
    seen = {resolve_model(str(folder)).fingerprint()["fingerprint"]}
    for name in ("params.json", "consolidated.00.pth", "consolidated.01.pth", "tokenizer.model"):
        file = folder / name
        file.write_bytes(file.read_bytes() + b" ")
        seen.add(resolve_model(str(folder)).fingerprint()["fingerprint"])
    assert len(seen) == 5
