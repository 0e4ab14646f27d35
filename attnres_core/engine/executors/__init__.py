"""Who measures the bundles of a run, and where: this machine's processes.

Comes in: bundles. Goes out: stored units, and the bundles that failed with the reason. Imports `engine` and `planning`.
"""
