"""How the checkpoints and prompts that ship were made.

Input: source text, and a recipe. Output: checkpoint folders and prompt files. May import `models` and `prompts`.
"""
