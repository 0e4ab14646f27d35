"""How many data sets a run draws, at which levels and sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from attnres_core.claims.claim import ALPHA


@dataclass(frozen=True)
class Options:
    """Of a full run, as benchmarks/CALIBRATION.md has it. Pairs go with the two levels."""

    sets: tuple[int, int] = (4000, 16000)
    """Simulated data sets a row."""
    real_sets: tuple[int, int] = (1000, 4000)
    """Data sets a real column."""
    suites: int = 10000
    """Suites of 40 claims."""
    rare_sets: int = 40000
    """Data sets a cell of the rare effects."""
    power_sets: int = 128
    """Data sets a row of the power table."""
    early_sets: int = 16
    """Data sets a real column that may end early."""
    replays: int = 4
    """Sets of documents for the shipped suite."""
    correlations: int = 600
    """Data sets a row of the correlations over sites."""
    picks_sets: int = 12000
    """Runs a row of the picks."""
    whole: int = 64
    """Data sets a row that are bootstrapped whatever Student's t says."""
    alphas: tuple[float, float] = (0.025, ALPHA / 40)
    shipped_alpha: float = ALPHA / 128
    """Of each shipped claim."""
    sizes: tuple[int, ...] = (64, 256)
    """Documents."""
    long: bool = False
    """Whether all sizes and rates are printed."""
    every: bool = False
    """Whether every data set is bootstrapped."""
    quick: bool = False
    """Whether columns are made up, so that no model is needed."""

    def times(self, factor: float) -> Options:
        """The same with so many times as many data sets (at least two)."""

        def many(count: int) -> int:
            return max(2, round(count * factor))

        return replace(
            self,
            sets=(many(self.sets[0]), many(self.sets[1])),
            real_sets=(many(self.real_sets[0]), many(self.real_sets[1])),
            suites=many(self.suites),
            rare_sets=many(self.rare_sets),
            power_sets=many(self.power_sets),
            early_sets=many(self.early_sets),
            replays=many(self.replays),
            correlations=many(self.correlations),
            picks_sets=many(self.picks_sets),
        )


ALL_SIZES = (16, 32, 64, 128, 256, 512, 1024)
QUICK = Options(
    sets=(40, 40),
    real_sets=(10, 10),
    suites=10,
    rare_sets=40,
    power_sets=4,
    early_sets=2,
    correlations=4,
    picks_sets=48,
    whole=2,
    alphas=(0.05, 0.025),
    shipped_alpha=0.025,
    sizes=(64,),
    quick=True,
)
