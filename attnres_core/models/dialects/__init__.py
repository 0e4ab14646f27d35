"""When a state becomes a depth source: one schedule a file, without torch.

Input: a number of layers and blocks. Output: sites, and the stream of sources. May import `quantities`.
"""
