"""The whole map of tiny-open-block, measured in several ways in one run; ratios, a JSON file and a markdown table.

python benchmarks/engine.py                     # ours, the plain loop with hooks, the FLOP limit: 256 prompts
python benchmarks/engine.py --peers             # also nnsight and pyvene, where they are installed
python benchmarks/engine.py --prompts 64        # quicker; ratios hardly depend on it
python benchmarks/engine.py workers             # the default suite, cold and warm, with -n 0, 1, 2 and 4
python benchmarks/engine.py cost                # cost per further ablation, and as prompts grow
python benchmarks/engine.py compiled            # torch.compile against eager
python benchmarks/engine.py suite --quick       # the default suite, cold, against a plain loop over its claims
python benchmarks/engine.py kinds               # what each kind of ablation costs, against drop and the plain path

(a) plain loop: the model as one writes it down (sources stacked, softmax, einsum), a forward hook on a site's softmax,
    one full forward per ablation in batches of 16 prompts, all logits, cross-entropy and KL.
(b) nnsight, (c) pyvene: the same model and batches, the weights changed through their interface.
(d) the FLOP limit: the FLOPs needed with resume and scored positions only, over the best dense product of this run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import attnres_core as ac
from attnres_core.engine.resources import keep_freed_memory
from attnres_core.engine.sweep import sweep_chunk, validated
from attnres_core.exploration.pathway_map import map_quantities
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.decoder import Inputs
from attnres_core.planning.material import CHUNK
from attnres_core.planning.requests import resolved
from attnres_core.quantities.intervention import SHAM, Intervention, resolve
from attnres_core.quantities.vocabulary import Role, Sublayer
from attnres_core.shipped import reference_prompts

Measured = dict[str, np.ndarray]


class Gate(nn.Module):
    """The depth softmax of one site: the place where others hook in."""

    def forward(self, logits: Tensor) -> Tensor:
        return torch.softmax(logits, dim=0)


class WrittenDown(nn.Module):
    """open_block as a paper's appendix has it, around the same layers: what a peer would load and hook."""

    def __init__(self, model: AttnResModel) -> None:
        super().__init__()
        self.network = model.network
        self.blocks = model.checkpoint.dialect.layers_per_block
        self.gates = nn.ModuleList(Gate() for _ in model.sites)

    def forward(self, ids: Tensor) -> Tensor:
        body = self.network.model
        inputs: Inputs = self.network.prepare(ids)
        current = body.embed_tokens(ids)
        completed = [current]
        gates = iter(self.gates)
        for index, layer in enumerate(body.layers):
            for sublayer in (Sublayer.ATTN, Sublayer.MLP):
                if sublayer is Sublayer.ATTN and index and index % self.blocks == 0:
                    completed.append(current)
                stacked = torch.stack([*completed, current])  # (source, batch, pos, d)
                keys = getattr(layer, f"{sublayer}_res_norm")(stacked)
                logits = keys @ getattr(layer, f"{sublayer}_res_proj").weight[0]
                logits = torch.cat([logits[:-1], logits[-1:] + getattr(layer, f"{sublayer}_res_bias")])
                mixture = torch.einsum("sbp,sbpd->bpd", next(gates)(logits), stacked)
                current = current + layer.write(sublayer, (mixture,), inputs)
        return self.network.lm_head(body.norm(current))


def without(weights: Tensor, dropped: Sequence[int]) -> Tensor:
    """Weights with some sources masked and the rest renormalised."""
    kept = torch.ones(len(weights), 1, 1)
    kept[list(dropped)] = 0
    weights = weights * kept
    return weights / weights.sum(0)


def batches(ids: list[list[int]]) -> list[list[list[int]]]:
    return [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]


def padded(ids: list[list[int]]) -> tuple[Tensor, Tensor]:
    width = max(map(len, ids))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    scored = torch.tensor([[pos < len(row) - 1 for pos in range(width)] for row in ids])
    return tokens, scored


def scores(clean: Tensor, ablated: Tensor, tokens: Tensor, scored: Tensor) -> tuple[Tensor, Tensor]:
    """NLL rise and KL per prompt from all logits."""
    log_p, log_q = clean.log_softmax(-1), ablated.log_softmax(-1)
    target = tokens.roll(-1, 1)[..., None]
    rise = (log_p.gather(-1, target) - log_q.gather(-1, target))[..., 0]
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    share = scored / scored.sum(1, keepdim=True)
    return (rise * share).sum(1), (kl * share).sum(1)


