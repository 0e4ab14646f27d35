"""What one CUDA device does, in at most ten minutes: a JSON file, and a line a part as it goes.

benchmarks/gpu.sh                                # installs what is missing, then runs this
python benchmarks/gpu.py --dry-run               # every part on the CPU, at tiny size
python benchmarks/gpu.py --parts map peers       # some of them
python benchmarks/gpu.py --seconds 300           # in half the time

conformance  every conformance checkpoint against its reference numbers, and the fast path against the plain one
map          the published 0.6 B shape (28 layers, random weights): every family at every site, 512 prompts of 128
             tokens, in bfloat16 and float32, with the share of the best dense product of this run, and memory against
             the forecast
peers        some of these drops beside a plain loop with hooks, and nnsight where it is installed
verdicts     the default suite on the device against the verdicts that the CPU gives

A part has a share of the time. The map takes as many prompts as its share holds, which a pilot tells: the JSON says how
many. A part that fails says why, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from architectures import FOLDERS, errors
from engine import loop, needed_flops, with_hooks, with_nnsight

import attnres_core as ac
from attnres_core.engine.plain_path import plain_chunk
from attnres_core.engine.resources import LIBRARIES, keep_freed_memory, need_of, same_kernels_every_time
from attnres_core.engine.sweep import sweep_chunk
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.models.model import AttnResModel
from attnres_core.planning.material import CHUNK
from attnres_core.quantities.intervention import SHAM, Intervention, cells, resolve
from attnres_core.shipped import reference

SHARES = {"conformance": 0.05, "map": 0.45, "peers": 0.1, "verdicts": 0.35}
"""Of the time; what is left is for loading and writing."""
TOLERANCE = 1e-4
"""The largest error of a conformance checkpoint's logits, and between fast and plain effects, in float32."""
MAP = {"prompts": 512, "tokens": 128}
DTYPES = ("bfloat16", "float32")
TRAINED = "tiny-open-block"


@dataclass(frozen=True)
class Run:
    """What is measured on, and how large."""

    device: str
    dry: bool
    seconds: float

    @property
    def shape(self) -> str:
        """The model of the map and of the peers."""
        return "tiny" if self.dry else "0.6B block"

    def share(self, part: str) -> float:
        """A part's time."""
        return SHARES[part] * self.seconds


