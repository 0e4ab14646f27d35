"""Models whose routing can be read and set: from a folder or a hub id to a network that takes interventions.

Input: a checkpoint. Output: its geometry (without torch) and a model. May import `quantities` and the ground modules.
"""
