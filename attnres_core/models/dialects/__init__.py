"""When a state becomes a depth source: one schedule a file, without torch.

Comes in: a number of layers and blocks. Goes out: sites and the stream of sources. Imports `quantities`.
"""
