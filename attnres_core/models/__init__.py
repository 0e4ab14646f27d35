"""The dialects of Attention Residuals, behind one small protocol, and how checkpoints of them are loaded."""
