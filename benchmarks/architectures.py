"""Errors against every conformance checkpoint's reference numbers: the table of docs/architectures.md.

python benchmarks/architectures.py [FOLDER OF CONFORMANCE CHECKPOINTS]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import attnres_core as ac
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.overrides import Overrides
from attnres_core.quantities.intervention import Intervention, resolve

FOLDERS = Path(__file__).parents[1] / "fixtures/conformance"


def touched(model: AttnResModel, entry: dict[str, Any]) -> Intervention:
    """A reference ablation, by the sources that it names, or by its family and layers."""
    if "sources" not in entry:
        first, last = entry["layers"]
        asked = ac.drop(entry["family"], entry["sublayer"], range(first, last + 1))
        return resolve(asked, model.sites, model.num_layers)
    sites = {str(site): site for site in model.sites}
    return Intervention("drop", tuple((sites[name], tuple(indices)) for name, indices in entry["sources"].items()))


def errors(folder: Path, device: str = "cpu") -> tuple[AttnResModel, list[float]]:
    """The checkpoint, and the largest absolute errors of logits, depth weights and ablated logits on a device."""
    about = json.loads((folder / "ablations.json").read_text())
    expected = load_file(folder / "expected.safetensors", device=device)
    given = {"wrap": about.get("recency_bias"), "num_blocks": about.get("num_blocks")}
    model = ac.load_model(folder, **given, device=device)
    network, ids, mask = model.network, expected["input_ids"], expected["attention_mask"]
    real = mask.bool()
    tokens, places = [row[own].tolist() for row, own in zip(ids, real, strict=True)], (mask.cumsum(-1) - 1).clamp(min=0)

    def ablated(entry: dict[str, Any]) -> torch.Tensor:
        overrides = Overrides([touched(model, entry)], tokens, places)
        with torch.inference_mode():
            return network.unembed(network.run(network.begin(ids), network.prepare(ids, mask), overrides=overrides))

    weights = {str(site): own for site, own in model.depth_weights(ids, mask).items()}
    pairs = {
        "logits": [(model.logits(ids, mask)[real], expected["logits"][real])],
        "weights": [
            (weights[key.removeprefix("weights.")][:, real], value[:, real])
            for key, value in expected.items()
            if key.startswith("weights.")
        ],
        "ablated": [
            (ablated(entry)[real], expected[f"ablated.{index}.logits"][real])
            for index, entry in enumerate(about["ablations"])
        ],
    }
    return model, [max(float((ours - theirs).abs().max()) for ours, theirs in each) for each in pairs.values()]


def row(folder: Path) -> str:
    """One row: backbone, schedule, and the errors."""
    model, worst = errors(folder)
    cells = (model.checkpoint.backbone.name, f"`{model.dialect}`", f"`{folder.name}`", *(f"{e:.0e}" for e in worst))
    return f"| {' | '.join(cells)} |"


def main() -> None:
    folders = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDERS
    print("| backbone | schedule | checkpoint | logits | depth weights | ablated logits |\n|---|---|---|---|---|---|")
    for folder in sorted(folders.iterdir()):
        if (folder / "expected.safetensors").is_file():
            print(row(folder), flush=True)


if __name__ == "__main__":
    main()
