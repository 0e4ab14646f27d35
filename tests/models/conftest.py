"""What is collected here."""

collect_ignore = ["test_fla.py"]
"""FLA's package changes what transformers does in the same process (which takes its kernels): run it by name, alone."""
