"""Other people's models, whose depth mixing is one call.

Comes in: a torch module and a description of that call. Goes out: a network like our own. Imports `models.networks`,
`models.dialects` and `quantities`.
"""
