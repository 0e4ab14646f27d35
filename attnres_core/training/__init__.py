"""How the reference checkpoints and prompts are made from scratch: `corpus`, then `train`."""
