"""The benchmark of the pseudo-label solvers as tables, for the terminal and for the page."""

from __future__ import annotations

from typing import Any

from cce_ray.experiments.provenance import commit_text, hardware_text, versions_text
from cce_ray.experiments.table import Table, markdown

Report = dict[str, Any]


def tables(report: Report) -> list[Table]:
    """The races, one table a (M, λ); the kernel against the machine; the kernel against a plain loop."""
    problems = dict.fromkeys((cell["num_points"], cell["fairness_weight"]) for cell in report["cells"])
    races = [_race_table(report, points, weight) for points, weight in problems]
    return [*races, _kernel_table(report["kernel"]), _plain_table(report["plain_loop"])]


def _race_table(report: Report, num_points: int, weight: float) -> Table:
    """Time to each gap, a row a contender."""
    cells = [
        cell
        for cell in report["cells"]
        if (cell["num_points"], cell["fairness_weight"]) == (num_points, weight)
    ]
    clusters = list(dict.fromkeys(cell["num_clusters"] for cell in cells))
    targets = [arrival["target"] for arrival in cells[0]["arrivals"]]
    headings = [f"K={count}: {short(target)}" for count in clusters for target in targets]
    found = {(cell["contender"], cell["num_clusters"]): cell["arrivals"] for cell in cells}
    rows = []
    for name in dict.fromkeys(cell["contender"] for cell in cells):
        texts: list[str] = []
        for count in clusters:
            arrivals = found.get((name, count))
            texts += map(arrival_text, arrivals) if arrivals else ["not run"] * len(targets)
        rows.append([name, *texts])
    return Table(f"Time to a certified gap, M = {num_points}, λ = {weight:g}", ["contender", *headings], rows)


def _kernel_table(kernel: list[dict[str, Any]]) -> Table:
    """EM iterations a second and what the machine would allow."""
    rows = []
    for rate in kernel:
        limits = [f"{rate['limits'][name]:,.0f}" for name in ("memory", "divisions", "multiply-adds")]
        rows.append(
            [
                f"{rate['num_points']:,}",
                str(rate["num_clusters"]),
                rate["dtype"],
                f"{rate['iterations_per_second']:,.0f}",
                f"{rate['nanoseconds_per_entry']:.2f}",
                *limits,
                rate["binding"],
                f"{100 * rate['fraction']:.0f} %",
            ]
        )
    headings = ["M", "K", "type", "iterations/s", "ns/entry", "memory", "divisions", "multiply-adds"]
    return Table(
        "EM iterations a second on one thread, and what each limit of the machine allows",
        [*headings, "binds", "reached"],
        rows,
    )


def _plain_table(plain: list[dict[str, Any]]) -> Table:
    """One EM iteration as plain loops and by `em`."""
    rows = [
        [
            f"{ratio['num_points']:,}",
            str(ratio["num_clusters"]),
            ratio["dtype"],
            duration(ratio["plain_seconds"]),
            duration(ratio["em_seconds"]),
            f"{ratio['ratio']:.1f}",
        ]
        for ratio in plain
    ]
    headings = ["M", "K", "type", "plain Numba loops", "em", "ratio"]
    return Table("One EM iteration on one thread, λ = 10", headings, rows)


def arrival_text(arrival: dict[str, Any]) -> str:
    """The time, or in parentheses the gap at the time limit."""
    if arrival["status"] == "reached":
        return duration(arrival["seconds"])
    if arrival["gap"] is None:
        return "diverged" if arrival["status"] == "diverged" else "(inf)"
    mark = "" if arrival["status"] == "time limit" else "!"
    return f"({short(arrival['gap'])}{mark})"


def duration(seconds: float) -> str:
    """Seconds in three digits with a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            value = seconds / size
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{1e9 * seconds:.0f} ns"


def short(number: float) -> str:
    """1e-3 and 2.4e-3."""
    mantissa, _, exponent = f"{number:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def notes(report: Report) -> list[str]:
    """How to read the tables."""
    work = report["kernel_work"]
    limit = report["plan"]["budget"]["cell"]
    steps: dict[int, list[str]] = {}
    for cell in report["cells"]:
        if "step" in cell:
            known = steps.setdefault(cell["num_clusters"], [])
            known += [f"{cell['step']:g}"] if f"{cell['step']:g}" not in known else []
    told = "; ".join(f"{', '.join(found)} for K = {count}" for count, found in steps.items())
    return [
        "σ = softmax(N(0,1)), seed 0, float64, uniform prior, objective (11), start y = σ. Every gap is "
        "certified by `cce_ray.pseudo_labels.certificate`.",
        f"A contender stops after about {limit:g} s; in parentheses is the gap it had then, with ! where it "
        "stopped by itself before, or its gap fell by less than 5 % in a sixth of that time. diverged: a "
        "cluster became empty, where (11) is infinite.",
        "Ours: median of whole calls of `estimate_pseudo_labels(..., gap_tolerance=gap)`, their certificates "
        "included. The paper's: iterations only, in one compiled call.",
        "paper's EM: Algorithm 1 with the factor M of (11), a cold Newton on x in every row and iteration. "
        f"paper's PGD: fixed steps η of Table 1 ({told}) on the gradient of (11) at M = 250; at other M a "
        "row moves as far as it would there.",
        f"Limits of the kernel: an entry of y moves {work['moves']} numbers and takes {work['divisions']} "
        f"divisions and {work['multiply-adds']} products and sums (fused ones count once), at the rates that "
        "loops doing nothing else reach here; copies are of the size of the kernel's arrays.",
    ]


def page(report: Report) -> str:
    """The tables as Markdown, below what ran where."""
    facts = report["facts"]
    quick = " --quick" if report["quick"] else ""
    kept = len(report["cells"])
    cut = f" Interrupted: {kept} of {report['races']} races were run." if kept < report["races"] else ""
    parts = [
        "# Pseudo-label solvers",
        f"Rendered by `cce bench pseudo-labels{quick} --output FOLDER` at commit "
        f"{commit_text(facts['commit'])}, {facts['date']}, in {report['seconds']:.0f} s. Hardware: "
        f"{hardware_text(facts)}. {versions_text(facts)}.{cut}",
        "\n".join(f"- {note}" for note in notes(report)),
        "![Gap against time](pseudo_labels.png)",
        *[markdown(table) for table in tables(report)],
    ]
    return "\n\n".join(parts) + "\n"
