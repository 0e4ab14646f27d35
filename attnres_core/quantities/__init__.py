"""What can be asked of a model, as data: sites, families, ablations, routing summaries.

Comes in: words (`drop(OLDER, ATTN, LATE)`) and a model's sites. Goes out: frozen quantities and interventions.
Imports nothing of the package. Loads no torch and no scipy.
"""
