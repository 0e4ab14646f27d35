"""A Slurm array by submitit (pip install submitit): measure in N jobs, join their stores, decide here.

python submitit_array.py 8 hypotheses/ --attnres-trained my-checkpoint
"""

import subprocess
import sys

import submitit

count, given = int(sys.argv[1]), sys.argv[2:]
module = [sys.executable, "-m", "attnres_core"]


def measure(number: int) -> None:
    """One job: a part of the plan, into a store of its own; a bundle that failed is its claims' failure later."""
    shard = ["--shard", f"{number}/{count}", "--store", f"stores/{number}"]
    if subprocess.run([*module, "measure", *given, *shard]).returncode > 1:
        raise RuntimeError(f"part {number} could not be measured; its log says why")


executor = submitit.AutoExecutor(folder="slurm-logs")
executor.update_parameters(gpus_per_node=1, cpus_per_task=4, timeout_min=60)
for job in executor.map_array(measure, range(1, count + 1)):
    job.result()  # raises what the job raised
stores = [f"stores/{number}" for number in range(1, count + 1)]
subprocess.run([*module, "store", "merge", *stores, "--store", ".attnres"], check=True)
sys.exit(subprocess.run([sys.executable, "-m", "pytest", *given, "-n", "4"]).returncode)
