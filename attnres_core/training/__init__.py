"""The makers of the checkpoints and prompts that ship, or are fetched.

Input: source text, and a recipe. Output: checkpoint folders and prompt files. May import `models` and `prompts`.
"""