def synchronised(device: str) -> float:
    """The time, when all that was asked of the device is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(run: Run, work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    start = synchronised(run.device)
    found = work()
    return synchronised(run.device) - start, found


def conformance(run: Run) -> dict[str, Any]:
    """Largest errors, by checkpoint; and between the fast and the plain path on the shipped checkpoint."""
    found: dict[str, Any] = {"checkpoints": {}}
    folders = sorted(own for own in FOLDERS.iterdir() if (own / "expected.safetensors").is_file())
    for folder in folders[: 3 if run.dry else None]:
        _, worst = errors(folder, run.device)
        found["checkpoints"][folder.name] = dict(zip(("logits", "weights", "ablated"), worst, strict=True))
    model = ac.load_model(reference(TRAINED), device=run.device)
    wanted = drops(model)[: 4 if run.dry else 16]
    ids = random_prompts(model, 4, 32)
    fast, plain = sweep_chunk(model, ids, [*wanted, SHAM]), plain_chunk(model, ids, wanted)
    gaps = [np.abs(fast[one.key]["delta_nll"] - plain[one.key]["delta_nll"]).max() for one in wanted]
    found |= {"fast_against_plain": float(max(gaps)), "sham": float(np.abs(fast[SHAM.key]["delta_nll"]).max())}
    worst_logits = max(max(each.values()) for each in found["checkpoints"].values())
    found["passed"] = bool(max(worst_logits, found["fast_against_plain"]) <= TOLERANCE)
    return found


def whole_map(run: Run) -> dict[str, Any]:
    """Time, rate and memory of the map in each dtype."""
    return {dtype: map_in(run, dtype, run.share("map") / len(DTYPES)) for dtype in DTYPES}


def map_in(run: Run, dtype: str, seconds: float) -> dict[str, Any]:
    """The same in one dtype, with as many prompts as its time holds."""
    with tempfile.TemporaryDirectory() as folder:
        written(folder, run.shape)
        checkpoint = inspect_checkpoint(folder)
        need = need_of(checkpoint, dtype)
        loading, model = timed(run, lambda: ac.load_model(folder, device=run.device, dtype=dtype))
    wanted, tokens = drops(model), 16 if run.dry else MAP["tokens"]
    wanted = wanted[:4] if run.dry else wanted
    most = CHUNK if run.dry else MAP["prompts"]
    prompts = random_prompts(model, most, tokens)

    def swept(count: int) -> float:
        def work() -> None:
            for start in range(0, count, CHUNK):
                sweep_chunk(model, prompts[start : start + CHUNK], [*wanted, SHAM])

        return timed(run, work)[0]

    started = time.perf_counter()
    swept(CHUNK)  # (what is done once)
    pilot = swept(CHUNK)
    left = seconds - loading - (time.perf_counter() - started)
    count = max(CHUNK, min(most, int(left / pilot) * CHUNK))
    if run.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    took, peak = swept(count), peak_memory(run)
    flop, best = needed_flops(model, prompts[:count], wanted), dense_rate(run, dtype)
    forecast = need.total + (0 if run.device.startswith("cuda") else LIBRARIES)
    return {
        "parameters": checkpoint.parameters,
        "layers": checkpoint.num_layers,
        "ablations": len(wanted),
        "prompts": count,
        "prompts_asked": most,
        "tokens": tokens,
        "load_seconds": round(loading, 2),
        "sweep_seconds": round(took, 2),
        "map_seconds_at_this_rate": round(took * most / count, 1),
        "tflop_per_second": round(flop / took / 1e12, 3),
        "best_dense_tflop_per_second": round(best / 1e12, 3),
        "share_of_peak": round(flop / took / best, 3),
        "peak_bytes": peak,
        "forecast_bytes": forecast,
        "peak_against_forecast": round(peak / forecast, 2),
    }


def peers(run: Run) -> dict[str, Any]:
    """Some drops by the engine, a plain loop with hooks, and nnsight: seconds, and how far the effects differ."""
    with tempfile.TemporaryDirectory() as folder:
        written(folder, run.shape)
        model = ac.load_model(folder, device=run.device)
    wanted = drops(model)
    wanted = wanted[:: max(1, len(wanted) // (2 if run.dry else 8))]
    ids = random_prompts(model, CHUNK, 16 if run.dry else 64)
    ways: dict[str, Callable[..., Any]] = {"hooks": with_hooks}
    if find_spec("nnsight") is not None:
        ways["nnsight"] = with_nnsight
    sweep_chunk(model, ids, [*wanted, SHAM])  # (what is done once)
    seconds, ours = timed(run, lambda: sweep_chunk(model, ids, [*wanted, SHAM]))
    found: dict[str, Any] = {"drops": len(wanted), "prompts": len(ids), "ours": {"seconds": round(seconds, 3)}}
    with torch.device(run.device):
        for name, way in ways.items():
            ablated = way(model)
            loop(model, ids[:1], wanted[:1], ablated)
            took, told = timed(run, lambda ablated=ablated: loop(model, ids, wanted, ablated))
            gap = max(float(np.abs(ours[one.key]["delta_nll"] - told[one.key]).max()) for one in wanted)
            found[name] = {"seconds": round(took, 3), "against_ours": round(took / seconds, 2), "largest_gap": gap}
    return found


def verdicts(run: Run) -> dict[str, Any]:
    """The default suite's verdicts on the device that differ from those of the CPU, as far as the time went."""
    expected = json.loads((reference(TRAINED) / "expected_verdicts.json").read_text())["claims"]
    with tempfile.TemporaryDirectory() as folder:
        device = "cuda" if run.device.startswith("cuda") else "cpu"
        command = [sys.executable, "-m", "pytest", "hypotheses/", "-n", "0", "-q", "-p", "no:cacheprovider"]
        command += ["--attnres-device", device, "--attnres-store", f"{folder}/store"]
        command += ["--attnres-report", f"{folder}/latest.html"]
        command += ["--attnres-quick", "-k", "embedding_source_is_necessary"] if run.dry else []
        start = time.perf_counter()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=run.share("verdicts"), check=False)
        except subprocess.TimeoutExpired as late:
            return {"finished": False, "seconds": round(late.timeout), "why": "the time for it is over"}
        record = Path(folder) / "latest.json"
        if not record.is_file():  # (a part of a run keeps its record in a folder of its own)
            record = next(iter(sorted(Path(folder).glob("*/latest.json"))), record)
        if not record.is_file():
            return {"finished": False, "why": done.stdout[-2000:] + done.stderr[-2000:]}
        claims = {claim["node_id"]: claim["verdict"] for claim in json.loads(record.read_text())["claims"]}
    told = {name: verdict_of(expected, name) for name in claims}
    return {
        "finished": True,
        "seconds": round(time.perf_counter() - start, 1),
        "claims": len(claims),
        "quick": run.dry,
        "differ": {name: [told[name], own] for name, own in claims.items() if told[name] not in (None, own)},
        "not_expected": sorted(name for name in claims if told[name] is None),
    }


