"""MEASURE: bundles become stored units, and stored units become columns.

Input: bundles. Output: columns, one number a document, with a record of what was touched. May import `planning`,
`models`, `statistics` and what is below them.
"""
