"""Which indicators there are: periods, column names and types, how many bars they look back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from hashlib import blake2b

RETURNS = 20
"""Log returns in `volatility_20`, closes in `zscore_20` and `dev_20_pct`."""
PV_WINDOW = 60
SPAN = 200
"""Bars among which the newest 20 or 60 returns must lie; a series with fewer has no volatility."""
VOLUME_COLUMNS = ("volume_ratio", "volume_robust_z")
"""Need the volume baseline; null unless the bars carry its columns (see `baseline`)."""


@dataclass(frozen=True)
class IndicatorParams:
    """Periods in bars; other periods than the usual ones add columns beside them (`rsi=7` adds `rsi_7`)."""

    sma: tuple[int, ...] = (20, 50, 200)
    ema: tuple[int, ...] = (12, 26)
    rsi: int = 14
    macd: tuple[int, int, int] = (12, 26, 9)
    bollinger: tuple[int, float] = (20, 2.0)
    atr: int = 14

    def __post_init__(self) -> None:
        periods = (*self.sma, *self.ema, self.rsi, *self.macd, self.bollinger[0], self.atr)
        if min(periods) < 1 or self.rsi < 2 or self.bollinger[0] < 2:
            raise ValueError(f"indicators: a period must be at least 1 bar (rsi, bollinger 2): {self}")
        if self.macd[0] >= self.macd[1]:
            raise ValueError(f"indicators.macd: the fast period must be below the slow one, not {self.macd}")

    @property
    def smas(self) -> tuple[int, ...]:
        return _with_usual((20, 50, 200), self.sma)

    @property
    def emas(self) -> tuple[int, ...]:
        return _with_usual((12, 26), self.ema)

    @property
    def rsis(self) -> tuple[int, ...]:
        return _with_usual((14,), (self.rsi,))

    @property
    def atrs(self) -> tuple[int, ...]:
        return _with_usual((14,), (self.atr,))

    @property
    def macds(self) -> dict[str, tuple[int, int, int]]:
        """Column suffix -> fast, slow, signal."""
        usual = {"": (12, 26, 9)}
        return usual if self.macd == (12, 26, 9) else usual | {f"_{'_'.join(map(str, self.macd))}": self.macd}

    @property
    def bollingers(self) -> dict[str, tuple[int, float]]:
        """Column suffix -> bars, standard deviations."""
        width, sigmas = self.bollinger
        usual = {"": (20, 2.0)}
        suffix = f"_{width}_{sigmas:g}".replace(".", "_")
        return usual if (width, sigmas) == (20, 2.0) else usual | {suffix: self.bollinger}

    @property
    def warm_up(self) -> int:
        """Bars after which every recursive indicator has a value, so that its state can be carried on."""
        macd = max(slow + signal - 1 for _, slow, signal in self.macds.values())
        return max(*self.emas, *(p + 1 for p in (*self.rsis, *self.atrs)), macd)

    @property
    def lookback(self) -> int:
        """Earlier bars that the first new bar needs."""
        return max(SPAN, *self.smas, self.warm_up, *(width for width, _ in self.bollingers.values()))

    @property
    def digest(self) -> str:
        """Short hash of all periods, for lineage: equal digests mean comparable columns."""
        return blake2b(repr(sorted(asdict(self).items())).encode(), digest_size=6).hexdigest()


def columns(params: IndicatorParams) -> dict[str, str]:
    """Public columns in their order -> DuckDB type; the keys source, symbol, ts come before them."""
    names = [f"sma_{p}" for p in params.smas if p in (20, 50, 200)]
    names += ["ema_12", "ema_26", "rsi_14", "macd", "macd_signal", "macd_hist"]
    names += ["bb_upper", "bb_mid", "bb_lower", "atr_14", "zscore_20", "volatility_20", "volatility_ann"]
    names += ["pv_corr_60", *VOLUME_COLUMNS, "dev_20_pct"]
    extra = [f"sma_{p}" for p in params.smas] + [f"ema_{p}" for p in params.emas]
    extra += [f"rsi_{p}" for p in params.rsis]
    extra += [f"{part}{s}" for s in params.macds for part in ("macd", "macd_signal", "macd_hist")]
    extra += [f"{part}{s}" for s in params.bollingers for part in ("bb_upper", "bb_mid", "bb_lower")]
    extra += [f"atr_{p}" for p in params.atrs]
    return dict.fromkeys([*names, *extra], "DOUBLE")


def hidden_columns(params: IndicatorParams) -> dict[str, str]:
    """State that the next bar needs and no view shows -> DuckDB type."""
    state = {"bars_seen": "BIGINT"}
    for period in params.rsis:
        state |= {f"rsi_{period}_gain": "DOUBLE", f"rsi_{period}_loss": "DOUBLE"}
    for suffix in params.macds:
        state |= {f"macd{suffix}_fast": "DOUBLE"}
    return state


def carried(params: IndicatorParams) -> list[str]:
    """Columns of a stored row that the recursive indicators continue from."""
    public = [f"ema_{p}" for p in params.emas] + [f"atr_{p}" for p in params.atrs]
    public += [f"{part}{s}" for s in params.macds for part in ("macd", "macd_signal")]
    return [*public, *hidden_columns(params)]


def _with_usual(usual: tuple[int, ...], configured: tuple[int, ...]) -> tuple[int, ...]:
    return usual + tuple(sorted(set(configured) - set(usual)))