def loop(
    model: AttnResModel, ids: list[list[int]], wanted: Sequence[Intervention], ablated: Callable[..., Tensor]
) -> Measured:
    """One full forward per ablation and batch; `ablated(tokens, site index, dropped)` gives all logits."""
    written = ablated.written  # type: ignore[attr-defined]
    places = {site: index for index, site in enumerate(model.sites)}
    found: dict[str, list[Tensor]] = {intervention.key: [] for intervention in wanted}
    for batch in batches(ids):
        tokens, scored = padded(batch)
        with torch.inference_mode():
            clean = written(tokens)
        for intervention in wanted:
            ((site, dropped),) = intervention.touched
            with torch.inference_mode():
                found[intervention.key].append(scores(clean, ablated(tokens, places[site], dropped), tokens, scored)[0])
    return {key: torch.cat(parts).cpu().numpy() for key, parts in found.items()}


def with_hooks(model: AttnResModel) -> Callable[..., Tensor]:
    written = WrittenDown(model)

    def ablated(tokens: Tensor, place: int, dropped: Sequence[int]) -> Tensor:
        handle = written.gates[place].register_forward_hook(lambda module, given, output: without(output, dropped))
        try:
            return written(tokens)
        finally:
            handle.remove()

    ablated.written = written  # type: ignore[attr-defined]
    return ablated


def with_nnsight(model: AttnResModel) -> Callable[..., Tensor]:
    from nnsight import NNsight

    written = WrittenDown(model)
    traced = NNsight(written)

    def ablated(tokens: Tensor, place: int, dropped: Sequence[int]) -> Tensor:
        with traced.trace(tokens):
            gate = traced.gates[place]
            gate.output = without(gate.output, dropped)
            logits = traced.output.save()
        return logits

    ablated.written = written  # type: ignore[attr-defined]
    return ablated


def with_pyvene(model: AttnResModel) -> Callable[..., Tensor]:
    import pyvene

    written = WrittenDown(model)
    written.config = model.network.config  # (pyvene asks for one)

    def ablated(tokens: Tensor, place: int, dropped: Sequence[int]) -> Tensor:
        spec = {"component": f"gates[{place}].output", "intervention": lambda base, *_: without(base, dropped)}
        change = pyvene.IntervenableModel(spec, model=written)
        return change({"ids": tokens})[1]

    ablated.written = written  # type: ignore[attr-defined]
    return ablated


def ours(model: AttnResModel, ids: list[list[int]], wanted: Sequence[Intervention]) -> Measured:
    found = [sweep_chunk(model, batch, [*wanted, SHAM]) for batch in batches(ids)]
    return {i.key: np.concatenate([units[i.key]["delta_nll"] for units in found]) for i in wanted}


def needed_flops(model: AttnResModel, ids: list[list[int]], wanted: Sequence[Intervention]) -> float:
    """Of the dense products: layers from each resume on, causal attention, scored logits; 2 a multiply-add."""
    c, tokens = model.network.config, sum(map(len, ids))
    heads, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    layer = 2 * c.hidden_size * (2 * heads + 2 * kv + 3 * c.intermediate_size) * tokens
    layer += sum(2 * len(row) * (len(row) + 1) * heads for row in ids)  # scores and values, half of the square
    layers = c.num_hidden_layers + sum(c.num_hidden_layers - intervention.first_layer for intervention in wanted)
    logits = 2 * c.hidden_size * c.vocab_size * sum(len(row) - 1 for row in ids) * (len(wanted) + 1)
    return layers * layer + logits


def dense_rate(seconds: float = 1.0) -> float:
    """FLOP/s of the best of a few dense float32 products, on this run's threads."""
    best = 0.0
    for m, k, n in ((1024, 1024, 1024), (4096, 128, 384), (4096, 512, 512)):
        a, b = torch.randn(m, k), torch.randn(k, n)
        for _ in range(3):
            a @ b
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            a @ b
            count += 1
        best = max(best, 2 * m * k * n * count / (time.perf_counter() - start))
    return best


