"""What a checkpoint of each backbone looks like: its config's fields, its tensors' names, which dialects it holds.

Input: a config and tensor names. Output: sizes under common names, and a dialect. No torch.
"""
