"""How the reference checkpoints (`corpus`, then `train`) and prompts (`prompts`, `structured`) are made."""
