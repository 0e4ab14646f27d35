"""What the decision rule attains where the truth is known: `python -m benchmarks.calibration --help`."""
