"""MEASURE: bundles become stored units, and stored units become columns.

Comes in: bundles. Goes out: columns, one number a document, with a record of what was touched. Imports `planning`,
`models`, `statistics` and what is below them.
"""
