"""TELL, to people: a record becomes a page, a card, a comparison, a table over seeds.

Comes in: records. Goes out: HTML, Markdown, JSON. Imports `records` and the ground modules.
"""
