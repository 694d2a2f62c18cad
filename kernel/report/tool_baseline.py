"""db.baseline --from as text and as JSON: which file is which record of the other tool, and what was proven."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.migrations.tool_matches import MatchedBy, Proof
from kernel.report.json_documents import file_documents
from kernel.report.safe_text import show_hidden_characters
from kernel.units import format_quantity

if TYPE_CHECKING:
    from kernel.migrations.tool_matches import FileMatch
    from kernel.operations.tool_baseline import ToolBaseline


def tool_baseline_text(baseline: ToolBaseline, *, dry_run: bool) -> str:
    """A line for each file: its name, the record of the other tool, what was proven; then a summary."""
    matches, tool = baseline.matches, baseline.ledger.format
    rows = [(one.migration.filename, *_record_and_remark(one, baseline)) for one in matches.files]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    lines = [f"{name.ljust(widths[0])}  {record.ljust(widths[1])}  {remark}" for name, record, remark in rows]
    done = "would be recorded as applied" if dry_run else "recorded as applied, not run"
    summary = (
        f"{format_quantity(len(matches.applied), 'file')} {done}, by {show_hidden_characters(baseline.ledger.name)}"
    )
    if pending := len(matches.files) - len(matches.applied):
        summary += f"; {format_quantity(pending, 'file')} pending"
    lines.append(summary)
    if unproven := sum(one.proof is Proof.NOT_KEPT for one in matches.files):
        kept = f"the {tool.proof} of {'it' if unproven == 1 else 'them'}" if tool.proof else "checksums"
        what = f"{format_quantity(unproven, 'file')} {'is' if unproven == 1 else 'are'} what was applied"
        lines.append(f"not proven: that {what}; {tool.name} has not kept {kept}")
    lines += [
        f"warning: {one.filename}: pending, and before applied files; run it with: inv db.migrate --allow-out-of-order"
        for one in matches.out_of_order
    ]
    return "\n".join(lines)


def _record_and_remark(one: FileMatch, baseline: ToolBaseline) -> tuple[str, str]:
    """The record in the words of the tool, and what is known of the file."""
    if one.record is None:
        return "-", "pending"
    tool = baseline.ledger.format
    by_order = one.matched_by is MatchedBy.ORDER
    label = show_hidden_characters(one.record.label)
    record = f"before {label}" if by_order else label
    match one.proof:
        case Proof.PROVEN:
            return record, f"proven by its {tool.proof}"
        case Proof.DIFFERENT:
            return record, f"different, by its {tool.proof}"
        case _:
            return record, f"by its {one.matched_by}, not proven"


def tool_baseline_document(baseline: ToolBaseline, missing: list[str], *, dry_run: bool) -> dict[str, object]:
    """The same as a JSON document; `missing` are the objects that the database lacks of what the files make."""
    return {
        "database": baseline.database,
        "from": baseline.ledger.format.name,
        "ledger": baseline.ledger.name,
        "dry_run": dry_run,
        "recorded": file_documents(baseline.matches.applied),
        "files": [
            {
                "filename": one.migration.filename,
                "version": one.migration.version,
                "record": one.record.version if one.record else None,
                "matched_by": one.matched_by,
                "proof": one.proof,
            }
            for one in baseline.matches.files
        ],
        "out_of_order": [one.filename for one in baseline.matches.out_of_order],
        "missing": missing,
    }