def verdict_of(expected: dict[str, Any], node_id: str) -> str | None:
    """The CPU's verdict on a claim; None: the file has none."""
    found = expected.get(node_id, expected.get(node_id.removeprefix("hypotheses/")))
    return found["verdict"] if isinstance(found, dict) else found


def drops(model: AttnResModel) -> list[Intervention]:
    """Every family at every site of its own: the map."""
    every = [ac.drop(family, site.sublayer, range(site.layer, site.layer + 1)) for site, family in cells(model.sites)]
    return [resolve(what, model.sites, model.num_layers) for what in dict.fromkeys(every)]


def random_prompts(model: AttnResModel, count: int, tokens: int) -> list[list[int]]:
    """Random token ids: time does not depend on them."""
    generator = torch.Generator().manual_seed(0)
    found: list[list[int]] = torch.randint(0, model.network.vocabulary, (count, tokens), generator=generator).tolist()
    return found


def written(folder: str, shape: str) -> None:
    """A checkpoint of random weights; in a process of its own, whose memory is not measured."""
    memory = Path(__file__).with_name("memory.py")
    subprocess.run([sys.executable, memory, "--write", shape, folder], check=True, capture_output=True)


def dense_rate(run: Run, dtype: str) -> float:
    """FLOP/s of the best of a few dense products in this dtype, computed as the engine computes (no TF32)."""
    best = 0.0
    for size in (256, 512) if run.dry else (4096, 8192):
        a = torch.randn(size, size, device=run.device, dtype=getattr(torch, dtype))
        timed(run, lambda a=a: a @ a)
        took, _ = timed(run, lambda a=a: [a @ a for _ in range(10)])
        best = max(best, 10 * 2 * size**3 / took)
    return best


def peak_memory(run: Run) -> int:
    """Bytes at the peak: of the device, or of this process."""
    if run.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


PARTS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "conformance": conformance,
    "map": whole_map,
    "peers": peers,
    "verdicts": verdicts,
}


def main() -> None:
    """Run the parts, print each, write all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="every part on the CPU, at tiny size")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all of them")
    parser.add_argument("--seconds", type=float, default=570.0, help="for all parts together; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="the file; default: %(default)s")
    given = parser.parse_args()
    if not given.dry_run and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device here; --dry-run runs every part on the CPU, at tiny size")
    same_kernels_every_time()
    keep_freed_memory()
    run = Run("cpu" if given.dry_run else "cuda:0", given.dry_run, given.seconds)
    name = platform.processor() or platform.machine() if run.dry else torch.cuda.get_device_name()
    found: dict[str, Any] = {"device": name, "dry_run": run.dry, "torch": torch.__version__, "shape": run.shape}
    failed = False
    for part in given.parts:
        start = time.perf_counter()
        try:
            found[part] = PARTS[part](run)
        except Exception:  # (the other parts are worth their minutes all the same)
            found[part], failed = {"failed": traceback.format_exc()}, True
        found[part]["part_seconds"] = round(time.perf_counter() - start, 1)
        print(f"{part}: {json.dumps(found[part], indent=1)}", flush=True)
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{given.out}: written")
    sys.exit(failed)


if __name__ == "__main__":
    main()
