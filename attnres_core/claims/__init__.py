"""The statements of a test: `@claim`, estimates and the statements that comparing them makes.

Input: a test's body and its quantities. Output: a `Claim`, as data. May import `quantities` and the ground modules.
"""
