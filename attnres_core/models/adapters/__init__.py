"""Other people's models, whose depth mixing is one call.

Input: a torch module and a description of that call. Output: a network like our own. May import `models.networks`,
`models.dialects` and `quantities`.
"""
