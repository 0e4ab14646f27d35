"""The makers of the checkpoints and prompts that ship.

Input: source text, and a recipe. Output: checkpoint folders and prompt files. May import `models` and `prompts`.
"""