def timed(run: Callable[[], Measured]) -> tuple[float, Measured]:
    start = time.perf_counter()
    found = run()
    return time.perf_counter() - start, found


def engine(arguments: argparse.Namespace) -> dict[str, object]:
    """The map, by every way."""
    keep_freed_memory()
    model, ids, wanted = material(arguments.prompts)
    ways: dict[str, Callable[[], Measured]] = {"ours": lambda: ours(model, ids, wanted)}
    ways["(a) plain loop with hooks"] = lambda: loop(model, ids, wanted, with_hooks(model))
    if arguments.peers:
        ways["(b) nnsight"] = lambda: loop(model, ids, wanted, with_nnsight(model))
        ways["(c) pyvene"] = lambda: loop(model, ids, wanted, with_pyvene(model))
    ours(model, ids[:CHUNK], wanted[:4])  # warm up
    rates = [dense_rate()]
    times: dict[str, float] = {}
    results: dict[str, Measured] = {}
    for name, run in ways.items():
        try:
            times[name], results[name] = timed(run)
        except Exception as error:  # a peer that is missing or cannot express it
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        print(f"{name}: {times[name]:.1f} s", file=sys.stderr, flush=True)
        worst = max(float(np.abs(results[name][key] - results["ours"][key]).max()) for key in results["ours"])
        if worst > 1e-4:
            raise SystemExit(f"{name} disagrees with ours by {worst:.1g}: they do not measure the same")
    rates.append(dense_rate())
    flops = needed_flops(model, ids, wanted)
    times["(d) FLOP limit"] = flops / max(rates)
    return {
        "ablations": len(wanted),
        "prompts": len(ids),
        "GFLOP": flops / 1e9,
        "dense GFLOP/s": [rate / 1e9 for rate in rates],
        "seconds": times,
        "ratio to ours": {name: seconds / times["ours"] for name, seconds in times.items()},
    }


def material(count: int) -> tuple[AttnResModel, list[list[int]], list[Intervention]]:
    model = ac.load_model(ac.reference("tiny-open-block"))
    prompts = ac.load_prompts(reference_prompts()).part(ac.prompts.Split.EXPLORATION)
    asked = map_quantities(model.checkpoint, Role.TRAINED)
    wanted = [i for quantity in asked for i in resolved(quantity, model.checkpoint).check().interventions]
    return model, validated(model, prompts)[:count], wanted


def cost(arguments: argparse.Namespace) -> dict[str, object]:
    """Seconds for k ablations of 32 prompts, and for all of them as prompts grow."""
    keep_freed_memory()
    model, ids, wanted = material(128)
    spread = sorted(wanted, key=lambda i: hash(i.key))  # resume points mixed
    ours(model, ids[:CHUNK], wanted[:4])
    by_count = {k: timed(lambda k=k: ours(model, ids[:32], spread[:k]))[0] for k in (1, 10, 20, 40, 78)}
    by_prompts = {n: timed(lambda n=n: ours(model, ids[:n], wanted))[0] for n in (16, 32, 64, 128)}
    return {"seconds by ablations, 32 prompts": by_count, "seconds by prompts, all 78 ablations": by_prompts}


def compiled(arguments: argparse.Namespace) -> dict[str, object]:
    """Eager against torch.compile of every sublayer (dynamic shapes), 32 prompts; the first compiled run apart."""
    keep_freed_memory()
    model, ids, wanted = material(32)
    ours(model, ids[:CHUNK], wanted[:4])
    eager, expected = timed(lambda: ours(model, ids, wanted))
    torch._dynamo.config.cache_size_limit = 256
    for layer in model.network.model.layers:
        layer.write = torch.compile(layer.write, dynamic=True)
    first, _ = timed(lambda: ours(model, ids, wanted))
    later, found = timed(lambda: ours(model, ids, wanted))
    worst = max(float(np.abs(found[key] - expected[key]).max()) for key in expected)
    return {"eager": eager, "compiled, first run": first, "compiled, later": later, "largest difference": worst}


