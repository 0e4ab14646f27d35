"""What a test states: `@claim`, estimates and the statements that comparing them makes.

Comes in: a test's body and its quantities. Goes out: a `Claim`, as data. Imports `quantities` and the ground modules.
"""
