"""A Slurm array by submitit (pip install submitit): N jobs measure, a last one joins their stores and decides.

python submitit_array.py 8 hypotheses/ --attnres-trained my-checkpoint
"""

import subprocess
import sys

import submitit

count = int(sys.argv[1])
given = ["--attnres-device", "cuda", *sys.argv[2:]]  # (auto would be the CPU of a node that has no GPU)
module = [sys.executable, "-m", "attnres_core"]
stores = [f"stores/{number}" for number in range(1, count + 1)]


def measure(number: int) -> None:
    """One job: a part of the plan, into a store of its own; a bundle that failed is its claims' failure later."""
    shard = ["--shard", f"{number}/{count}", "--store", f"stores/{number}"]
    if subprocess.run([*module, "measure", *given, *shard]).returncode > 1:
        raise RuntimeError(f"part {number} could not be measured; its log says why")


def decide() -> int:
    """The last job: the verdicts, with pytest's exit status; the report is in reports/."""
    subprocess.run([*module, "store", "merge", *stores, "--store", ".attnres"], check=True)
    return subprocess.run([sys.executable, "-m", "pytest", *given, "-n", "4"]).returncode


executor = submitit.AutoExecutor(folder="slurm-logs")
executor.update_parameters(gpus_per_node=1, cpus_per_task=4, timeout_min=60)
for job in executor.map_array(measure, range(1, count + 1)):
    job.result()  # raises what the job raised
last = executor.submit(decide)
status = last.result()
print(last.stdout())
sys.exit(status)
