"""Models whose routing can be read and set: from a folder or a hub id to a network that takes interventions.

Comes in: a checkpoint. Goes out: its geometry (without torch) and a model. Imports `quantities` and the ground modules.
"""
