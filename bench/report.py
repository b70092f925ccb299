"""Figures as a table, or as JSON for a program."""

import json
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured figure, its floor or peer of the same run, and what it may be.

    Attributes:
        what: what was measured.
        unit: of all numbers in the row.
        value: ours.
        floor: the floor or peer; None where nothing compares.
        budget: the most that it may be, in `unit`; None without one.
    """

    what: str
    unit: str
    value: float
    floor: float | None = None
    budget: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours over the floor."""
        return self.value / self.floor if self.floor else None


def show(figures: list[Figure], *, as_json: bool) -> None:
    """Print the figures.

    Args:
        figures: in the order of printing.
        as_json: one JSON document instead of a table.
    """
    if as_json:
        print(
            json.dumps([asdict(figure) | {"ratio": figure.ratio} for figure in figures], indent=2)
        )
        return
    table = Table(title="Everloop", title_justify="left")
    table.add_column("what", overflow="fold")
    for name in ("unit", "ours", "floor", "ratio", "budget", ""):
        table.add_column(name, justify="right")
    for figure in figures:
        within = figure.budget is None or figure.value <= figure.budget
        table.add_row(
            figure.what,
            figure.unit,
            _number(figure.value),
            _number(figure.floor),
            _number(figure.ratio),
            _number(figure.budget),
            "" if within else "over",
        )
    Console(width=120).print(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"
