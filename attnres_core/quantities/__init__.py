"""What can be asked of a model, as data: sites, families, kinds of ablation, metrics, routing summaries.

Input: words (`drop(OLDER, ATTN, LATE)`) and a model's sites. Output: frozen quantities and interventions. May import
the ground modules alone. Loads no torch and no scipy.
"""
