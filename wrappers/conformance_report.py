"""What a check of an env found, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass

from riskenv.wrappers.adapter import Protection


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        code: its stable name.
        words: what was seen, and what would be right.
        problem: whether the layer's promises do not hold with it; False for a remark.

    Example:
        >>> str(Finding("menu", "row 0 trades", problem=False))
        'note menu: row 0 trades'
    """

    code: str
    words: str
    problem: bool = True

    def __str__(self) -> str:
        return f"{'PROBLEM' if self.problem else 'note'} {self.code}: {self.words}"


@dataclass(frozen=True)
class ConformanceReport:
    """What `check_constrained_env` found.

    Attributes:
        protection: how far the layer can protect this env.
        steps: env steps that were watched, those without the layer and those inside it.
        previewed: steps whose trades were known beforehand.
        matched: steps after which the account had changed by just these trades.
        declared: steps on which it changed otherwise as well, as the traits say that it may.
        by_action: action of a menu -> (matched, previewed).
        findings: problems and remarks.
        joint, joint_unchanged: combinations of choices that a mask of slots offered together, and
            how many of them were done unchanged.
        rows, tried, inside: actions of a menu, how many different ones of them were tried at all,
            and how many inside the layer; 0 where there is no menu.

    Example:
        >>> report = ConformanceReport(
        ...     Protection.ENCODE, steps=4, previewed=4, matched=3, declared=0,
        ...     by_action={0: (2, 2), 1: (1, 2)}, findings=(Finding("fill", "half was filled"),),
        ...     rows=3, tried=2, inside=1,
        ... )
        >>> report.share_matched, [finding.code for finding in report.problems]
        (0.75, ['fill'])
        >>> print("\\n".join(str(report).splitlines()[1:]))
        preview matched: 75.0% of 4 actions
          action 1: 1 of 2
        actions of the menu tried: 2 of 3, 1 of them inside the layer; 1 never
        PROBLEM fill: half was filled
        1 problems
    """

    protection: Protection
    steps: int
    previewed: int
    matched: int
    declared: int
    by_action: dict[int, tuple[int, int]]
    findings: tuple[Finding, ...]
    joint: int = 0
    joint_unchanged: int = 0
    rows: int = 0
    tried: int = 0
    inside: int = 0

    @property
    def problems(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.problem)

    @property
    def share_matched(self) -> float:
        """Share of the previewed actions after which the account showed the preview; NaN if none
        was previewed."""
        return self.matched / self.previewed if self.previewed else float("nan")

    def __str__(self) -> str:
        lines = [f"protection {self.protection.words}"]
        if self.previewed:
            lines.append(
                f"preview matched: {self.share_matched:.1%} of {self.previewed:,} actions"
                + (f", {self.declared:,} more with declared changes" if self.declared else "")
            )
        else:
            lines.append(f"preview matched: none known, of {self.steps:,} actions")
        lines += [
            f"  action {action}: {matched:,} of {tried:,}"
            for action, (matched, tried) in sorted(self.by_action.items())
            if matched < tried
        ]
        if self.rows:
            never = self.rows - self.tried
            lines.append(
                f"actions of the menu tried: {self.tried:,} of {self.rows:,}, {self.inside:,} of "
                f"them inside the layer" + (f"; {never:,} never" if never else "")
            )
        if self.joint:
            lines.append(
                f"combinations of what the mask offers, done unchanged: {self.joint_unchanged:,} "
                f"of {self.joint:,}"
            )
        lines += [
            f"{'PROBLEM' if f.problem else 'note'} {f.code}: {f.words}" for f in self.findings
        ]
        lines.append(f"{len(self.problems)} problems" if self.problems else "no problems")
        return "\n".join(lines)
