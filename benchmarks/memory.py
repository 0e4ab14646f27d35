"""The memory that measuring takes against what the header promised: one fresh process a shape, peak RSS.

python benchmarks/memory.py            # shapes up to 100 M parameters
python benchmarks/memory.py --large    # and the 0.6 B shape (about 6 GiB, some minutes)
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

# hidden, layers, blocks, feed-forward, vocabulary, mode
SHAPES = {
    "tiny": (128, 12, 4, 384, 4096, "block"),
    "30M full": (512, 8, 4, 1536, 8192, "full"),
    "100M block": (768, 12, 6, 2048, 32000, "block"),
}
INKLING2 = "80M inkling2"  # (about as many weights, most of them experts)
BLOCK = ("tiny", "100M block", "0.6B block")
"""Shapes that the plain loop of engine.py can run."""
LARGE = {"0.6B block": (1024, 28, 8, 3072, 151936, "block")}


def write_checkpoint(folder: Path, shape: tuple[int, int, int, int, int, str], **options: str) -> None:
    """A checkpoint of random weights; `options` are those of `save_pretrained`."""
    import torch

    from attnres_core.models.dialects.open_block import OpenBlock
    from attnres_core.models.dialects.open_full import OpenFull
    from attnres_core.models.networks.qwen3 import Qwen3AttnResConfig, Qwen3AttnResForCausalLM

    hidden, layers, blocks, feed, vocabulary, mode = shape
    config = Qwen3AttnResConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=max(1, hidden // 128),
        head_dim=64,
        intermediate_size=feed,
        tie_word_embeddings=True,
        attnres_mode=mode,
        attnres_num_blocks=blocks,
        attnres_gate_type="bias",
    )
    dialect = {"block": OpenBlock, "full": OpenFull}[mode](layers, blocks)
    torch.manual_seed(0)
    Qwen3AttnResForCausalLM(config, dialect).save_pretrained(folder, **options)


def write_inkling2(folder: Path) -> None:
    """An inkling2 checkpoint of random weights, under the names that `save_pretrained` gives."""
    import torch
    from transformers.models.inkling2.configuration_inkling2 import Inkling2TextConfig
    from transformers.models.inkling2.modeling_inkling2 import Inkling2ForCausalLM

    config = Inkling2TextConfig(
        vocab_size=16384,
        unpadded_vocab_size=16384,
        hidden_size=512,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=64,
        swa_num_attention_heads=8,
        swa_num_key_value_heads=2,
        swa_head_dim=64,
        moe_intermediate_size=256,
        n_routed_experts=12,
        num_experts_per_tok=4,
        n_layers_per_attn_res_block=3,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    Inkling2ForCausalLM(config).save_pretrained(folder)


def measure_one(folder: Path) -> None:
    """In a fresh process: sweep one chunk of prompts under as many ablations as a bundle holds."""
    import torch

    import attnres_core as ac
    from attnres_core.engine.resources import LIBRARIES, need_of
    from attnres_core.planning.bundles import GROUP
    from attnres_core.planning.material import CHUNK, REFERENCE_PROMPTS
    from attnres_core.prompts import WINDOW
    from attnres_core.quantities.intervention import cells

    libraries = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    model = ac.load_model(folder)
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    places = [(site, family) for site, family in cells(model.sites) if site.sublayer is not ac.FINAL]
    every = [ac.drop(family, site.sublayer, range(site.layer, site.layer + 1)) for site, family in places]
    drops = list(dict.fromkeys(what for what in every if what.family in (ac.EMBEDDING, ac.CURRENT)))[:GROUP]
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(0, model.network.vocabulary, (CHUNK, WINDOW), generator=generator).tolist()
    ac.measure(model, prompts, drops)
    dropped = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    reference = torch.randint(0, model.network.vocabulary, (REFERENCE_PROMPTS, WINDOW)).tolist()
    others = [make(ac.CURRENT, ac.MLP, range(0, 1)) for make in (ac.mean, ac.resample)]
    ac.measure(model, prompts, [*drops[:4], *others], reference=reference)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    need = need_of(model.checkpoint, "float32")
    figures = {"need": need.total + LIBRARIES, "libraries": libraries, "loaded": loaded, "dropped": dropped}
    figures |= {"peak": peak, "weights and batch": libraries + need.weights + need.batch}
    print(json.dumps(figures | {"promise": str(need)}))


def loop_one(folder: Path) -> None:
    """In a fresh process: the same prompts by a plain loop with hooks, one full forward an ablation, all logits."""
    import torch
    from engine import loop, with_hooks

    import attnres_core as ac
    from attnres_core.planning.material import CHUNK
    from attnres_core.planning.requests import resolved
    from attnres_core.prompts import WINDOW

    model = ac.load_model(folder)
    drops = [ac.drop(ac.CURRENT, ac.MLP, range(layer, layer + 1)) for layer in (0, 1)]
    wanted = [intervention for what in drops for intervention in resolved(what, model.checkpoint).check().interventions]
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(0, model.network.vocabulary, (CHUNK, WINDOW), generator=generator).tolist()
    loop(model, prompts, wanted, with_hooks(model))
    print(json.dumps({"loop": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def main() -> None:
    """Measure every shape and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="also the 0.6 B shape")
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--loop", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        if arguments.write[0] == INKLING2:
            write_inkling2(Path(arguments.write[1]))
        else:
            write_checkpoint(Path(arguments.write[1]), (SHAPES | LARGE)[arguments.write[0]])
        return
    if arguments.one:
        measure_one(arguments.one)
        return
    if arguments.loop:
        loop_one(arguments.loop)
        return
    print("MiB: peak of drops alone, and with kinds that take from 64 reference prompts; against what was promised")
    head = f"{'shape':<12} {'libraries':>10} {'loaded':>8} {'drops':>8} {'all':>8} {'need':>8} {'all/need':>9}"
    print(f"{head} {'drops/(libraries + weights + a batch)':>38} {'plain loop':>11}")
    for name in (*SHAPES, INKLING2, *(LARGE if arguments.large else ())):
        with tempfile.TemporaryDirectory() as folder:
            # In processes of their own: a child's peak starts from what its parent holds.
            subprocess.run([sys.executable, __file__, "--write", name, folder], check=True, capture_output=True)
            found = {"loop": 0.0}
            for way in ("--one", "--loop") if name in BLOCK else ("--one",):
                command = [sys.executable, __file__, way, folder]
                found |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        sizes = [found[key] / 2**20 for key in ("libraries", "loaded", "dropped", "peak", "need")]
        print(f"{name:<12} {sizes[0]:>10.0f} " + " ".join(f"{size:>8.0f}" for size in sizes[1:]), end="")
        print(f" {found['peak'] / found['need']:>9.2f} {found['dropped'] / found['weights and batch']:>38.2f}", end="")
        print(f" {found['loop'] / 2**20:>11.0f}" if found["loop"] else f" {'-':>11}", end="")
        print(f"   {found['promise']}", flush=True)


if __name__ == "__main__":
    main()