def workers(arguments: argparse.Namespace) -> dict[str, object]:
    """Wall time of the default suite from an empty store and again, by number of workers.

    The second time nothing is measured: it is start-up, judging and the report, and the difference is measuring.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in ("0", "1", "2", "4"):
            store = Path(folder) / count
            command = [sys.executable, "-m", "pytest", "hypotheses/", "-q", "-n", count, "-p", "no:cacheprovider"]
            command += [f"--attnres-store={store}", f"--attnres-report={store}/report.html"]
            command += ["--attnres-quick"] if arguments.quick else []
            for state in ("cold", "warm"):
                start = time.perf_counter()
                subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
                found[f"-n {count}, {state}"] = time.perf_counter() - start
                print(f"-n {count}, {state}: {found[f'-n {count}, {state}']:.1f} s", file=sys.stderr, flush=True)
            shutil.rmtree(store)
    measuring = {count: found[f"-n {count}, cold"] - found[f"-n {count}, warm"] for count in ("0", "1", "2", "4")}
    against = {f"-n {count}": seconds / measuring["0"] for count, seconds in measuring.items()}
    return {"seconds": found, "cold less warm": measuring, "cold less warm, against -n 0": against}


def suite(arguments: argparse.Namespace) -> dict[str, object]:
    """The default suite from an empty store, at once and look by look, against a plain loop over its claims.

    The loop decides every claim by itself: for each model it speaks of one clean run, for each ablation one full
    forward with a hook, all logits, on the confirmation prompts. What picks need on the exploration prompts, the check
    against float32, fits of constants and everything but forward passes is left out of the loop and counted for the
    suite. CPU seconds, since both are one process on one thread.
    """
    keep_freed_memory()
    model, ids, wanted = material(64)
    start = time.process_time()
    loop(model, ids, wanted[::13], with_hooks(model))
    per_row = (time.process_time() - start) / ((len(wanted[::13]) + 1) * len(ids))
    taken, record = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        ways = {"at once": [], "look by look": ["--attnres-sequential"]}
        for name, options in list(ways.items())[: 1 if arguments.quick else 2]:
            store = Path(folder) / name.replace(" ", "-")
            command = [sys.executable, "-m", "pytest", "hypotheses/", "-q", "-n", "0", "-p", "no:cacheprovider"]
            command += [f"--attnres-store={store}", f"--attnres-report={store}/report.html", *options]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            taken[name] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            if not options:
                record = json.loads((store / "report.json").read_text())
    columns = {column["name"]: column for column in record["columns"]}
    rows = 0
    for claim in record["claims"]:
        own = [columns[name] for name in claim["quantities"] if name in columns]
        rows += record["settings"]["prompts"]["confirmation"] * (
            len({column["role"] for column in own}) + sum(column["runs"] for column in own)
        )
    loop_seconds = rows * per_row
    return {
        "plain loop: rows": rows,
        "plain loop: ms a row": 1000 * per_row,
        "plain loop: seconds": loop_seconds,
        "suite, cold: seconds": taken,
        "ratio": {name: loop_seconds / seconds for name, seconds in taken.items()},
    }


def kinds(arguments: argparse.Namespace) -> dict[str, object]:
    """Seconds for every layer's MLP site ablated alone, over 32 prompts, by kind; draws are one.

    CPU seconds. What a fit of constants takes is told beside; so is the clean run, which gives `turn`, and what it adds
    to a drop to measure how far its reads lie from clean ones.
    """
    from attnres_core.engine.plain_path import plain_chunk
    from attnres_core.models.networks.fitting import fit
    from attnres_core.models.networks.reference_states import Reference
    from attnres_core.prompts import Pairs

    keep_freed_memory()
    model, ids, _ = material(96)
    reference = Reference(
        model.network, ids[32:], lambda own: torch.zeros(len(own.filled), model.checkpoint.size("hidden_size"))
    )
    family = (ac.CURRENT, ac.MLP)
    made = {str(what.kind): what for what in (ac.drop(*family), ac.zero(*family), ac.mean(*family), ac.keep(*family))}
    made |= {"resample": ac.resample(*family, draws=1), "amplify": ac.amplify(*family, by=1.0)}
    made |= {
        "zero, recomputed": ac.zero(*family, recomputed=True),
        "mean, recomputed": ac.mean(*family, recomputed=True),
    }
    made |= {str(what.kind): what for what in (ac.uniform(ac.MLP), ac.average(ac.MLP), ac.shuffle(ac.MLP))}
    made |= {"schedule": ac.schedule(ac.MLP), "matched mass": ac.matched_mass(ac.drop(*family))}
    made |= {"matched count": ac.matched_count(ac.drop(*family))}
    made |= {"matched mass, resample": ac.matched_mass(ac.resample(*family, draws=1))}
    made |= {"drop, via the read-out": ac.drop(*family, via=ac.FINAL)}
    made |= {"drop, via attention": ac.drop(*family, via=ac.reads(ac.ANY, ac.ATTN))}
    made |= {"drop, via all": ac.drop(*family, via=ac.reads(ac.ANY, ac.ALL_SITES))}
    made |= {
        "sharpen": ac.sharpen(ac.MLP, by=2),
        "keep_wired": ac.keep_wired(2, ac.MLP),
        "keep_top": ac.keep_top(2, ac.MLP),
    }
    made |= {"permute": ac.permute(ac.MLP), "permute, keeping current": ac.permute(ac.MLP, keeping=ac.CURRENT)}
    made |= {f"interchange, {part}": ac.interchange(*family, part=part) for part in (ac.STATES, ac.WEIGHTS)}
    made |= {"optimal": ac.optimal(*family)}
    optimal = made["optimal"]
    made = {name: what for name, what in made.items() if name in (arguments.kinds or made)}
    fast, plain = {}, {}
    first, *_, last = resolve(optimal, model.sites, model.num_layers).by_layer()
    fits = {}
    for site in (first, last):
        start = time.process_time()
        fit(model.network, ids, range(len(ids)), site, "zero")
        fits[site.sites[0]] = time.process_time() - start
    for name, what in made.items():
        split = resolve(what, model.sites, model.num_layers).by_layer()
        sweep_chunk(model, ids[:4], split[:2], reference=reference, pairs=Pairs(swapped(ids[:4])))
        start = time.process_time()
        for batch in batches(ids[:32]):
            sweep_chunk(model, batch, split, reference=reference, pairs=Pairs(swapped(batch)))
        middle = time.process_time()
        plain_chunk(model, ids[:CHUNK], split, reference, pairs=Pairs(swapped(ids[:CHUNK])))
        fast[name], plain[name] = middle - start, time.process_time() - middle
    start = time.process_time()
    for batch in batches(ids[:32]):
        sweep_chunk(model, batch, [])
    clean = time.process_time() - start
    start = time.process_time()
    for batch in batches(ids[:32]):
        sweep_chunk(model, batch, resolve(ac.drop(*family), model.sites, model.num_layers).by_layer(), distances=True)
    measured_distances = time.process_time() - start
    return {
        "seconds": fast,
        "turn (the clean run alone), against drop": clean / fast["drop"],
        "drop with the distances of its reads, against drop": measured_distances / fast["drop"],
        "one fit of one site's constants, from one start, 96 prompts: seconds": fits,
        "against drop": {name: seconds / fast["drop"] for name, seconds in fast.items()},
        "faster than the plain path": {name: 2 * plain[name] / fast[name] for name in fast},
    }


def swapped(ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Donors for what costs the same whatever they say: another token in the middle of each prompt."""
    return [[*row[: len(row) // 2], (row[len(row) // 2] + 1) % 1000, *row[len(row) // 2 + 1 :]] for row in ids]


PARTS = {
    "engine": engine,
    "cost": cost,
    "compiled": compiled,
    "workers": workers,
    "suite": suite,
    "kinds": kinds,
}


def main() -> None:
    """Run one part; its JSON goes to --out and the standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=PARTS, default="engine")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--peers", action="store_true", help="also nnsight and pyvene (pip install nnsight pyvene)")
    parser.add_argument("--quick", action="store_true", help="workers: 64 prompts a split; suite: at once alone")
    parser.add_argument("--kinds", nargs="+", metavar="NAME", help="kinds: these alone, drop among them")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    arguments = parser.parse_args()
    where = {"cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads(), "machine": platform.machine()}
    found = {"part": arguments.part, **where, "torch": torch.__version__, **PARTS[arguments.part](arguments)}
    text = json.dumps(found, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
